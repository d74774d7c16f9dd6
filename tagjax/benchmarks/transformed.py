"""Streams in which every task has the whole data set, its images transformed in its own way."""

from collections.abc import Callable, Sequence

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import heads, holdout, planning
from tagjax.benchmarks.stream import Stream

Transform = Callable[[np.ndarray], np.ndarray] | None


def make_transformed(
  dataset: datasets.Dataset,
  transforms: Sequence[tuple[str, Transform]],
  *,
  name: str,
  scenario: str,
  selection: holdout.Selection,
) -> Stream:
  """One task for each named transform of the images.

  All tasks hold out the same images for validation, so that none of them trains any task. Subsets
  are drawn anew for each task.

  Raises:
    ValueError: if the selection cannot be met.
  """
  outputs = heads.shared_outputs(dataset.num_classes, len(transforms), scenario)
  plans = [
    planning.plan_task(
      task_name,
      dataset,
      outputs[task_id],
      selection,
      task_id=task_id,
      pool_id=0,
      transform=transform,
    )
    for task_id, (task_name, transform) in enumerate(transforms)
  ]
  return Stream(name, planning.make_spec(dataset, outputs, scenario), plans, dataset.max_value)
