"""Tasks to choose hyperparameters by, then tasks that are seen once and judged: one command.

    WORKDIR/tuning/         the grid or search over the first tasks: a folder like any other grid's
    WORKDIR/runs/3/         the run of seed 3 over the other tasks, with the chosen values
    WORKDIR/runs/3.json     what it has measured; there once it has ended
    WORKDIR/results.json    those of all runs together, and of the first stage; there at the end

References:
  Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019.
"""

import dataclasses
import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tagjax import benchmarks
from tagjax.core.errors import ConfigError, DivergedError, InterruptedRun
from tagjax.report.grid import Grid
from tagjax.report.run import Run
from tagjax.report.tables import percent, value_text
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training import group_size
from tagjax.training.assemble import Stream, assemble, describe_trainer
from tagjax.training.checks import check_stream
from tagjax.training.cpu_devices import use_cpu_devices
from tagjax.training.ending import Ending
from tagjax.training.fingerprint import Origin, fingerprint
from tagjax.training.fit import make_options, results_of
from tagjax.training.identity import describe_run, flat_keys
from tagjax.training.options import RunOptions
from tagjax.training.points import Point, check_grid, grid_points, split_grid, with_fixed
from tagjax.training.provenance import provenance
from tagjax.training.record import RunRecord
from tagjax.training.sweep import Parts, train_grid
from tagjax.training.train_stream import train_trials
from tagjax.training.trainer import Trial
from tagjax.training.tuning import TuningOptions, judging_options, tuning_options

TUNING, RUNS = "tuning", "runs"


def tune_then_judge(
  stream: Stream,
  model: Any,
  method_of: Callable[[Mapping[str, Any]], Any],
  *,
  grid: Mapping[str, Sequence[Any]],
  tuning: TuningOptions | int = 3,
  workdir: str | os.PathLike | None = None,
  options: RunOptions | None = None,
  progress: bool = True,
  accept_changes: bool = False,
  **changes: Any,
) -> Run:
  """Chooses a point of a grid on the first tasks, then trains the others with it and judges these.

  The first tasks are trained once for each point and seed, and validation examples choose the best
  point, as in `tagjax.sweep`. The chosen values are then fixed. For each seed a new network learns
  the other tasks, held-out examples included, each seed in an order of its own
  (`tagjax.Stream.shuffled`); classes of the first tasks are never among them. A run whose loss
  stops being finite is named, and is no part of the results; the others go on.

  Args:
    stream: a `tagjax.Stream`, with validation examples (`validation_fraction`).
    model: see `tagjax.fit`; a model that reads the attributes of the stream's classes is given as a
      function of the stream's spec.
    method_of: from the values of a point (a mapping) to the method. Floats may be traced.
    grid: see `tagjax.sweep`.
    tuning: which tasks choose, and how; a number of tasks, or `TuningOptions`.
    workdir: folder of both stages, created if missing; what was interrupted goes on there. None:
      nothing is written.
    options: of the judged runs; None: the defaults.
    progress: show a line of progress on stderr.
    accept_changes: see `tagjax.fit`.
    **changes: fields of `RunOptions`.

  Returns:
    The judged runs that ended, a seed each; `Run.tuning` is the grid of the first stage,
    `Run.diverged_seeds` are the others.

  Raises:
    ConfigError: an argument cannot work; or every point of the grid diverged.
    DivergedError: every judged run diverged.
    WorkdirError, CheckpointError, InterruptedRun: see `tagjax.fit`.

  >>> import numpy as np, optax, tagjax
  >>> image, label = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
  >>> tasks = [(image, label, image, label)] * 3
  >>> stream = tagjax.Stream.from_arrays(
  ...   "mine", tasks, scenario="domain", validation_fraction=0.5)
  >>> run = tagjax.tune_then_judge(stream, tagjax.models.MLP(2, hidden=(8,)),
  ...   lambda h: optax.sgd(h["rate"]), grid={"rate": [0.1, 0.01]}, tuning=1, progress=False)
  >>> run.num_tasks, sorted(run.tuning.chosen)
  (2, ['rate'])
  """
  tuning = TuningOptions(tuning) if isinstance(tuning, int) else tuning
  options = make_options(options, changes)
  points = grid_points(check_grid(grid))
  first, rest = cut(stream, tuning)
  of_run, traced = split_grid(grid)

  def parts(part: Stream, values: Point, own: RunOptions) -> Parts:
    own = make_options(own, {key: values[key] for key in values if key in of_run})
    fixed = {key: value for key, value in values.items() if key not in of_run}
    made = model(part.spec) if inspect.isfunction(model) else model
    return Parts(part, made, with_fixed(method_of, fixed), own)

  of_tuning = tuning_options(options, tuning)
  check_stream(first, of_tuning)
  shown_model = model(first.spec) if inspect.isfunction(model) else model
  identity = {
    **describe_run(stream, shown_model, method_of, options, None),
    "sweep": {key: list(values) for key, values in grid.items()},
    "tuning": dataclasses.asdict(tuning),
  }

  def tune(folder: str | os.PathLike | None) -> Grid:
    return train_grid(
      lambda constants: parts(first, constants, of_tuning),
      points,
      traced,
      of_tuning,
      identity,
      folder,
      tasks=tuning.tasks,
      split=tuning.split,
      progress=progress,
      accept_changes=accept_changes,
    )

  def judged(chosen: Point, stream: Stream) -> Parts:
    return parts(stream, chosen, judging_options(options, tuning))

  shown = {"progress": progress, "accept_changes": accept_changes}
  return run_protocol(tune, judged, rest, tuning, options, identity, workdir, **shown)


def cut(stream: Stream, tuning: TuningOptions) -> tuple[benchmarks.Stream, benchmarks.Stream]:
  """The streams of the two stages; the second has no validation examples.

  Raises:
    ConfigError: if no task is left to be judged on, a class is in both, or the stream is of another
      kind and cannot be cut.
  """
  assert tuning.tasks is not None, "see TuningOptions.tasks"
  if not isinstance(stream, benchmarks.Stream):
    raise ConfigError(
      f"tuning.tasks={tuning.tasks}: the stream ({type(stream).__name__}) cannot be cut in two: "
      "make a tagjax.Stream of it"
    )
  try:
    return stream.cut(tuning.tasks)
  except ValueError as error:
    raise ConfigError(f"tuning.tasks={tuning.tasks}: {error}") from error


def run_protocol(
  tune: Callable[[str | os.PathLike | None], Grid],
  judged: Callable[[Point, benchmarks.Stream], Parts],
  rest: benchmarks.Stream,
  tuning: TuningOptions,
  options: RunOptions,
  identity: Mapping[str, Any],
  workdir: str | os.PathLike | None,
  *,
  progress: bool = True,
  accept_changes: bool = False,
) -> Run:
  """Both stages, from where an earlier call was stopped.

  Args:
    tune: carries the first stage out in a folder.
    judged: from the chosen values and the tasks of a run to what is trained.
    rest: the tasks that are judged.
    tuning: how the first stage chooses.
    options: of the run.
    identity: JSON values that the folder belongs to, told as `config`.
    workdir: see `tune_then_judge`.
    progress: show lines of progress on stderr.
    accept_changes: see `tagjax.fit`.

  Returns:
    The run. Its results are those of `tagjax.fit`, over the runs that ended, seconds included;
    `tuning`: the results of the first stage; `runs`: for each seed its `task_names`, `seconds` and
    `diverged`, where its loss stopped being finite (`{"task", "step"}`, see
    `tagjax.training.record.RunRecord`) or None; `diverged_seeds`: those of which it did.

  Raises:
    ConfigError, WorkdirError, CheckpointError, DivergedError, InterruptedRun: see
      `tune_then_judge`.
  """
  use_cpu_devices(at_least=options.data_parallel)
  if jax.process_count() > 1:
    raise ConfigError(
      f"tuning.tasks={tuning.tasks} does not go with {jax.process_count()} joined processes: start "
      "one"
    )
  origin = provenance()
  name, folder = dict(identity), NoWorkdir() if workdir is None else Workdir(workdir)
  with folder.lock():
    folder.check(name)
    if folder.has_results():
      _say(progress, f"both stages have ended already: nothing was trained in {folder.path}")
      return Run.load(folder.results)
    try:
      grid = tune(None if folder.path is None else folder.path / TUNING)
      folder.claim(name)  # until then the folder of the grid tells whose it is
      chosen = _choice(grid)
      _say(progress, _tell_choice(grid))

      def train(parts: Parts, seeds: Sequence[int], path: Path | None) -> dict[str, Any]:
        own = {**name, "chosen": _plain(chosen), "seeds": list(seeds)}
        return _train_run(parts, seeds, path, own, origin, accept_changes, progress)

      results, starts = _judge(judged, chosen, rest, tuning, folder, train)
      _warn_of_diverged(results["runs"])
    except InterruptedRun as stop:
      if folder.path is None:
        raise
      raise InterruptedRun(
        f"stopped and saved: the same command goes on in {folder.path}"
      ) from stop
    results |= {
      "tuning": grid.results,
      "used": sorted(flat_keys(name)),
      "config": name,
      "command": shlex.join(["python", *sys.argv]),
      "provenance": {**origin, "starts": starts, "metrics_sha256": folder.log_digest()},
    }
    Ending(folder, options.plots).write(results)
  return Run(results, folder.path)


def _choice(grid: Grid) -> Point:
  if grid.chosen is None:
    raise ConfigError(
      f"tuning: every point of the grid diverged: try smaller learning rates or strengths"
      f"{f', in another folder than {grid.folder}' if grid.folder else ''}"
    )
  return {key: tuple(v) if isinstance(v, list) else v for key, v in grid.chosen.items()}


def _tell_choice(grid: Grid) -> str:
  assert grid.chosen is not None
  best = max(one["average_accuracy"]["mean"] for one in grid.results["points"] if _ended(one))
  values = " ".join(f"{key}={value_text(value)}" for key, value in grid.chosen.items())
  edges = "".join(f"; {key} is at the edge of what was tried" for key in grid.at_edge)
  split = grid.results["selected_on"]["split"]
  return f"chosen on {split} examples: {values}  {percent(best)} %{edges}"


def _ended(point: Mapping[str, Any]) -> bool:
  return point["average_accuracy"] is not None


def _judge(
  judged: Callable[[Point, benchmarks.Stream], Parts],
  chosen: Point,
  rest: benchmarks.Stream,
  tuning: TuningOptions,
  folder: Workdir | NoWorkdir,
  train: Callable[[Parts, Sequence[int], Path | None], dict[str, Any]],
) -> tuple[dict[str, Any], list[Any]]:
  """Trains each seed on the tasks that are judged: the results, and where each run began.

  Raises:
    DivergedError: if no run ended.
  """
  options = judged(chosen, rest).options
  if not options.needs_validation:
    rest = rest.without_validation()
  seeds = list(range(options.seed, options.seed + options.seeds))
  groups = [[seed] for seed in seeds] if tuning.shuffle else [seeds]
  streams = [rest.shuffled(group[0]) if tuning.shuffle else rest for group in groups]
  _check_sizes(streams, options)
  records, measured, folders = [], {}, []
  for group, stream in zip(groups, streams, strict=True):
    path = None if folder.path is None else folder.path / RUNS / str(group[0])
    own = _ended_run(path)
    if own is None:
      own = train(judged(chosen, stream), group, path)
    records.append(RunRecord.from_json(own["record"]))
    folders += [] if path is None else [Workdir(path)]
    measured = own["told"]
  runs = [
    _tell_run(seed, stream, record.part([trial]))
    for group, stream, record in zip(groups, streams, records, strict=True)
    for trial, seed in enumerate(group)
  ]
  ended = [one for one in runs if not one["diverged"]]
  if not ended:
    raise DivergedError(_all_diverged(runs, chosen, folder.path))
  results = results_of(_ended_part(records), streams[0], options)
  same_names = all(one["task_names"] == ended[0]["task_names"] for one in ended)
  numbered = [f"task {place + 1}" for place in range(len(rest))]
  results["task_names"] = ended[0]["task_names"] if same_names else numbered
  if isinstance(folder, Workdir):
    folder.join_logs(folders)
  told = {
    "seeds": [one["seed"] for one in ended],
    "diverged_seeds": [one["seed"] for one in runs if one["diverged"]],
    "runs": runs,
  }
  return {**results, **measured, **told}, [start for record in records for start in record.starts]


def _tell_run(seed: int, stream: Stream, record: RunRecord) -> dict[str, Any]:
  """What the results say of the run of a seed besides its figures."""
  return {
    "seed": seed,
    "task_names": list(stream.task_names),
    "seconds": record.seconds,
    "diverged": record.diverged[0] or None,
  }


def _ended_part(records: Sequence[RunRecord]) -> RunRecord:
  """The record of the trials that have not diverged."""
  return RunRecord.join(
    [
      record.part([trial for trial, where in enumerate(record.diverged) if not where])
      for record in records
    ]
  )


def _all_diverged(runs: Sequence[Mapping[str, Any]], chosen: Point, path: Path | None) -> str:
  values = " ".join(f"{key}={value_text(value)}" for key, value in chosen.items())
  return (
    f"the loss is not finite in {_places(runs)}: every run diverged with the chosen {values}. Try "
    f"smaller learning rates or strengths{f', in another folder than {path}' if path else ''}"
  )


def _warn_of_diverged(runs: Sequence[Mapping[str, Any]]) -> None:
  lost = [one for one in runs if one["diverged"]]
  if lost:
    verb = "is" if len(lost) == 1 else "are"
    print(
      f"warning: {len(lost)} of {len(runs)} runs diverged and {verb} left out of all figures: "
      f"{_places(lost)}",
      file=sys.stderr,
      flush=True,
    )


def _places(runs: Sequence[Mapping[str, Any]]) -> str:
  return "; ".join(
    f"seed {one['seed']}, task {one['diverged']['task']}, step {one['diverged']['step']}"
    for one in runs
  )


def _check_sizes(streams: Sequence[Stream], options: RunOptions) -> None:
  """Counts of test images are joined over runs, and figures of them weigh tasks by their sizes."""
  needs_sizes = options.records_details or streams[0].spec.scenario == "class"
  place = 2 if options.evaluate_on == "test" else 1
  sizes = {tuple(size[place] for size in stream.sizes) for stream in streams}
  if needs_sizes and len(sizes) > 1:
    raise ConfigError(
      "tuning.shuffle=True: tasks of different runs would have test sets of different sizes, by "
      "which this scenario's figures weigh them: set test_examples_per_task, or shuffle=False"
    )


def _file(path: Path) -> Path:
  """What the run of a folder has measured; there once it has ended."""
  return path.with_name(f"{path.name}.json")


def _ended_run(path: Path | None) -> dict[str, Any] | None:
  if path is None or not _file(path).exists():
    return None
  return read_json(_file(path))


def _train_run(
  parts: Parts,
  seeds: Sequence[int],
  path: Path | None,
  identity: dict[str, Any],
  code: Mapping[str, Any],
  accept_changes: bool,
  progress: bool,
) -> dict[str, Any]:
  """What the run of these seeds measures, from its newest checkpoint on."""
  begun = time.perf_counter()
  folder = NoWorkdir() if path is None else Workdir(path)
  trials = [Trial(seed) for seed in seeds]
  with folder.lock():
    folder.check(identity)
    trainer, forecast = assemble(
      parts.stream,
      parts.model,
      parts.method,
      trials,
      parts.options,
      pretrained=parts.pretrained,
      keep_going=True,
      together=group_size.kept(folder.path),
    )
    train_trials(
      trainer,
      parts.options,
      folder,
      forecast,
      begun,
      progress,
      Origin(fingerprint(identity, trials, parts[:3], code), code, accept_changes),
      claim=lambda: folder.claim(identity),
    )
  measured = {"record": trainer.record.to_json(), "told": describe_trainer(trainer)}
  if path is not None:
    write_json_atomic(_file(path), measured)
  return measured


def _plain(point: Point) -> Point:
  return {key: list(value) if isinstance(value, tuple) else value for key, value in point.items()}


def _say(progress: bool, text: str) -> None:
  if progress:
    print(text, file=sys.stderr, flush=True)
