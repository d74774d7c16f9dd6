"""Scenarios: which output of the head stands for which class of which task.

The scenarios are those of van de Ven and Tolias, "Three scenarios for continual learning", 2019:

- `"task"`: task-incremental. The task of an example is known, in training and at test, and the
  model chooses among the classes of that task.
- `"domain"`: domain-incremental. The task is not known and need not be: all tasks share the same
  outputs, only the images change.
- `"class"`: class-incremental. The task is not known at test, and the model chooses among all
  classes seen so far.

A head is described by one table, int32 `[T, C]`: for task t and stored label c the output of the
head, -1 if task t does not have the class. Shapes and masks follow from it.
"""

from collections.abc import Sequence

import numpy as np

from tagjax.core import types


def split_outputs(groups: Sequence[np.ndarray], num_classes: int, scenario: str) -> np.ndarray:
  """Table of a stream that deals classes out to the tasks, each to one task at most.

  The outputs are numbered in the order of learning: the first class of the first task has output
  0. Where all tasks share their outputs, each task numbers its own classes from 0.

  Args:
    groups: the classes of each task, in the order of learning.
    num_classes: C, of the data set; a class that is in no group has no output.
    scenario: `"task"`, `"class"` (as many outputs as there are classes in the groups) or
      `"domain"` (as many as the largest group has).

  >>> groups = [np.array([2, 0]), np.array([1, 3])]
  >>> split_outputs(groups, num_classes=4, scenario="task")
  array([[ 1, -1,  0, -1],
         [-1,  2, -1,  3]], dtype=int32)
  >>> split_outputs(groups, num_classes=4, scenario="domain")
  array([[ 1, -1,  0, -1],
         [-1,  0, -1,  1]], dtype=int32)
  """
  outputs = np.full((len(groups), num_classes), -1, np.int32)
  first = 0
  for task_outputs, group in zip(outputs, groups, strict=True):
    task_outputs[group] = first + np.arange(len(group))
    if scenario != "domain":
      first += len(group)
  return outputs


def drawn_outputs(groups: Sequence[np.ndarray], num_classes: int, scenario: str) -> np.ndarray:
  """Table of a stream whose tasks may have classes in common.

  Args:
    groups: the classes of each task.
    num_classes: C, of the data set.
    scenario: `"task"`: a block of C outputs for each task, `C t + label`, so that a class of two
      tasks has two outputs. `"class"`: one output a class, its label. `"domain"`: each task
      numbers its own classes from 0.

  >>> drawn_outputs([np.array([2, 0]), np.array([1, 2])], num_classes=3, scenario="task")
  array([[ 0, -1,  2],
         [-1,  4,  5]], dtype=int32)
  """
  if scenario == "domain":
    return split_outputs(groups, num_classes, scenario)
  whole = shared_outputs(num_classes, len(groups), "task" if scenario == "task" else "domain")
  return np.where(split_outputs(groups, num_classes, "domain") >= 0, whole, -1).astype(np.int32)


def shared_outputs(num_classes: int, num_tasks: int, scenario: str) -> np.ndarray:
  """Table of a stream in which every task has all classes.

  Args:
    num_classes: C.
    num_tasks: T.
    scenario: `"domain"` (C outputs, shared) or `"task"`, `"class"` (C T outputs, label + C t).

  >>> shared_outputs(2, num_tasks=3, scenario="domain").tolist()
  [[0, 1], [0, 1], [0, 1]]
  >>> shared_outputs(2, num_tasks=3, scenario="class").tolist()
  [[0, 1], [2, 3], [4, 5]]
  """
  shift = 0 if scenario == "domain" else num_classes
  tasks = np.arange(num_tasks)[:, np.newaxis]
  return (np.arange(num_classes) + shift * tasks).astype(np.int32)


def make_spec(
  outputs: np.ndarray,
  scenario: str,
  image_shape: tuple[int, ...],
  num_outputs: int | None = None,
) -> types.StreamSpec:
  """The shapes and the masks of a stream with this table.

  Args:
    outputs: the table.
    scenario: see above.
    image_shape: shape of one image.
    num_outputs: outputs of the head; None: one more than the largest of the table.
  """
  num_tasks = len(outputs)
  num_outputs = int(outputs.max()) + 1 if num_outputs is None else num_outputs
  classes = np.zeros((num_tasks, num_outputs), dtype=bool)
  tasks, labels = np.nonzero(outputs >= 0)
  classes[tasks, outputs[tasks, labels]] = True
  return types.StreamSpec(num_tasks, num_outputs, classes, scenario, tuple(image_shape))
