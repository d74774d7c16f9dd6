"""How a run has grown with its tasks, as arrays."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Growth(NamedTuple):
  """What the tasks so far need. S counts the seeds, T the tasks; NaN where not measured.

  Attributes:
    parameters: float64 `[S, T]`, parameters in use after each task.
    bytes: float64 `[S, T]`, of these, of the method's state, and of the model's other variables.
    allocated_parameters: of the static shapes, from the first task on.
    allocated_bytes: the same of the whole state.
    step_flops: float64 `[T]`, operations of a training step at each task; None if not measured.
    evaluation_flops: float64 `[T]`, operations to classify an image of each task; None if not
      measured.
  """

  parameters: np.ndarray
  bytes: np.ndarray
  allocated_parameters: int
  allocated_bytes: int
  step_flops: np.ndarray | None = None
  evaluation_flops: np.ndarray | None = None

  @property
  def grows(self) -> bool:
    """Whether any of these differs between tasks."""
    given = [self.parameters, self.bytes, self.step_flops, self.evaluation_flops]
    return any(array is not None and _differs(np.atleast_2d(array)) for array in given)


def growth_of(results: Mapping[str, Any]) -> Growth | None:
  """These figures of a run; None if it has measured none.

  >>> growth_of({}) is None
  True
  """
  stored = results.get("growth") or {}
  if "parameters" not in stored:
    return None
  arrays = {
    name: values if name.startswith("allocated") else np.asarray(values, np.float64)
    for name, values in stored.items()
  }
  return Growth(**arrays)


def outcomes_of(results: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """What the method tells of each task that has ended, float64 `[S, T, ...]`.

  NaN for tasks after which nothing was evaluated.

  >>> outcomes_of({"outcomes": {"units": [[None, [3, 4]]]}})["units"].tolist()
  [[[nan, nan], [3.0, 4.0]]]
  """
  return {name: _filled(rows) for name, rows in (results.get("outcomes") or {}).items()}


def _filled(rows: list) -> np.ndarray:
  told = [np.asarray(one, np.float64) for seed in rows for one in seed if one is not None]
  nothing = np.full(told[0].shape if told else (), np.nan)
  return np.array(
    [[nothing if one is None else np.asarray(one, np.float64) for one in seed] for seed in rows]
  )


def _differs(array: np.ndarray) -> bool:
  """Whether any row has several values."""
  return any(len(np.unique(row[~np.isnan(row)])) > 1 for row in array)
