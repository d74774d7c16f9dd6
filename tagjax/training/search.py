"""A search for settings: Optuna proposes points, validation examples choose the best.

For what is larger than a grid, and than a machine: several workers share one study.
"""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tagjax.core.errors import ConfigError, InterruptedRun
from tagjax.report.grid import Grid
from tagjax.report.tables import percent, value_text
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training import group_size
from tagjax.training.assemble import Stream, assemble
from tagjax.training.checks import check_stream
from tagjax.training.ending import Ending
from tagjax.training.fingerprint import Origin, fingerprint
from tagjax.training.fit import make_options
from tagjax.training.identity import describe_run
from tagjax.training.options import Part, RunOptions
from tagjax.training.point_table import METRICS, TABLE, row_of
from tagjax.training.points import Point, choose, with_fixed
from tagjax.training.provenance import provenance
from tagjax.training.record import RunRecord
from tagjax.training.space import Range, Space, at_edge, describe_space, parse_space
from tagjax.training.study import (
  Asked,
  StudyOptions,
  Told,
  Worker,
  claim_study,
  open_study,
  shown_storage,
)
from tagjax.training.sweep import CHOSEN_ON, Parts
from tagjax.training.train_stream import train_trials
from tagjax.training.trainer import Trainer, Trial

TRIALS = "trials"
_OF_THE_WHOLE = ("seed", "seeds", "evaluate_on")


def search(
  stream: Stream,
  model: Any,
  method_of: Callable[[Mapping[str, Any]], Any],
  *,
  space: Mapping[str, Any],
  trials: int = 50,
  workdir: str | os.PathLike | None = None,
  storage: str | None = None,
  study_name: str = "search",
  study_seed: int = 0,
  prune: bool = True,
  prune_from: int = 2,
  options: RunOptions | None = None,
  progress: bool = True,
  accept_changes: bool = False,
  **changes: Any,
) -> Grid:
  """Tries points that Optuna proposes, each with every seed; validation examples choose the best.

  Needs Optuna (`pip install 'optuna>=5,<6'`): its TPE sampler proposes points, and points that are
  worse than the median after some task are given up. Ranges of floats, and choices of floats, are
  inputs of the compiled programs: a search over them compiles once. Other keys are constants, and
  keys that are fields of `RunOptions`, such as `epochs`, change the run.

  Several processes, on several machines, that call this with the same arguments and the same
  `storage` share one study. Each returns when the study has ended.

  Args:
    stream: see `tagjax.fit`; with validation examples (`validation_fraction`).
    model: see `tagjax.fit`.
    method_of: from the values of a point (a mapping) to the method. Floats may be traced.
    space: for each key a range, such as `"1e-4..1e-1,log"`, `"0.0..0.5"` or (of whole numbers)
      `"1..8"`, or a list of choices.
    trials: see `StudyOptions`.
    workdir: folder of the search, created if missing, which workers may share; a search that was
      interrupted goes on there. None: nothing is written, unless a `storage` is given.
    storage: see `StudyOptions`.
    study_name: see `StudyOptions`.
    study_seed: `seed` of `StudyOptions`.
    prune: see `StudyOptions`.
    prune_from: see `StudyOptions`.
    options: of the runs; None: the defaults.
    progress: show a line for each point on stderr.
    accept_changes: see `tagjax.fit`.
    **changes: fields of `RunOptions`.

  Returns:
    The points that were tried, as a grid's, and the chosen one.

  Raises:
    ConfigError: an argument cannot work, or Optuna is not installed.
    WorkdirError, CheckpointError, InterruptedRun: see `tagjax.fit`.
  """
  study = StudyOptions(trials, storage, study_name, study_seed, prune, prune_from)
  parsed = parse_space(space)
  if fixed := [key for key in parsed if key in _OF_THE_WHOLE]:
    raise ConfigError(f"space: no search over {fixed[0]!r}: it belongs to all points")
  options = make_options(options, {**changes, **CHOSEN_ON})
  check_stream(stream, options)
  of_run = {key for key in parsed if key in RunOptions.__dataclass_fields__}
  traced = {key for key, own in parsed.items() if key not in of_run and _has_floats(own)}

  def parts_of(settings: Point) -> Parts:
    fixed = {key: value for key, value in settings.items() if key not in of_run}
    own = make_options(options, {key: settings[key] for key in settings if key in of_run})
    return Parts(stream, model, with_fixed(method_of, fixed), own)

  identity = {
    **describe_run(stream, model, method_of, options, None),
    "search": describe_space(parsed),
    "study": {
      "study_name": study_name,
      "seed": study_seed,
      "prune": prune,
      "prune_from": prune_from,
    },
  }
  return train_search(
    parts_of,
    parsed,
    traced,
    options,
    study,
    identity,
    workdir,
    tasks=None,
    progress=progress,
    accept_changes=accept_changes,
  )


def _has_floats(own: Range | list[Any]) -> bool:
  return all(isinstance(value, float) for value in (own if isinstance(own, list) else own[:2]))


def train_search(
  parts_of: Callable[[Point], Parts],
  space: Space,
  traced: Collection[str],
  options: RunOptions,
  study: StudyOptions,
  identity: Mapping[str, Any],
  workdir: str | os.PathLike | None,
  *,
  tasks: int | None,
  split: Part = "validation",
  progress: bool = True,
  accept_changes: bool = False,
) -> Grid:
  """Takes part in a search until it has ended, and chooses the best point.

  A point whose loss stops being finite in any seed is never chosen; nor is one that was given up.

  Args:
    parts_of: from the constants of a point to what is trained.
    space: what points are chosen from.
    traced: keys of the points that are inputs of the programs.
    options: seeds, definition of forgetting, plots.
    study: how the search is carried out.
    identity: JSON values that folder and study belong to, told as `config`; with the key `search`.
    workdir: folder of the search. It will hold config.json, study.db (unless `study` names a
      storage), points.json (the points that have ended so far), results.json, search.png, and in
      trials/ the logs of the points and what is needed to go on. None: none.
    tasks: how many tasks are trained; None: all. Told in the results.
    split: the examples that points are scored on. Told in the results.
    progress: show a line for each point on stderr.
    accept_changes: see `tagjax.fit`.

  Returns:
    The points. Results are those of `tagjax.training.sweep.train_grid`; each of the `points` has
    `pruned_after` too, the number of tasks after which it was given up, or None.

  Raises:
    ConfigError, WorkdirError, CheckpointError, InterruptedRun: see `search`.
  """
  if jax.process_count() > 1:
    raise ConfigError(
      f"a search does not go with {jax.process_count()} joined processes: start each by itself, "
      "with the same study.storage"
    )
  identity, origin = dict(identity), provenance()
  folder = NoWorkdir() if workdir is None else Workdir(workdir)
  folder.check(identity)
  if folder.has_results():
    ended = Grid.load(folder.results)
    if len(ended.results["points"]) >= study.trials:
      return ended
  opened = open_study(study, folder.path, identity)

  def claim() -> None:
    folder.claim(identity)
    claim_study(opened)

  trainers = _Trainers(parts_of, traced)
  try:
    with Worker(opened, space, study, folder.path) as worker:
      for asked in worker.trials(progress):
        row = None
        with asked:
          row = _train(asked, trainers, identity, folder, progress, origin, accept_changes, claim)
        _keep(worker, folder)
        if progress and row is not None:  # else another worker has the point
          _tell(asked, row, worker, study)
      rows = worker.rows()
  except InterruptedRun as stop:
    raise InterruptedRun(_stopped(folder.path, study)) from stop
  results = _results(rows, space) | {
    "selected_on": {
      "split": split,
      "tasks": tasks,
      "seeds": options.seeds,
      "trials": study.trials,
    },
    "config": identity,
    "command": _command(study),
    "provenance": {**origin, "starts": _starts(rows)},
  }
  Ending(folder, options.plots).write(results)
  return Grid(results, folder.path)


class _Made(NamedTuple):
  """What trains the points that differ in inputs of the programs only."""

  trainer: Trainer
  parts: Parts
  options: RunOptions
  forecast: Any


class _Trainers:
  """The trainers of a search: one for all points that share their programs.

  Compiled programs of the last constants are kept: a search comes back to them.
  """

  _MOST = 4  # each holds the examples of its stream

  def __init__(self, parts_of: Callable[[Point], Parts], traced: Collection[str]):
    self._parts_of, self._traced = parts_of, traced
    self._made: dict[str, _Made] = {}

  def of(self, point: Point, together: int | None) -> tuple[_Made, bool]:
    """The trainer of this point, and whether it is new.

    Args:
      point: what is trained.
      together: see `tagjax.training.assemble.assemble`.
    """
    hyper = {key: value for key, value in point.items() if key in self._traced}
    constants = {key: value for key, value in point.items() if key not in self._traced}
    name = json.dumps(constants)
    made = self._made.pop(name, None)
    if made is not None and together in (None, made.trainer.programs.layout.num_lanes):
      self._made[name] = made  # the last that was used
      made.trainer.renew(_trials(made.options, hyper))
      return made, False
    while len(self._made) >= self._MOST:
      self._made.pop(next(iter(self._made)))
    parts = self._parts_of(constants)
    trainer, forecast = assemble(
      parts.stream,
      parts.model,
      parts.method,
      _trials(parts.options, hyper),
      parts.options,
      pretrained=parts.pretrained,
      keep_going=True,
      together=together,
    )
    self._made[name] = _Made(trainer, parts, parts.options, forecast)
    return self._made[name], True


def _trials(options: RunOptions, hyper: Point) -> list[Trial]:
  return [Trial(seed, hyper) for seed in range(options.seed, options.seed + options.seeds)]


class _Ended(Exception):  # noqa: N818  (what happened, not a fault)
  """The point has diverged, or is given up."""


def _train(
  asked: Asked,
  trainers: _Trainers,
  identity: Mapping[str, Any],
  folder: Workdir | NoWorkdir,
  progress: bool,
  code: Mapping[str, Any],
  accept: bool,
  claim: Callable[[], None],
) -> dict[str, Any]:
  """Trains a point, from its newest checkpoint on, and tells the study how it ended."""
  begun = time.perf_counter()
  own = _folder_of(asked, identity, folder)
  together = group_size.kept(own.path)
  (trainer, parts, options, forecast), is_new = trainers.of(asked.point, together)
  if progress and is_new:
    print(f"memory: {forecast}, besides what a step needs", file=sys.stderr, flush=True)

  def after(action: str) -> None:
    if any(trainer.record.diverged):
      raise _Ended
    if action == Trainer.evaluate.__name__:
      steps = accuracies_so_far(trainer.record, trainer.groups)
      hopeless = bool(steps) and asked.is_hopeless(steps)
      if hopeless and len(steps) < len(trainer.groups) * trainer.num_tasks:
        raise _Ended

  with own.lock():
    try:
      shown = progress and sys.stderr.isatty()
      of = fingerprint({**identity, "point": asked.point}, trainer.trials, parts[:3], code)
      origin = Origin(of, code, accept)
      train_trials(trainer, options, own, None, begun, shown, origin, claim=claim, after=after)
    except _Ended:
      pass
    row = _row(asked.point, trainer, options)
    asked.end(row, trainer.record.seconds, trainer.record.starts)
    trainer.renew(trainer.trials)  # frees its state: the next point may have another trainer
    if own.path is not None:
      shutil.rmtree(own.checkpoints, ignore_errors=True)  # nobody goes on from there
  return row


def _folder_of(
  asked: Asked, identity: Mapping[str, Any], folder: Workdir | NoWorkdir
) -> Workdir | NoWorkdir:
  """The folder of the point, with its checkpoints if it was interrupted."""
  if folder.path is None:
    return NoWorkdir()
  name = json.loads(json.dumps({**identity, "point": asked.point}))
  path: Path = folder.path / TRIALS / str(asked.first)
  if (path / "config.json").exists() and read_json(path / "config.json") != name:
    shutil.rmtree(path)  # of a study that is no more
  own = Workdir(path)
  own.claim(name)
  return own


def accuracies_so_far(record: RunRecord, groups: list[range]) -> list[float]:
  """The average accuracy so far at each step up to now, a step for each group and task.

  Args:
    record: what has been measured.
    groups: the seeds that go side by side, group after group.

  Returns:
    After task t of group g the mean, over the seeds of all groups up to g, of their average
    accuracies after task t. The last one is what the search maximises.

  >>> record = RunRecord.empty(num_trials=2, num_tasks=2)
  >>> record.accuracy[0] = [[0.9, None], [0.7, 0.9]]
  >>> record.accuracy[1][0] = [0.7, None]
  >>> [round(value, 3) for value in accuracies_so_far(record, [range(1), range(1, 2)])]
  [0.9, 0.8, 0.8]
  """
  steps: list[float] = []
  for group in groups:
    for task in range(len(record.accuracy[0])):
      means = [record.accuracy_so_far(index, task) for index in range(group.stop)]
      known = [mean for mean in means if mean is not None]
      if len(known) < len(means):
        return steps
      steps.append(sum(known) / len(known))
  return steps


def _row(point: Point, trainer: Trainer, options: RunOptions) -> dict[str, Any]:
  """What results.json says of the point."""
  row = row_of(point, trainer.record, 0, options)
  if row is not None:
    return {**row, "pruned_after": None}
  lost = [options.seed + place for place, where in enumerate(trainer.record.diverged) if where]
  steps = len(accuracies_so_far(trainer.record, trainer.groups))
  pruned = None if lost else (steps - 1) % trainer.num_tasks + 1
  return {
    "values": point,
    **dict.fromkeys(METRICS),
    "diverged_seeds": lost,
    "pruned_after": pruned,
  }


def _keep(worker: Worker, folder: Workdir | NoWorkdir) -> None:
  """Writes the points that have ended so far."""
  if folder.path is not None:
    rows = worker.rows()
    table = {
      "points": {place: told.row for place, told in enumerate(rows)},
      "seconds": {place: told.seconds for place, told in enumerate(rows)},
    }
    write_json_atomic(folder.path / TABLE, table)


def _results(rows: list[Told], space: Space) -> dict[str, Any]:
  points = [told.row for told in rows]
  chosen = choose({}, points)["chosen"]
  names = rows[0].seconds
  return {
    "chosen": chosen,
    "at_edge": at_edge(space, chosen),
    "points": points,
    "seconds": {name: sum(told.seconds[name] for told in rows) for name in names},
  }


def _starts(rows: list[Told]) -> list[dict[str, Any]]:
  """Those of all points, each with its place among them; of whatever worker."""
  return [{"point": place} | one for place, told in enumerate(rows) for one in told.starts]


def _tell(asked: Asked, row: Mapping[str, Any], worker: Worker, study: StudyOptions) -> None:
  """A line about a point that has ended."""
  values = " ".join(f"{key}={value_text(value)}" for key, value in asked.point.items())
  ended = [told.row for told in worker.rows()]
  if row["diverged_seeds"]:
    outcome = "diverged"
  elif row["pruned_after"]:
    outcome = f"given up after task {row['pruned_after']}"
  else:
    outcome = f"{percent(row['average_accuracy']['mean'])} %"
  means = [one["average_accuracy"]["mean"] for one in ended if one["average_accuracy"]]
  best = f"; best so far {percent(max(means))} %" if means else ""
  print(
    f"point {len(ended)} of {study.trials}: {values}  {outcome}{best}", file=sys.stderr, flush=True
  )


def _stopped(path: Path | None, study: StudyOptions) -> str:
  if path is None and study.storage is None:
    return "stopped: without a workdir nothing is kept"
  return "stopped and saved: the same command goes on with the search" + (
    f" in {path}" * bool(path)
  )


def _command(study: StudyOptions) -> str:
  """The command, without the password of a storage."""
  command = shlex.join(["python", *sys.argv])
  return command.replace(study.storage, shown_storage(study.storage)) if study.storage else command
