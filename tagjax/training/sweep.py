"""A grid of settings: every point trained with every seed, the best chosen on validation data."""

import os
import shlex
import sys
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tagjax.config.defaults import to_dict
from tagjax.config.grid import Group, Point, at_point, grid_points, groups_of
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError, InterruptedRun
from tagjax.report.plots import plot_sweep
from tagjax.report.results import summarise
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import Workdir
from tagjax.training.experiment import perform_plan
from tagjax.training.provenance import provenance
from tagjax.training.record import RunRecord
from tagjax.training.trainer import Driver, Lane

TABLE = "points.json"
_FIGURES = ("average_accuracy", "forgetting", "learning_accuracy")


def run(
  config: ConfigDict,
  workdir: str | os.PathLike,
  *,
  progress: bool = True,
  profile: bool = False,
) -> dict[str, Any]:
  """Trains every point of `config.sweep` with every seed and chooses the best.

  Points that differ only in numbers that are inputs of the compiled programs
  (`tagjax.config.registry.TRACEABLE`) share one compilation and train side by side, as `seed_axis`
  and `seeds_together` say; others come one after another. A point whose loss stops being finite in
  any seed is never chosen; its neighbours go on. Accuracies are those on validation examples of all
  tasks, or of the first `sweep_tasks`, which then are the only ones trained.

  An interrupted grid goes on where it was when it is started again.

  Args:
    config: see `tagjax.config.defaults.base_config`; `sweep` must be set.
    workdir: folder of the grid, created if missing. It will hold config.json, points.json (the
      points that have ended so far), results.json, sweep.png, and in groups/ what is needed to go
      on.
    progress: show a line of progress on stderr.
    profile: refused; see `tagjax.training.experiment.run`.

  Returns:
    The contents of results.json: `points`, each with `values`, `average_accuracy`, `forgetting`,
    `learning_accuracy` (see `tagjax.report.results.summarise`; None if it diverged) and
    `diverged_seeds`; `chosen`, the values of the point of the highest mean average accuracy (None
    if all diverged); `at_edge`, the keys whose chosen value is the least or greatest tried.

  Raises:
    ConfigError: there is no grid, or a key of a point cannot work.
    WorkdirError, CheckpointError, InterruptedRun: see `tagjax.training.experiment.run`.
  """
  begun, origin = time.perf_counter(), provenance()
  validate(config)
  if not config.sweep:
    raise ConfigError("config.sweep is not set: name keys and their values")
  if profile or jax.process_count() > 1:
    what = "--profile" if profile else f"{jax.process_count()} processes"
    raise ConfigError(f"config.sweep does not go with {what}: leave one of the two away")
  folder = Workdir(workdir)
  with folder.lock():
    folder.check(to_dict(config))
    if folder.results.exists():
      return read_json(folder.results)
    points = grid_points(config.sweep)
    table = _Table(folder)
    for number, group in enumerate(groups_of(points)):
      if not table.has(group.points):
        _train_group(config, group, number, points, table, begun, progress)
        begun = time.perf_counter()
    rows = [table.rows[place] for place in range(len(points))]
    results = choose(config.sweep, rows) | {
      "points": rows,
      "selected_on": {"split": "validation", "tasks": config.sweep_tasks, "seeds": config.seeds},
      "seconds": table.total_seconds(),
      "config": to_dict(config),
      "command": shlex.join(["python", *sys.argv]),
      "provenance": origin,
    }
    if config.plots:
      plot_sweep(results).savefig(folder.path / "sweep.png")
    write_json_atomic(folder.results, results)
    return results


def choose(sweep: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The point of the highest mean average accuracy, the first of equals.

  Returns:
    `chosen` and `at_edge`, see `run`.

  >>> rows = [{"values": {"epochs": n}, "average_accuracy": {"mean": n / 10}} for n in (1, 2)]
  >>> choose({"epochs": [1, 2]}, rows)
  {'chosen': {'epochs': 2}, 'at_edge': ['epochs']}
  """
  ended = [row for row in rows if row["average_accuracy"] is not None]
  if not ended:
    return {"chosen": None, "at_edge": []}
  best = max(ended, key=lambda row: row["average_accuracy"]["mean"])["values"]
  numeric = {
    key: values
    for key, values in sweep.items()
    if len(values) > 1 and all(isinstance(value, int | float) for value in values)
  }
  edges = [key for key, values in numeric.items() if best[key] in (min(values), max(values))]
  return {"chosen": best, "at_edge": edges}


class _Table:
  """The points that have ended, on disk since they did.

  Attributes:
    rows: place in the grid -> what results.json says of the point.
  """

  def __init__(self, folder: Workdir):
    self.folder = folder
    self._path = folder.path / TABLE
    stored = read_json(self._path) if self._path.exists() else {"points": {}, "seconds": {}}
    self.rows = {int(place): row for place, row in stored["points"].items()}
    self._seconds = stored["seconds"]

  def has(self, places: list[int]) -> bool:
    """Whether all of these points have ended."""
    return all(place in self.rows for place in places)

  def keep(self, rows: dict[int, dict[str, Any]], group: int, seconds: dict[str, float]) -> None:
    """Writes these rows, and the seconds that the group has taken so far."""
    self.rows |= rows
    self._seconds[str(group)] = dict(seconds)
    write_json_atomic(self._path, {"points": self.rows, "seconds": self._seconds})

  def total_seconds(self) -> dict[str, float]:
    """Sums over all groups."""
    names = next(iter(self._seconds.values()))
    return {name: sum(group[name] for group in self._seconds.values()) for name in names}


def _train_group(
  config: ConfigDict,
  group: Group,
  number: int,
  points: list[Point],
  table: _Table,
  begun: float,
  progress: bool,
) -> None:
  """Trains the points of a group, from its newest checkpoint on, and keeps each that ends."""
  config_of_group = at_point(config, group.settings)
  config_of_group.evaluate_on = "validation"
  if config.sweep_tasks:
    config_of_group.end_task = config.first_task + config.sweep_tasks
  seeds = range(config.seed, config.seed + config.seeds)
  driver = Driver(config_of_group, [Lane(seed, hyper) for hyper in group.hyper for seed in seeds])
  table.folder.claim(to_dict(config))

  def keep_ended(action) -> None:
    if action.kind != "evaluate":
      return
    rows = {
      place: row
      for index, place in enumerate(group.points)
      if (row := _row(points[place], driver.record, index, config)) and not table.has([place])
    }
    if rows:
      table.keep(rows, number, driver.record.seconds)

  folder = Workdir(table.folder.path / "groups" / str(number))
  try:
    perform_plan(driver, folder, begun, progress, after=keep_ended)
  except InterruptedRun as stop:
    path = table.folder.path
    raise InterruptedRun(f"stopped and saved: the same command goes on in {path}") from stop


def _row(point: Point, record: RunRecord, index: int, config: ConfigDict) -> dict[str, Any] | None:
  """What is known of the group's point `index`; None if it has not ended."""
  lanes = slice(index * config.seeds, (index + 1) * config.seeds)
  matrices, diverged = record.accuracy[lanes], record.diverged[lanes]
  ended = [lost or None not in matrix[-1] for matrix, lost in zip(matrices, diverged, strict=True)]
  if not all(ended):
    return None
  if any(diverged):
    figures = dict.fromkeys(_FIGURES)
  else:
    summary = summarise(matrices, forgetting_definition=config.forgetting)
    figures = {name: summary[name] for name in _FIGURES}
  lost = (config.seed + np.flatnonzero(diverged)).tolist()
  return {"values": point, **figures, "diverged_seeds": lost}
