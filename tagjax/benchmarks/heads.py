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

import numpy as np

from tagjax import base


def split_outputs(order: np.ndarray, num_tasks: int, scenario: str) -> np.ndarray:
  """Table of a stream that deals the classes out to the tasks, in the given order.

  With C/T classes a task, the class at position p of the order belongs to task p // (C/T). Its
  output is p, or p modulo C/T where all tasks share their outputs.

  Args:
    order: int `[C]`, a permutation of the classes.
    num_tasks: T, a divisor of C.
    scenario: `"task"`, `"class"` (C outputs) or `"domain"` (C/T outputs).

  >>> split_outputs(np.array([2, 0, 1, 3]), num_tasks=2, scenario="task")
  array([[ 1, -1,  0, -1],
         [-1,  2, -1,  3]], dtype=int32)
  >>> split_outputs(np.array([2, 0, 1, 3]), num_tasks=2, scenario="domain")
  array([[ 1, -1,  0, -1],
         [-1,  0, -1,  1]], dtype=int32)
  """
  position = np.argsort(order)
  per_task = len(order) // num_tasks
  is_of_task = position // per_task == np.arange(num_tasks)[:, np.newaxis]
  output = position % per_task if scenario == "domain" else position
  return np.where(is_of_task, output, -1).astype(np.int32)


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


def make_spec(outputs: np.ndarray, scenario: str, image_shape: tuple[int, ...]) -> base.StreamSpec:
  """The shapes and the masks of a stream with this table."""
  num_tasks = len(outputs)
  num_outputs = int(outputs.max()) + 1
  classes = np.zeros((num_tasks, num_outputs), dtype=bool)
  tasks, labels = np.nonzero(outputs >= 0)
  classes[tasks, outputs[tasks, labels]] = True
  return base.StreamSpec(num_tasks, num_outputs, classes, scenario, tuple(image_shape))
