"""Streams in which every task is a data set of its own."""

from collections.abc import Sequence

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import fit, heads, holdout, planning
from tagjax.benchmarks.stream import Stream


def make_several(
  parts: Sequence[datasets.Dataset],
  *,
  name: str,
  num_tasks: int,
  scenario: str = "task",
  image_size: int,
  input: str = "auto",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """A task for each data set, in their order.

  The outputs are numbered through: those of a task begin where those of the one before it end. In
  the scenario `"domain"` all tasks share the outputs of the largest one, by label. Images are
  brought to one size and three channels, see `tagjax.benchmarks.fit`.

  Args:
    parts: the data sets; their pixels must have the same range.
    name: name of the stream.
    num_tasks: T, the number of data sets.
    scenario: `"task"`, `"class"` or `"domain"`.
    image_size: height and width of the images.
    input: whether images that are large then are kept in memory, see `fit.fit_dataset`.
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if the pixels of the data sets have different ranges, or the selection cannot be
      met.

  References:
    Ebrahimi et al., "Adversarial Continual Learning", ECCV 2020 (five data sets in a row); Aljundi
    et al., "Memory Aware Synapses", ECCV 2018 (eight object recognition tasks).
  """
  del num_tasks  # there is a data set for each
  ranges = {part.max_value for part in parts}
  if len(ranges) > 1:
    raise ValueError(
      f"{name}: the largest pixels of its data sets are {sorted(ranges)}, must be one number"
    )
  tables = _number_outputs([part.num_classes for part in parts], scenario)
  plans = []
  for task_id, (part, outputs) in enumerate(zip(parts, tables, strict=True)):
    fitted, transform = fit.fit_dataset(part, image_size, input)
    plans.append(
      planning.plan_task(
        part.name,
        fitted,
        outputs,
        selection,
        task_id=task_id,
        pool_id=task_id,
        transform=transform,
      )
    )
  spec = _join_specs(tables, scenario, (image_size, image_size, 3))
  return Stream(name, spec, plans, ranges.pop())


def _number_outputs(sizes: Sequence[int], scenario: str) -> list[np.ndarray]:
  """For each task its outputs by stored label."""
  firsts = np.zeros(len(sizes), int) if scenario == "domain" else np.cumsum([0, *sizes[:-1]])
  return [
    np.arange(first, first + size, dtype=np.int32)
    for first, size in zip(firsts, sizes, strict=True)
  ]


def _join_specs(tables: Sequence[np.ndarray], scenario: str, image_shape: tuple[int, ...]):
  widest = max(len(table) for table in tables)
  whole = np.stack(
    [np.pad(table, (0, widest - len(table)), constant_values=-1) for table in tables]
  )
  return heads.make_spec(whole, scenario, image_shape)
