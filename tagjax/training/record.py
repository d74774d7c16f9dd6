"""What a run has measured so far; stored with each checkpoint, turned into results at the end."""

import dataclasses
from typing import Any

import numpy as np

from tagjax.training.schedule import Action


@dataclasses.dataclass
class RunRecord:
  """The measurements of a run, as plain JSON values.

  S counts the lanes (see `tagjax.training.trainer.Lane`).

  Attributes:
    accuracy: `[S][T][T]` fractions; row: after task t, column: on task u; None: not evaluated.
    baseline: `[S][T]` accuracies of the untrained network, or None.
    curves: `[S][T][b]` accuracies on task t before its minibatch b.
    diverged: `[S]`, whether the loss has stopped being finite.
    diagnostics: `{name: [S][T]}` of the tensor mean of `Method.diagnose`, averaged over the last
      epoch of each task.
    epoch_sums: `{name: nested list}`, sums of the diagnostics over the steps of this epoch, for
      each of the lanes that go side by side.
    epoch_steps: the number of those steps.
    seconds: `{"compile", "train", "evaluate", "total"}` so far.
    metrics_bytes: length of metrics.jsonl at this point.
  """

  accuracy: list
  baseline: list
  curves: list
  diverged: list
  diagnostics: dict[str, list] = dataclasses.field(default_factory=dict)
  epoch_sums: dict[str, Any] = dataclasses.field(default_factory=dict)
  epoch_steps: int = 0
  seconds: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict.fromkeys(("compile", "train", "evaluate", "total"), 0.0)
  )
  metrics_bytes: int = 0

  @classmethod
  def empty(cls, num_lanes: int, num_tasks: int) -> "RunRecord":
    """A record of nothing yet."""
    return cls(
      accuracy=[[[None] * num_tasks for _ in range(num_tasks)] for _ in range(num_lanes)],
      baseline=[[None] * num_tasks for _ in range(num_lanes)],
      curves=[[[] for _ in range(num_tasks)] for _ in range(num_lanes)],
      diverged=[False] * num_lanes,
    )

  def to_json(self) -> dict[str, Any]:
    """The record as a JSON object."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "RunRecord":
    """The record that `to_json` gave."""
    return cls(**data)

  def add_diagnostics(self, action: Action, steps: int, sums: dict[str, np.ndarray]) -> None:
    """Adds the sums over the steps of a `"train"` action, `[G, P, ...]`, to those of its epoch."""
    if action.start == 0:
      self.epoch_sums, self.epoch_steps = {}, 0
    self.epoch_steps += steps
    for name, value in sums.items():
      total = np.asarray(value, np.float64)
      if name in self.epoch_sums:
        total = total + from_lists(self.epoch_sums[name])
      self.epoch_sums[name] = to_lists(total)

  def end_epoch_diagnostics(self, lane: int, task: int) -> list[dict[str, list]]:
    """Keeps the tensor means of this epoch's diagnostics, of `lane` and those beside it.

    Returns:
      For each of these lanes the means for each tensor.
    """
    means: list[dict[str, list]] = []
    for name, total in self.epoch_sums.items():
      mean = from_lists(total) / self.epoch_steps
      shape = (len(self.accuracy), len(self.accuracy[0]))
      rows = self.diagnostics.setdefault(name, [[None] * shape[1] for _ in range(shape[0])])
      means = means or [{} for _ in mean]
      for offset, tensors in enumerate(mean):
        rows[lane + offset][task] = to_lists(tensors.mean(axis=0))
        means[offset][name] = to_lists(tensors)
    return means

  def accuracy_so_far(self, lane: int, task: int) -> float | None:
    """Average accuracy over tasks `0..task`, if they have all been evaluated after `task`."""
    row = self.accuracy[lane][task][: task + 1] if task >= 0 else []
    return None if not row or None in row else sum(row) / len(row)


def to_lists(array: np.ndarray) -> Any:
  """`array` as nested lists with None for NaN: JSON has no NaN."""
  array = np.asarray(array, np.float64)
  return np.where(np.isnan(array), None, array.astype(object)).tolist()


def from_lists(lists: Any) -> np.ndarray:
  """Inverse of `to_lists`: float64, NaN for None."""
  return np.asarray(lists, dtype=object).astype(np.float64)
