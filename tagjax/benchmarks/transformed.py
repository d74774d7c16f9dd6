"""Streams in which every task has the whole data set, its images transformed in its own way."""

from collections.abc import Callable, Sequence

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import heads, holdout
from tagjax.benchmarks.stream import Stream, TaskPlan

Transform = Callable[[np.ndarray], np.ndarray] | None


def make_transformed(
  dataset: datasets.Dataset,
  transforms: Sequence[tuple[str, Transform]],
  *,
  name: str,
  scenario: str,
  class_order: str | Sequence[int],
  selection: holdout.Selection,
) -> Stream:
  """One task for each named transform of the images.

  All tasks hold out the same images for validation, so that none of them trains any task. Subsets
  are drawn anew for each task.

  Raises:
    ValueError: if an order of the classes is asked for, which such a stream does not have, or the
      selection cannot be met.
  """
  if not (isinstance(class_order, str) and class_order == "natural"):
    raise ValueError(
      f"class_order is {class_order!r}, but every task of {name} has all classes: leave it "
      "'natural'"
    )
  outputs = heads.shared_outputs(dataset.num_classes, len(transforms), scenario)
  train, test = (np.arange(len(pool.label)) for pool in (dataset.train, dataset.test))
  plans = []
  for task_id, (task_name, transform) in enumerate(transforms):
    rows = holdout.select(selection, train, test, task_id=task_id, pool_id=0)
    plans.append(
      TaskPlan(task_name, dataset.train, dataset.test, rows, outputs[task_id], transform)
    )
  spec = heads.make_spec(outputs, scenario, dataset.train.image.shape[1:])
  return Stream(name, spec, plans, dataset.max_value)
