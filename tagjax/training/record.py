"""What a run has measured so far; stored with each checkpoint, turned into results at the end."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tagjax.core.errors import WorkdirError
from tagjax.core.types import PartlyDefined
from tagjax.core.untrusted import plain_text


@dataclasses.dataclass
class RunRecord:
  """The measurements of a run, as plain JSON values.

  S counts the trials: a trial is one training of the stream, a seed at a point of a grid.

  Attributes:
    accuracy: `[S][T][T]` fractions; row: after task t, column: on task u; None: not evaluated.
    baseline: `[S][T]` accuracies of the untrained network, or None.
    curves: `[S][T][b]` accuracies on task t before its minibatch b.
    diverged: `[S]`, where the loss stopped being finite, `{"task", "step"}`: the task from 0, and
      the steps of its epoch up to then. None: it has not.
    validation: `[S][T][E][u]` accuracies on the validation examples of each task seen, after each
      epoch of task t, those of its phases and stays one after another; empty unless the best epoch
      is chosen.
    chosen_epoch: `[S][T]`, the place among these of the epoch whose weights task t (its last phase)
      ended with, or None.
    epoch_validation: as `validation`, but as the method predicts; empty unless peak accuracies are
      recorded.
    peak: `[S][T]` accuracies on the test examples of task t after the first epoch in which its own
      validation examples gave the most, or None.
    exemplars: `{"trial/visit": number}`, examples that were mixed into the task's own.
    counts: `{name: [S][T]}` of what else is counted (`tagjax.engine.counts.Counts`), as nested
      lists: after task t, over the tests of the tasks until then; None: not evaluated. Names of
      what is not measured are missing, and the confusion matrix is kept of the last task only.
    diagnostics: `{name: [S][T]}` of the tensor mean of `Method.diagnose`, averaged over the last
      epoch of each task.
    growth: `{name: [S][T]}`, parameters and bytes in use after each task, see
      `tagjax.training.growth.Figures`; None: not evaluated.
    outcomes: `{name: [S][T]}` of what `Method.outcome` tells after each task, as nested lists.
    flops: `{"evaluation": [T], "step/PHASE": [T]}`, operations at each task, see
      `tagjax.training.growth.Growth`; None where they are not known.
    allocated: `{name: number}` of the static shapes, see `tagjax.training.growth.Growth`.
    epoch_sums: `{name: nested list}`, sums of the diagnostics over the steps of this epoch, for
      each of the trials that go side by side.
    epoch_steps: the number of those steps.
    steps: training steps taken, each counted once for trials side by side.
    seconds: `{"compile", "train", "evaluate", "total"}` so far.
    metrics_bytes: length of metrics.jsonl at this point.
    metrics_sha256: digest of these bytes.
    of: what the run is, see `tagjax.training.fingerprint`.
    starts: of the run, each that has trained something: where it began and by which code, see
      `tagjax.training.fingerprint`.
  """

  accuracy: list
  baseline: list
  curves: list
  diverged: list
  validation: list
  chosen_epoch: list
  epoch_validation: list
  peak: list
  exemplars: dict[str, int] = dataclasses.field(default_factory=dict)
  counts: dict[str, list] = dataclasses.field(default_factory=dict)
  diagnostics: dict[str, list] = dataclasses.field(default_factory=dict)
  growth: dict[str, list] = dataclasses.field(default_factory=dict)
  outcomes: dict[str, list] = dataclasses.field(default_factory=dict)
  flops: dict[str, list | None] = dataclasses.field(default_factory=dict)
  allocated: dict[str, int] = dataclasses.field(default_factory=dict)
  epoch_sums: dict[str, Any] = dataclasses.field(default_factory=dict)
  epoch_steps: int = 0
  steps: int = 0
  seconds: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict.fromkeys(("compile", "train", "evaluate", "total"), 0.0)
  )
  metrics_bytes: int = 0
  metrics_sha256: str = ""
  of: dict[str, Any] = dataclasses.field(default_factory=dict)
  starts: list[dict[str, Any]] = dataclasses.field(default_factory=list)

  @classmethod
  def empty(cls, num_trials: int, num_tasks: int) -> "RunRecord":
    """A record of nothing yet."""
    return cls(
      accuracy=[[[None] * num_tasks for _ in range(num_tasks)] for _ in range(num_trials)],
      baseline=[[None] * num_tasks for _ in range(num_trials)],
      curves=[[[] for _ in range(num_tasks)] for _ in range(num_trials)],
      diverged=[None] * num_trials,
      validation=[[[] for _ in range(num_tasks)] for _ in range(num_trials)],
      chosen_epoch=[[None] * num_tasks for _ in range(num_trials)],
      epoch_validation=[[[] for _ in range(num_tasks)] for _ in range(num_trials)],
      peak=[[None] * num_tasks for _ in range(num_trials)],
    )

  def to_json(self) -> dict[str, Any]:
    """The record as a JSON object."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, data: dict[str, Any]) -> "RunRecord":
    """The record that `to_json` gave.

    Raises:
      WorkdirError: if it is of another form.
    """
    try:
      record = cls(**data)
      sizes = {
        len(getattr(record, name)) for name in ("accuracy", "baseline", "curves", "diverged")
      }
    except TypeError as error:
      reason = plain_text(str(error))
      raise WorkdirError(f"the record of the run is of another form: {reason:.200}") from error
    counts = (record.metrics_bytes, record.steps)
    has_form = isinstance(record.of, dict) and isinstance(record.starts, list)
    if len(sizes) > 1 or not all(map(_is_count, counts)) or not has_form:
      raise WorkdirError("the record of the run is of another form: its parts do not fit together")
    return record

  @classmethod
  def join(cls, records: Sequence["RunRecord"]) -> "RunRecord":
    """The record of all trials, of records of some of them each, in order; seconds are added up."""
    whole = cls.empty(0, 0)
    for record in records:
      first = len(whole.accuracy)
      for name in _BY_TRIAL:
        getattr(whole, name).extend(getattr(record, name))
      for key, number in record.exemplars.items():
        trial, visit = key.split("/")
        whole.exemplars[f"{first + int(trial)}/{visit}"] = number
      for kind in _BY_NAME_AND_TRIAL:
        for name, rows in getattr(record, kind).items():
          getattr(whole, kind).setdefault(name, []).extend(rows)
      whole.allocated |= record.allocated
      whole.flops |= record.flops
      whole.steps += record.steps
      whole.metrics_bytes += record.metrics_bytes
      whole.starts += record.starts
      for name, seconds in record.seconds.items():
        whole.seconds[name] += seconds
    return whole

  def part(self, trials: Sequence[int]) -> "RunRecord":
    """The record of some of the trials, for results; seconds are shared out evenly."""
    share = len(trials) / len(self.accuracy)
    rows: dict[str, Any] = {
      name: [getattr(self, name)[trial] for trial in trials] for name in _BY_TRIAL
    }
    for kind in _BY_NAME_AND_TRIAL:
      of_all = getattr(self, kind)
      rows[kind] = {name: [own[trial] for trial in trials] for name, own in of_all.items()}
    seconds = {name: share * value for name, value in self.seconds.items()}
    return dataclasses.replace(self, **rows, exemplars={}, seconds=seconds)

  def add_diagnostics(
    self, steps: int, sums: Mapping[str, np.ndarray | PartlyDefined], *, anew: bool
  ) -> None:
    """Adds sums over `steps` steps, `[G, P, ...]`, to those of the epoch, or begins one."""
    if anew:
      self.epoch_sums, self.epoch_steps = {}, 0
    self.epoch_steps += steps
    for name, value in sums.items():
      if isinstance(value, PartlyDefined):
        value = np.where(value.defined, value.value, np.nan)
      total = np.asarray(value, np.float64)
      if name in self.epoch_sums:
        total = total + from_lists(self.epoch_sums[name])
      self.epoch_sums[name] = to_lists(total)

  def end_epoch_diagnostics(self, first_trial: int, task: int) -> list[dict[str, list]]:
    """Keeps the tensor means of this epoch's diagnostics, of the trials side by side.

    Returns:
      For each of these trials the means for each tensor.
    """
    means: list[dict[str, list]] = []
    for name, total in self.epoch_sums.items():
      mean = from_lists(total) / self.epoch_steps
      rows = self.diagnostics.setdefault(name, self._no_rows())
      means = means or [{} for _ in mean]
      for offset, tensors in enumerate(mean):
        rows[first_trial + offset][task] = to_lists(tensors.mean(axis=0))
        means[offset][name] = to_lists(tensors)
    return means

  def validation_of_phase(self, trial: int, task: int, epochs: int) -> list[float]:
    """Average accuracies on validation examples after each of the last `epochs` epochs."""
    return [sum(row) / len(row) for row in self.validation[trial][task][-epochs:]]

  def add_counts(
    self, trial: int, task: int, counts: Mapping[str, np.ndarray], *, to_former: bool
  ) -> None:
    """Keeps what was counted after `task`.

    Args:
      trial: the trial.
      task: the task just learned.
      counts: over the tasks that were evaluated.
      to_former: whether they were evaluated after the task before, and are added to that.
    """
    for name, value in counts.items():
      rows = self.counts.setdefault(name, self._no_rows())[trial]
      rows[task] = (value + np.asarray(rows[task - 1]) if to_former else value).tolist()
      if name == "confusion" and task:
        rows[task - 1] = None

  def add_growth(
    self,
    trial: int,
    task: int,
    figures: Mapping[str, int],
    outcome: Mapping[str, np.ndarray],
    *,
    to_former: bool,
  ) -> None:
    """Keeps what is in use after `task`.

    Args:
      trial: the trial.
      task: the task just learned.
      figures: by name, in use.
      outcome: see `tagjax.core.method.Method`.
      to_former: whether the networks of the tasks before are kept beside this one, and count too.
    """
    for name, value in figures.items():
      rows = self.growth.setdefault(name, self._no_rows())[trial]
      rows[task] = value + rows[task - 1] if to_former else value
    for name, array in outcome.items():
      self.outcomes.setdefault(name, self._no_rows())[trial][task] = to_lists(array)

  def growth_after(self, trial: int, task: int) -> dict[str, Any]:
    """What `add_growth` has kept of a task, and `outcome`; empty where nothing was measured."""
    found = {name: rows[trial][task] for name, rows in self.growth.items()}
    if not found or None in found.values():
      return {}
    return found | {"outcome": {name: rows[trial][task] for name, rows in self.outcomes.items()}}

  def flops_by_task(self) -> dict[str, list[float]]:
    """`step_flops`, of the phase in which they are most, and `evaluation_flops`; what is known."""
    steps = [of for name, of in self.flops.items() if name.startswith("step/") and of]
    found = {"step_flops": [max(values) for values in zip(*steps, strict=True)]}
    found["evaluation_flops"] = self.flops.get("evaluation") or []
    return {name: values for name, values in found.items() if values}

  def _no_rows(self) -> list:
    return [[None] * len(matrix) for matrix in self.accuracy]

  def accuracy_so_far(self, trial: int, task: int) -> float | None:
    """Average accuracy over tasks `0..task`, if they have all been evaluated after `task`."""
    row = self.accuracy[trial][task][: task + 1] if task >= 0 else []
    return None if not row or None in row else sum(row) / len(row)


_BY_TRIAL = (
  *("accuracy", "baseline", "curves", "diverged"),
  *("validation", "chosen_epoch", "epoch_validation", "peak"),
)
_BY_NAME_AND_TRIAL = ("diagnostics", "counts", "growth", "outcomes")


def _is_count(value: Any) -> bool:
  return isinstance(value, int) and value >= 0


def to_lists(array: np.ndarray) -> Any:
  """`array` as nested lists with None for NaN: JSON has no NaN."""
  values = np.asarray(array, np.float64).astype(object)
  values[values != values] = None  # NaN alone differs from itself
  return values.tolist()


def from_lists(lists: Any) -> np.ndarray:
  """Inverse of `to_lists`: float64, NaN for None."""
  return np.asarray(lists, dtype=object).astype(np.float64)
