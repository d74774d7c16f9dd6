"""Runs what a config describes: three objects made from names, then `tagjax.fit`."""

import os
from typing import Any

from ml_collections import ConfigDict

from tagjax.config import build, early, grid, search
from tagjax.config.defaults import nested
from tagjax.config.settings import Settings, read, typed, used
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.distributed import processes
from tagjax.report.grid import Grid
from tagjax.report.run import Run
from tagjax.training import protocol, sweep, tuning
from tagjax.training.assemble import training_sizes
from tagjax.training.cpu_devices import use_cpu_devices
from tagjax.training.fit import ended_run, fit
from tagjax.training.options import RunOptions
from tagjax.training.points import Point, grid_points
from tagjax.training.search import train_search
from tagjax.training.shares import ALONE, Process
from tagjax.training.space import describe_space
from tagjax.training.trainer import num_steps


def run_config(
  config: ConfigDict | Settings,
  workdir: str | os.PathLike | None,
  *,
  progress: bool = True,
  profile: bool = False,
  process: Process = ALONE,
  accept_changes: bool = False,
) -> Run | Grid:
  """Trains the stream, every point of the grid `config.sweep`, or points of `config.search`.

  With `config.tuning.tasks` these are tried on the first tasks, and the best is judged on others.

  Args:
    config: see `tagjax.config.defaults.base_config`.
    workdir: see `tagjax.fit`.
    progress: see `tagjax.fit`.
    profile: see `tagjax.fit`; not for a grid or search.
    process: see `tagjax.fit`; not for a search, whose workers share a study.
    accept_changes: see `tagjax.fit`.

  Returns:
    The run, or the points of the grid or search. With `config.tuning.tasks` the judged runs.

  Raises:
    ConfigError: a key of the config cannot work; one line that names it.
    WorkdirError, CheckpointError, DivergedError, InterruptedRun, IncompleteRun: see `tagjax.fit`.
  """
  values = read(config) if isinstance(config, ConfigDict) else typed(config)
  use_cpu_devices(at_least=early.run_options(values).data_parallel)  # before JAX computes anything
  settings = validate(values)
  try:
    if settings["tuning.tasks"] is not None:
      return _run_protocol(settings, workdir, progress, profile, process, accept_changes)
    if settings["sweep"] or settings["search"]:
      return _run_points(settings, workdir, progress, profile, process, accept_changes)
    identity = nested(used(settings))
    if (ended := ended_run(workdir, identity)) is not None:
      return ended
    with processes.first_alone():  # what it downloads or prepares the others find
      parts = make_parts(settings)
    return fit(
      *parts[:3],
      options=parts.options,
      pretrained=parts.pretrained,
      identity=identity,
      workdir=workdir,
      progress=progress,
      profile=profile,
      process=process,
      accept_changes=accept_changes,
    )
  except ConfigError as error:
    raise ConfigError(_with_key(str(error), settings)) from error


def make_parts(settings: Settings, stream: Any = None) -> sweep.Parts:
  """The objects that settings name.

  Args:
    settings: of the run.
    stream: what takes the place of their stream; None: nothing does.

  Raises:
    ConfigError: if one of them refuses a setting.
  """
  stream = build.build_stream(settings) if stream is None else stream
  options = early.run_options(settings)
  model = build.build_model(settings, stream.spec)
  steps = [num_steps(options, size) for size in training_sizes(stream, options)]
  stacked = build.stacked_of(settings, model, stream.spec)
  method = build.build_method(settings, stream.spec, steps, stacked)
  pretrained = build.load_pretrained(settings, model, stream.spec)
  return sweep.Parts(stream, model, method, options, pretrained)


def _run_points(
  settings: Settings,
  workdir: str | os.PathLike | None,
  progress: bool,
  profile: bool,
  process: Process,
  accept_changes: bool,
) -> Grid:
  """A grid or a search."""
  if profile:
    name = "sweep" if settings["sweep"] else "search"
    raise ConfigError(f"config.{name} does not go with --profile: leave one of the two away")
  base = {**settings, **sweep.CHOSEN_ON}
  tasks = settings["sweep_tasks"]
  if tasks:
    base["end_task"] = settings["first_task"] + tasks

  def parts_of(constants: Point) -> sweep.Parts:
    point = grid.at_point(base, constants)
    try:
      return make_parts(point)
    except ConfigError as error:
      if tasks and "end_task=" in str(error):  # which nobody has given
        raise ConfigError(f"config.sweep_tasks={tasks}: there are not so many tasks") from error
      raise

  common = (early.run_options(settings), nested(used(settings)), workdir)
  shown = {"tasks": settings["sweep_tasks"], "progress": progress, "accept_changes": accept_changes}
  if settings["search"] and process != ALONE:
    raise ConfigError(
      "config.search does not go with --num_processes or --distributed: start the same command "
      "in each process without them, and they share the study"
    )
  return _try_points(settings, parts_of, common, shown, process)


def _run_protocol(
  settings: Settings,
  workdir: str | os.PathLike | None,
  progress: bool,
  profile: bool,
  process: Process,
  accept_changes: bool,
) -> Run:
  """A grid or a search over the first tasks, and the runs that are judged on the others."""
  for flag, given in (("--profile", profile), ("--num_processes", process != ALONE)):
    if given:
      raise ConfigError(f"config.tuning.tasks does not go with {flag}: leave one of the two away")
  identity = nested(used(settings))
  if (ended := ended_run(workdir, identity)) is not None:
    return ended
  chooses, options = early.tuning(settings), early.run_options(settings)
  first, rest = protocol.cut(build.build_stream(settings), chooses)
  of_tuning = tuning.tuning_options(options, chooses)
  base = {**settings, **_differing(options, of_tuning)}
  judging = {**settings, **_differing(options, tuning.judging_options(options, chooses))}

  told: dict[str, Any] = {"progress": progress, "accept_changes": accept_changes}

  def tune(folder: str | os.PathLike | None) -> Grid:
    def parts_of(constants: Point) -> sweep.Parts:
      return make_parts(grid.at_point(base, constants), first)

    common = (of_tuning, identity, folder)
    shown = {**told, "tasks": chooses.tasks, "split": chooses.split}
    return _try_points(settings, parts_of, common, shown)

  def judged(chosen: Point, stream: Any) -> sweep.Parts:
    return make_parts(grid.at_point(judging, chosen), stream)

  return protocol.run_protocol(tune, judged, rest, chooses, options, identity, workdir, **told)


def _differing(one: RunOptions, other: RunOptions) -> dict[str, Any]:
  """The options of `other` that `one` does not have."""
  names = RunOptions.__dataclass_fields__
  return {
    name: getattr(other, name) for name in names if getattr(one, name) != getattr(other, name)
  }


def _try_points(
  settings: Settings, parts_of, common: tuple, shown: dict[str, Any], process: Process = ALONE
) -> Grid:
  """All points of the grid, or those that the search proposes."""
  if not settings["search"]:
    points = grid_points(settings["sweep"])
    traced = grid.traced_of(settings, settings["sweep"])
    return sweep.train_grid(parts_of, points, traced, *common, **shown, process=process)
  space, study = search.space_of(settings), search.study_options(settings)
  options, identity, workdir = common
  identity = {**identity, "search": describe_space(space)}
  traced = grid.traced_of(settings, space)
  return train_search(parts_of, space, traced, options, study, identity, workdir, **shown)


def _with_key(text: str, settings: dict[str, Any] | Settings) -> str:
  """Messages of `fit` name its arguments; a config has them as keys."""
  name = text.split("=")[0].split(":")[0].split(" ")[0]
  return f"config.{text}" if name in settings else text
