"""Split benchmarks: the classes of a data set are dealt out to the tasks."""

from collections.abc import Sequence

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, heads, holdout
from tagjax.benchmarks.stream import Stream, TaskPlan


def make_split(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "task",
  class_order: str | Sequence[int] = "natural",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Deals the classes out to tasks of equal numbers of classes.

  Task t has the classes at positions `t C/T` to `(t+1) C/T - 1` of the order, in the natural one
  the classes 0-4, 5-9, ... of 20 tasks of CIFAR-100. Which output stands for which class says
  `tagjax.benchmarks.heads.split_outputs`: with another order, the outputs are numbered by it.

  Args:
    dataset: the data set, of C classes.
    name: name of the stream.
    num_tasks: T, a divisor of C.
    scenario: `"task"`, `"class"` or `"domain"`.
    class_order: `"natural"`, `"seeded"` (drawn with `selection.data_seed`), or the classes in the
      order of learning.
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if T does not divide C, the order is no permutation of the classes, a class has no
      examples, or the selection cannot be met.

  References:
    Zenke, Poole and Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017 (split
    MNIST); Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017
    (CIFAR-100 in 20 tasks of 5 classes).
  """
  num_classes = dataset.num_classes
  _check_divides(num_tasks, num_classes)
  order = _as_order(class_order, num_classes, selection.data_seed)
  outputs = heads.split_outputs(order, num_tasks, scenario)
  plans = []
  for task_id, classes in enumerate(order.reshape(num_tasks, -1)):
    for part, pool in (("training", dataset.train), ("test", dataset.test)):
      _check_present(f"{name}, task {task_id}", part, classes, pool.label)
    rows = holdout.select(
      selection,
      np.flatnonzero(np.isin(dataset.train.label, classes)),
      np.flatnonzero(np.isin(dataset.test.label, classes)),
      task_id=task_id,
      pool_id=task_id,
    )
    task_name = _name_classes(classes)
    plans.append(TaskPlan(task_name, dataset.train, dataset.test, rows, outputs[task_id]))
  spec = heads.make_spec(outputs, scenario, dataset.train.image.shape[1:])
  return Stream(name, spec, plans, dataset.max_value)


def _check_divides(num_tasks: int, num_classes: int) -> None:
  if num_classes % num_tasks:
    divisors = [str(n) for n in range(1, num_classes + 1) if num_classes % n == 0]
    raise ValueError(
      f"num_tasks is {num_tasks}, which does not divide the {num_classes} classes: choose from "
      f"{', '.join(divisors)}"
    )


def _as_order(class_order: str | Sequence[int], num_classes: int, data_seed: int) -> np.ndarray:
  if isinstance(class_order, str):
    checks.check_choice("class_order", class_order, ("natural", "seeded"))
    if class_order == "natural":
      return np.arange(num_classes)
    return checks.generator(data_seed, "class order").permutation(num_classes)
  try:
    order = np.asarray(class_order)
    is_permutation = np.array_equal(np.sort(order), np.arange(num_classes))
  except (TypeError, ValueError):
    is_permutation = False
  if not is_permutation or not np.issubdtype(order.dtype, np.integer):
    raise ValueError(
      f"class_order is {class_order!r}, must be 'natural', 'seeded' or a sequence that holds each "
      f"of the classes 0 to {num_classes - 1} once"
    )
  return order


def _check_present(where: str, part: str, classes: np.ndarray, label: np.ndarray) -> None:
  missing = np.setdiff1d(classes, label)
  if missing.size:
    raise ValueError(
      f"{where} ({_name_classes(classes)}) has no {part} examples of class {missing[0]}: the data "
      "set is incomplete, prepare it again"
    )


def _name_classes(classes: np.ndarray) -> str:
  first, last = classes[0], classes[-1]
  if len(classes) == 1:
    return f"class {first}"
  if np.array_equal(classes, np.arange(first, last + 1)):
    return f"classes {first}-{last}"
  return f"classes {', '.join(str(c) for c in classes)}"
