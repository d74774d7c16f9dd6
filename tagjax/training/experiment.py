"""The loop: a stream, a learner and a folder; resumable at every action of its plan."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from tagjax.config.defaults import to_dict
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError, InterruptedRun
from tagjax.distributed import processes
from tagjax.distributed.shared_workdir import open_checkpoints, open_workdir
from tagjax.report.plots import save_all
from tagjax.report.progress import Progress
from tagjax.report.results import summarise
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import Workdir
from tagjax.training.profiler import Trace
from tagjax.training.provenance import provenance
from tagjax.training.schedule import Action
from tagjax.training.signals import stop_on_signals
from tagjax.training.trainer import Driver


def run(
  config: ConfigDict,
  workdir: str | os.PathLike,
  *,
  progress: bool = True,
  profile: bool = False,
) -> dict[str, Any]:
  """Trains the stream for every seed and writes the results.

  A run that was interrupted, in any way, goes on from its last checkpoint when it is started again
  with the same config and workdir, and ends with the same results; one that has ended returns
  what it wrote.

  Args:
    config: see `tagjax.config.defaults.base_config`.
    workdir: folder of the run, created if missing. It will hold config.json, metrics.jsonl,
      results.json, checkpoints and pictures.
    progress: show on stderr what the run will hold in memory, and a line of progress.
    profile: record a trace of some chunks of steps in the folder `profile` of `workdir`.

  Several processes that `tagjax.distributed.processes.join` has joined all call this, with the same
  arguments; the first one writes.

  Returns:
    The contents of results.json.

  Raises:
    ConfigError: a key of the config cannot work.
    WorkdirError: the folder cannot be written, holds another config, or is in use.
    CheckpointError: no checkpoint of the folder can be used.
    DivergedError: the loss is not finite any more; the last checkpoint stays.
    InterruptedRun: SIGINT or SIGTERM came; the folder can be resumed.
  """
  begun, origin = time.perf_counter(), provenance()  # now: the checkout may change while it runs
  validate(config)
  if config.sweep:
    raise ConfigError("config.sweep asks for a grid of runs: that is tagjax.training.sweep.run")
  processes.check_same({"config": to_dict(config)} | origin)
  folder = open_workdir(workdir)
  with folder.lock():
    folder.check(to_dict(config))
    if folder.results.exists():
      return read_json(folder.results)
    with processes.first_alone():
      driver = Driver(config)
    folder.claim(to_dict(config))
    perform_plan(driver, folder, begun, progress, profile=profile)
    results = _results(driver) | {"provenance": origin}
    if not processes.is_writer():
      return results
    if config.plots:
      save_all(results, folder.path)
    write_json_atomic(folder.results, results)  # last: its presence says that the run has ended
    return results


def perform_plan(
  driver: Driver,
  folder: Workdir,
  begun: float,
  progress: bool,
  *,
  profile: bool = False,
  after: Callable[[Action], None] = lambda action: None,
) -> None:
  """Performs the plan's actions from the newest checkpoint on, saving where the plan says so.

  Args:
    driver: performs them.
    folder: takes the log and the checkpoints.
    begun: `time.perf_counter()` from which on seconds count as this run's.
    progress: show a line of progress.
    profile: see `run`.
    after: called after each action, before the state is saved.

  Raises:
    CheckpointError, DivergedError, InterruptedRun: see `run`.
  """
  progress = progress and processes.is_writer()
  trace = Trace(folder.profile if profile and processes.is_writer() else None)
  with contextlib.closing(open_checkpoints(folder, driver.config.keep_checkpoints)) as store:
    first = driver.resume(store)
    _perform(driver, folder, store, first, begun, progress, trace, after)


def _perform(driver, folder, store, first, begun, progress, trace, after) -> None:
  if progress:
    print(f"memory: {driver.forecast}, besides what a step needs", file=sys.stderr, flush=True)
  elapsed_before = driver.record.seconds["total"]
  with (
    stop_on_signals() as stop,
    contextlib.closing(folder.open_log(driver.record.metrics_bytes)) as log,
    contextlib.closing(trace),
    Progress(
      driver.total_steps,
      enabled=progress,
      done=driver.steps_before(first),
      num_seeds=len(driver.lanes),
      noun="run" if driver.tolerant else "seed",
      seeds_together=driver.lanes_together,
      num_tasks=len(driver.stream),
    ) as line,
  ):
    for position in range(first, len(driver.plan)):
      action = driver.plan[position]
      with trace.around(action.kind):
        driver.perform(action, log, line)
      driver.record.seconds["total"] = elapsed_before + time.perf_counter() - begun
      after(action)
      stopping = processes.any_process(stop.requested)
      if action.save or stopping:
        driver.save(store, log, position + 1)
      if stopping:
        raise InterruptedRun(f"stopped and saved: the same command goes on in {folder.path}")


def _results(driver: Driver) -> dict[str, Any]:
  """What results.json holds."""
  config, record = driver.config, driver.record
  return summarise(
    record.accuracy,
    forgetting_definition=config.forgetting,
    baseline=record.baseline if config.evaluate_future_tasks else None,
    curves=record.curves if config.learning_curve_batches else None,
    beta=config.learning_curve_batches,
  ) | {
    **record.diagnostics,
    "task_names": driver.stream.task_names,
    "seconds": record.seconds,
    "config": to_dict(config),
    "command": shlex.join(["python", *sys.argv]),
  }
