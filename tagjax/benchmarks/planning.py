"""The plan of a task that has some of a data set's classes."""

from collections.abc import Callable, Sequence

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, heads, holdout, noise
from tagjax.benchmarks.experience import TaskPlan
from tagjax.benchmarks.groups import name_classes
from tagjax.benchmarks.stream import Stream
from tagjax.core import types


def plan_task(
  name: str,
  dataset: datasets.Dataset,
  outputs: np.ndarray,
  selection: holdout.Selection,
  *,
  task_id: int,
  pool_id: int,
  train_rows: np.ndarray | None = None,
  transform: Callable[[np.ndarray], np.ndarray] | None = None,
  by_class: bool = False,
) -> TaskPlan:
  """Chooses the examples of a task.

  Args:
    name: what distinguishes the task.
    dataset: the data set.
    outputs: int32 `[C]`, the output for each class, -1 if the task does not have it.
    selection: which examples train, validate and test.
    task_id: the task.
    pool_id: tasks of the same pool hold out the same examples, see `holdout.select`.
    train_rows: rows of the training examples; None: all of the task's classes.
    transform: images -> images, row by row.
    by_class: see `holdout.select`.

  Raises:
    ValueError: if the selection cannot be met.
  """
  if train_rows is None:
    train_rows = np.flatnonzero(outputs[dataset.train.label] >= 0)
  rows = holdout.select(
    selection,
    train_rows,
    np.flatnonzero(outputs[dataset.test.label] >= 0),
    task_id=task_id,
    pool_id=pool_id,
    label=dataset.train.label[train_rows],
    by_class=by_class,
  )
  noisy_label = None
  if selection.label_noise:
    draw = checks.generator(selection.data_seed, "label noise", task_id)
    label = dataset.train.label[rows.train]
    noisy_label = noise.flip_labels(
      label, np.flatnonzero(outputs >= 0), selection.label_noise, draw
    )
  return TaskPlan(
    name,
    dataset.train,
    dataset.test,
    rows,
    outputs,
    transform,
    noisy_label,
    dataset.class_names,
    dataset.attributes,
  )


def stream_of_groups(
  dataset: datasets.Dataset,
  groups: Sequence[np.ndarray],
  *,
  name: str,
  scenario: str,
  selection: holdout.Selection,
  task_names: Sequence[str] | None = None,
) -> Stream:
  """A stream whose tasks have the given classes, each class in one task at most.

  Args:
    dataset: the data set.
    groups: the classes of each task, in the order of learning; see `heads.split_outputs`.
    name: name of the stream.
    scenario: `"task"`, `"class"` or `"domain"`.
    selection: which examples train, validate and test.
    task_names: a name for each task; None: its classes.

  Raises:
    ValueError: if a class has no examples, or the selection cannot be met.
  """
  outputs = heads.split_outputs(groups, dataset.num_classes, scenario)
  names = [name_classes(classes) for classes in groups] if task_names is None else task_names
  plans = []
  for task_id, (task_name, classes) in enumerate(zip(names, groups, strict=True)):
    check_present(f"{name}, task {task_id}", dataset, classes)
    plans.append(
      plan_task(task_name, dataset, outputs[task_id], selection, task_id=task_id, pool_id=task_id)
    )
  spec = make_spec(dataset, outputs, scenario)
  return Stream(name, spec, plans, dataset.max_value, is_dealt=task_names is None)


def make_spec(dataset: datasets.Dataset, outputs: np.ndarray, scenario: str) -> types.StreamSpec:
  """The shapes and the masks of a stream of this data set with this head."""
  return heads.make_spec(outputs, scenario, dataset.train.image.shape[1:])


def check_present(where: str, dataset: datasets.Dataset, classes: np.ndarray) -> None:
  """Whether each of the classes has training and test examples.

  Raises:
    ValueError: if one has none; the text names it.
  """
  for part, pool in (("training", dataset.train), ("test", dataset.test)):
    missing = np.setdiff1d(classes, pool.label)
    if missing.size:
      raise ValueError(
        f"{where} ({name_classes(classes)}) has no {part} examples of class {missing[0]}: the data "
        "set is incomplete, prepare it again"
      )
