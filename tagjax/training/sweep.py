"""A grid of settings: every point trained with every seed, the best chosen on validation data."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from tagjax.core.errors import ConfigError, InterruptedRun
from tagjax.core.types import Variables
from tagjax.report.grid import Grid
from tagjax.storage.checkpoint import remove_leftovers
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import CHECKPOINTS, NoWorkdir, Workdir
from tagjax.training import group_size
from tagjax.training.assemble import Stream, assemble
from tagjax.training.checks import check_stream
from tagjax.training.cpu_devices import use_cpu_devices
from tagjax.training.ending import Ending
from tagjax.training.fingerprint import Origin, fingerprint
from tagjax.training.fit import make_options
from tagjax.training.identity import describe_run
from tagjax.training.memory_estimate import Forecast
from tagjax.training.options import Part, RunOptions
from tagjax.training.point_table import PointTable, row_of
from tagjax.training.points import (
  Group,
  Point,
  check_grid,
  choose,
  grid_points,
  groups_of,
  split_grid,
  with_fixed,
)
from tagjax.training.provenance import provenance
from tagjax.training.record import RunRecord
from tagjax.training.shares import (
  ALONE,
  Process,
  are_planned,
  check_process,
  origins,
  train_shares,
)
from tagjax.training.train_stream import train_trials
from tagjax.training.trainer import Trainer, Trial

RECORDS = "records.json"
CHOSEN_ON = {"evaluate_on": "validation", "peak_accuracy": False}
"""The options of a run by which points are chosen."""


class Parts(NamedTuple):
  """What the points of a group have in common; see `tagjax.fit`.

  Attributes:
    stream: the tasks that the grid is trained on.
    model: the model.
    method: a function of hyperparameters.
    options: of the run; `evaluate_on` is "validation".
    pretrained: see `tagjax.fit`.
  """

  stream: Stream
  model: Any
  method: Any
  options: RunOptions
  pretrained: Variables | None = None


OriginOf = Callable[[Parts, Group, Sequence[Trial]], Origin]
"""What the trials of a group are."""


def sweep(
  stream: Stream,
  model: Any,
  method_of: Callable[[Mapping[str, Any]], Any],
  *,
  grid: Mapping[str, Sequence[Any]],
  workdir: str | os.PathLike | None = None,
  options: RunOptions | None = None,
  progress: bool = True,
  process: Process = ALONE,
  accept_changes: bool = False,
  **changes: Any,
) -> Grid:
  """Trains every point of a grid with every seed and chooses the best on validation examples.

  Floats of the grid are inputs of the compiled programs: points that differ only in these share one
  compilation and train side by side. Integers, texts and truth values are constants; so are keys
  that are fields of `RunOptions`, such as `epochs`, which change the run.

  Args:
    stream: see `tagjax.fit`; with validation examples (`validation_fraction`).
    model: see `tagjax.fit`.
    method_of: from the values of a point (a mapping) to the method. Floats may be traced.
    grid: keys and their values, such as `{"learning_rate": [0.1, 0.01]}`.
    workdir: folder of the grid, created if missing; a grid that was interrupted goes on there.
      None: nothing is written.
    options: of the runs; None: the defaults.
    progress: show a line of progress on stderr.
    process: `(i, n)`: this is process i, from 0, of n that share the points and seeds out, see
      `tagjax.fit`.
    accept_changes: see `tagjax.fit`.
    **changes: fields of `RunOptions`.

  Returns:
    The grid: its points, the chosen one.

  Raises:
    ConfigError, WorkdirError, CheckpointError, InterruptedRun, IncompleteRun: see `tagjax.fit`.

  >>> import numpy as np, optax, tagjax
  >>> image, label = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
  >>> tasks = [(image, label, image, label)] * 2
  >>> stream = tagjax.Stream.from_arrays("mine", tasks, validation_fraction=0.5)
  >>> model = tagjax.models.MLP(2, hidden=(8,))
  >>> best = tagjax.sweep(stream, model, lambda h: optax.sgd(h["rate"]), grid={"rate": [0.1, 1e-3]},
  ...   progress=False)
  >>> sorted(best.chosen)
  ['rate']
  """
  options = make_options(options, {**changes, **CHOSEN_ON})
  check_stream(stream, options)
  points = grid_points(check_grid(grid))
  of_run, traced = split_grid(grid)

  def parts_of(settings: Point) -> Parts:
    fixed = {key: value for key, value in settings.items() if key not in of_run}
    own = make_options(options, {key: settings[key] for key in settings if key in of_run})
    return Parts(stream, model, with_fixed(method_of, fixed), own)

  identity = describe_run(stream, model, method_of, options, None)
  return train_grid(
    parts_of,
    points,
    traced,
    options,
    {**identity, "sweep": {key: list(values) for key, values in grid.items()}},
    workdir,
    tasks=None,
    progress=progress,
    process=process,
    accept_changes=accept_changes,
  )


def train_grid(
  parts_of: Callable[[Point], Parts],
  points: Sequence[Point],
  traced: Collection[str],
  options: RunOptions,
  identity: Mapping[str, Any],
  workdir: str | os.PathLike | None,
  *,
  tasks: int | None,
  split: Part = "validation",
  progress: bool = True,
  process: Process = ALONE,
  accept_changes: bool = False,
) -> Grid:
  """Trains every point with every seed and chooses the best.

  A point whose loss stops being finite in any seed is never chosen; its neighbours go on.

  Args:
    parts_of: from the constants of a group to what is trained.
    points: of the grid.
    traced: keys of the points that are inputs of the programs.
    options: seeds, definition of forgetting, plots.
    identity: JSON values that the folder belongs to, told as `config`; with the key `sweep`.
    workdir: folder of the grid. It will hold config.json, points.json (the points that have ended
      so far), results.json, sweep.png, and in groups/ what is needed to go on. None: none.
    tasks: how many tasks are trained; None: all. Told in the results.
    split: the examples that points are scored on. Told in the results.
    progress: show a line of progress on stderr.
    process: see `sweep`.
    accept_changes: see `tagjax.fit`.

  Returns:
    The grid. Its results hold `points`, each with `values`, `average_accuracy`, `forgetting`,
    `learning_accuracy` (see `tagjax.report.results.summarise`; None if it diverged) and
    `diverged_seeds`; `chosen`, the values of the point of the highest mean average accuracy (None
    if all diverged); `at_edge`, the keys whose chosen value is the least or greatest tried.

  Raises:
    ConfigError, WorkdirError, CheckpointError, InterruptedRun, IncompleteRun: see `tagjax.fit`.
  """
  begun = time.perf_counter()
  use_cpu_devices(at_least=options.data_parallel)
  origin = provenance()
  _check_processes(process, points, options, workdir)
  identity = dict(identity)
  folder = NoWorkdir() if workdir is None else Workdir(workdir)
  groups = groups_of(points, traced)

  def end(table: PointTable, origin: Mapping[str, Any]) -> Grid:
    rows = [table.rows[place] for place in range(len(points))]
    results = choose(identity["sweep"], rows) | {
      "points": rows,
      "selected_on": {"split": split, "tasks": tasks, "seeds": options.seeds},
      "seconds": table.total_seconds(),
      "config": identity,
      "command": shlex.join(["python", *sys.argv]),
      "provenance": {**origin, "starts": table.starts()},
    }
    if folder.path is not None:
      for number in range(len(groups)):
        remove_leftovers(folder.path / "groups" / str(number) / CHECKPOINTS)
    Ending(folder, options.plots).write(results)
    return Grid(results, folder.path)

  def origin_of(parts: Parts, group: Group, trials: Sequence[Trial]) -> Origin:
    of = fingerprint({**identity, "group": group.settings}, trials, parts[:3], origin)
    return Origin(of, origin, accept_changes)

  with folder.lock() if process == ALONE else contextlib.nullcontext():
    folder.check(identity)
    if folder.has_results():
      return Grid.load(folder.results)
    table = PointTable(folder, points)
    if process == ALONE and not are_planned(folder):
      for number, group in enumerate(groups):
        if not table.has(group.points):
          _train_group(
            parts_of(group.settings),
            group,
            number,
            points,
            table,
            identity,
            begun,
            progress,
            origin_of,
          )
          begun = time.perf_counter()
      return end(table, origin)

  def train(own: range, share: Workdir, claim: Callable[[], None]) -> dict[str, Any]:
    records = _train_share(parts_of, groups, own, options.seeds, share, claim, progress, origin_of)
    return {"records": records, "provenance": origin}

  num_trials = len(points) * options.seeds

  def trials(own: range) -> str:
    return f"trials {own.start + 1} to {own.stop} of {num_trials}"

  assert isinstance(folder, Workdir), "see check_process"
  measured = train_shares(folder, identity, process, num_trials, train, trials)
  for number, group in enumerate(groups):
    pieces = [
      share["records"][str(number)] for share in measured if str(number) in share["records"]
    ]
    record = RunRecord.join([RunRecord.from_json(piece) for piece in pieces])
    rows = (
      (place, row_of(points[place], record, n, options)) for n, place in enumerate(group.points)
    )
    table.keep({place: row for place, row in rows if row}, number, record)
  return end(table, origins(measured))


def _check_processes(process, points, options, workdir) -> None:
  check_process(process, len(points) * options.seeds, options, workdir)
  if jax.process_count() > 1:
    raise ConfigError(
      f"a grid does not go with {jax.process_count()} processes that share each batch: set "
      "data_parallel=1, and they share out its points and seeds"
    )
  if process != ALONE and (of_seeds := {"seeds", "seed", "forgetting"} & points[0].keys()):
    raise ConfigError(
      f"grid: {process[1]} processes cannot share out points with {', '.join(sorted(of_seeds))} of "
      "their own: start one process"
    )


def _train_share(
  parts_of: Callable[[Point], Parts],
  groups: Sequence[Group],
  own: range,
  seeds: int,
  share: Workdir,
  claim: Callable[[], None],
  progress: bool,
  origin_of: OriginOf,
) -> dict[str, Any]:
  """Trains those trials of each group that belong to a share; the record of each, by group."""
  path = share.path / RECORDS
  records = read_json(path) if path.exists() else {}
  first = 0
  for number, group in enumerate(groups):
    stop = first + len(group.points) * seeds
    part = range(max(own.start, first) - first, min(own.stop, stop) - first)
    first = stop
    if not part or str(number) in records:
      continue
    begun, parts = time.perf_counter(), parts_of(group.settings)
    folder = Workdir(share.path / "groups" / str(number))
    trainer, forecast = _assemble_group(parts, group, folder, part)
    claim()
    origin = origin_of(parts, group, trainer.trials)
    train_trials(trainer, parts.options, folder, forecast, begun, progress, origin)
    records[str(number)] = trainer.record.to_json()
    write_json_atomic(path, records)
  return records


def _train_group(
  parts: Parts,
  group: Group,
  number: int,
  points: Sequence[Point],
  table: PointTable,
  identity: dict[str, Any],
  begun: float,
  progress: bool,
  origin_of: OriginOf,
) -> None:
  """Trains the points of a group, from its newest checkpoint on, and keeps each that ends."""
  options = parts.options
  root = table.folder.path
  folder = NoWorkdir() if root is None else Workdir(root / "groups" / str(number))
  trainer, forecast = _assemble_group(parts, group, folder)

  def claim() -> None:
    table.folder.claim(identity)

  def keep_ended(action: str) -> None:
    if action != Trainer.evaluate.__name__:
      return
    rows = {
      place: row
      for index, place in enumerate(group.points)
      if (row := row_of(points[place], trainer.record, index, options)) and not table.has([place])
    }
    if rows:
      table.keep(rows, number, trainer.record)

  try:
    train_trials(
      trainer,
      options,
      folder,
      forecast,
      begun,
      progress,
      origin_of(parts, group, trainer.trials),
      claim=claim,
      after=keep_ended,
    )
    keep_ended(Trainer.evaluate.__name__)  # what the table has lost since
  except InterruptedRun as stop:
    raise InterruptedRun(f"stopped and saved: the same command goes on in {root}") from stop


def _assemble_group(
  parts: Parts, group: Group, folder: Workdir | NoWorkdir, part: range | None = None
) -> tuple[Trainer, Forecast]:
  """The trainer of the trials of a group, or of a part of them, that are trained in `folder`."""
  options = parts.options
  seeds = range(options.seed, options.seed + options.seeds)
  trials = [Trial(seed, hyper) for hyper in group.hyper for seed in seeds]
  return assemble(
    parts.stream,
    parts.model,
    parts.method,
    trials if part is None else trials[part.start : part.stop],
    options,
    pretrained=parts.pretrained,
    keep_going=True,
    together=group_size.kept(folder.path),
  )
