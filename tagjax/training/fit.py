"""`fit`: a stream, a model and a method, trained from beginning to end; resumable anywhere."""

import contextlib
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from tagjax.core.errors import ConfigError, nearest
from tagjax.core.types import Variables
from tagjax.distributed import processes
from tagjax.distributed.shared_workdir import ReadWorkdir, open_workdir
from tagjax.report.results import summarise, summarise_counts, summarise_peaks
from tagjax.report.run import Run
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training import group_size
from tagjax.training.assemble import Stream, assemble, describe_trainer, state_digest
from tagjax.training.checks import check_stream
from tagjax.training.cpu_devices import use_cpu_devices
from tagjax.training.ending import Ending
from tagjax.training.fingerprint import Origin, fingerprint
from tagjax.training.identity import describe_run, flat_keys
from tagjax.training.memory_estimate import Forecast
from tagjax.training.options import RunOptions
from tagjax.training.provenance import provenance
from tagjax.training.record import RunRecord
from tagjax.training.shares import (
  ALONE,
  Process,
  are_planned,
  check_process,
  origins,
  share_folder,
  train_shares,
)
from tagjax.training.train_stream import train_trials
from tagjax.training.trainer import Trainer, Trial


def fit(
  stream: Stream,
  model: Any,
  method: Any,
  *,
  workdir: str | os.PathLike | None = None,
  options: RunOptions | None = None,
  hyper: Mapping[str, float] | None = None,
  pretrained: Variables | None = None,
  identity: Mapping[str, Any] | None = None,
  progress: bool = True,
  profile: bool = False,
  process: Process = ALONE,
  accept_changes: bool = False,
  **changes: Any,
) -> Run:
  """Trains the stream for every seed and returns the results.

  A run with a `workdir` that was interrupted, in any way, goes on from its last checkpoint when it
  is started again with the same arguments, and ends with the same results; one that has ended
  returns what it wrote.

  Args:
    stream: from `tagjax.load_benchmark` or `tagjax.Stream.from_arrays`, or any object with what
      `tagjax.training.assemble.Stream` names.
    model: a Flax Linen module, an NNX class, or a `tagjax.Model`; see
      `tagjax.engine.model.as_model`.
    method: a `tagjax.Method`, an Optax transformation, or a function of hyperparameters (a mapping)
      that returns one of these. If the function has a parameter `columns`, it is told how devices
      share its state, see `tagjax.transforms.Columns`.
    workdir: folder of the run, created if missing. It will hold config.json, group.json,
      metrics.jsonl, results.json, checkpoints and plots. None: nothing is written.
    options: of the run; None: the defaults.
    hyper: what the function `method` is called with; inputs of the compiled programs.
    pretrained: variables that take the place of those that the model would start with.
    identity: JSON values that the folder belongs to, and that the results tell as `config`. None:
      options, names and plain settings of the three objects.
    progress: show on stderr what the run will hold in memory, and a line of progress.
    profile: record a trace of some chunks of steps in the folder `profile` of `workdir`.
    process: `(i, n)`: this is process i, from 0, of n that call this with the same arguments and
      share the seeds out, see `tagjax.training.shares`.
    accept_changes: go on from a checkpoint that was written with other data, by other code or on
      other devices, see `tagjax.training.fingerprint`; results.json then tells what has changed.
    **changes: fields of `RunOptions`, such as `epochs=5, batch_size=32, seeds=3`.

  Several processes that `tagjax.distributed.processes.join` has joined share each batch; all call
  this, with the same arguments, and the first one writes.

  Returns:
    The run: results as arrays, frames and plots.

  Raises:
    ConfigError: an argument cannot work; told before anything is compiled.
    WorkdirError: the folder cannot be written, holds another run, or is in use.
    CheckpointError: no checkpoint of the folder can be used.
    DivergedError: the loss is not finite any more; the last checkpoint stays.
    InterruptedRun: SIGINT or SIGTERM came; the folder can be resumed.
    IncompleteRun: the seeds of this process have ended, those of others have not.

  >>> import numpy as np, optax, tagjax
  >>> image, label = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
  >>> stream = tagjax.Stream.from_arrays("mine", [(image, label, image, label)] * 2)
  >>> run = tagjax.fit(stream, tagjax.models.MLP(2, hidden=(8,)), optax.sgd(0.1), progress=False)
  >>> run.accuracy.shape
  (1, 2, 2)
  """
  begun, options = time.perf_counter(), make_options(options, changes)
  use_cpu_devices(at_least=options.data_parallel)
  origin = provenance()  # now: the checkout may change while it runs
  if profile and workdir is None:
    raise ConfigError("profile=True writes a trace into the run's folder: give a workdir")
  check_stream(stream, options)
  trials = [Trial(options.seed + n, dict(hyper or {})) for n in range(options.seeds)]
  check_process(process, len(trials), options, workdir)

  def assembled(own: Sequence[Trial], together: int | None = None) -> tuple[Trainer, Forecast]:
    with processes.first_alone():
      return assemble(stream, model, method, own, options, pretrained=pretrained, together=together)

  made = None
  if identity is None:  # what the objects do not tell, the shapes of their state may
    made = assembled(trials if process == ALONE else trials[:1])
    described = describe_run(stream, model, method, options, hyper)
    identity = {**described, "state": state_digest(made[0])}
  name = dict(identity)
  of_all = {key: value for key, value in origin.items() if key not in ("cores", "processor")}
  processes.check_same({"config": name} | of_all)
  folder = open_workdir(workdir)

  ending = Ending(folder, options.plots)

  def end(record: RunRecord, told: Mapping[str, Any], origin: Mapping[str, Any]) -> Run:
    results = results_of(record, stream, options) | {
      **told,
      "seeds": [trial.seed for trial in trials],
      "used": sorted(flat_keys(name)),
      "config": name,
      "command": shlex.join(["python", *sys.argv]),
      "provenance": {**origin, "starts": record.starts, "metrics_sha256": folder.log_digest()},
    }
    ending.write(results)
    return Run(results, folder.path)

  def origin_of(own: Sequence[Trial]) -> Origin:
    return Origin(fingerprint(name, own, (stream, model, method), origin), origin, accept_changes)

  with folder.lock() if process == ALONE else contextlib.nullcontext():
    folder.check(name)
    if folder.has_results():
      return _finished(folder)
    if process == ALONE and not are_planned(folder):
      together = group_size.kept(folder.path)
      if made is None or together not in (None, made[0].programs.layout.num_lanes):
        made = assembled(trials, together)
      trainer, forecast = made
      with ending:
        train_trials(
          trainer,
          options,
          folder,
          forecast,
          begun,
          progress,
          origin_of(trials),
          profile=profile,
          claim=lambda: folder.claim(name),
        )
        return end(trainer.record, describe_trainer(trainer), origin)

  def train(own: range, share: Workdir, claim: Callable[[], None]) -> dict[str, Any]:
    begun = time.perf_counter()
    some = trials[own.start : own.stop]
    trainer, forecast = assembled(some, group_size.kept(share.path))
    claim()
    train_trials(
      trainer, options, share, forecast, begun, progress, origin_of(some), profile=profile
    )
    of_share = {"record": trainer.record.to_json(), "told": describe_trainer(trainer)}
    return of_share | {"provenance": origin}

  assert isinstance(folder, Workdir), "see check_process"
  measured = train_shares(folder, name, process, len(trials), train, _seeds_of(trials))
  record = RunRecord.join([RunRecord.from_json(share["record"]) for share in measured])
  folder.join_logs([share_folder(folder, share) for share in range(len(measured))])
  return end(record, measured[0]["told"], origins(measured))


def ended_run(workdir: str | os.PathLike | None, identity: Mapping[str, Any]) -> Run | None:
  """The run that has ended in `workdir`, for callers that have not loaded its data yet.

  Args:
    workdir: see `fit`.
    identity: see `fit`.

  Returns:
    The run; None if none has ended there.

  Raises:
    WorkdirError: the folder holds another run.
  """
  if workdir is None or jax.process_count() > 1:  # several processes must agree on what they see
    return None
  folder = ReadWorkdir(workdir)
  folder.check(dict(identity))
  return _finished(folder) if folder.has_results() else None


def make_options(options: RunOptions | None, changes: Mapping[str, Any]) -> RunOptions:
  """`options` with `changes`.

  Raises:
    ConfigError: for a name that is no field, or a value out of range.
  """
  known = RunOptions.__dataclass_fields__
  for name in changes:
    if name not in known:
      raise ConfigError(f"{name} is no option of a run{nearest(name, known)}; see RunOptions")
  return dataclasses.replace(options or RunOptions(), **changes)


def results_of(record: RunRecord, stream: Stream, options: RunOptions) -> dict[str, Any]:
  """What results.json holds of the measurements."""
  place = 2 if options.evaluate_on == "test" else 1
  sizes = [size[place] for size in stream.sizes]
  results = summarise(
    record.accuracy,
    forgetting_definition=options.forgetting,
    baseline=record.baseline if options.evaluate_future_tasks else None,
    curves=None if options.learning_curve_batches is None else record.curves,
    beta=options.learning_curve_batches or 0,
    sizes=sizes if stream.spec.scenario == "class" else None,
  )
  if record.counts:
    counted = summarise_counts(
      record.counts,
      sizes,
      continuum=options.continuum,
      lengths=options.all_lengths,
      top_k=options.top_k,
      classes=stream.spec.classes,
    )
    counted["definitions"] = results["definitions"] | counted["definitions"]
    results |= counted
  if options.select_epoch == "best":
    results |= {"validation_accuracy": record.validation, "chosen_epoch": record.chosen_epoch}
  if options.peak_accuracy:
    results |= summarise_peaks(record.accuracy, record.peak, record.epoch_validation)
  allocated = {f"allocated_{name}": number for name, number in record.allocated.items()}
  return results | {
    **record.diagnostics,
    "growth": {**record.growth, **allocated, **record.flops_by_task()},
    "outcomes": record.outcomes,
    "task_names": list(stream.task_names),
    "seconds": record.seconds,
  }


def _seeds_of(trials: Sequence[Trial]) -> Callable[[range], str]:
  """Names some of the trials."""

  def tell(own: range) -> str:
    first, last = trials[own.start].seed, trials[own.stop - 1].seed
    return f"seed {first}" if first == last else f"seeds {first} to {last}"

  return tell


def _finished(folder: Workdir | NoWorkdir) -> Run:
  """A run that has ended: said, so that nobody takes old results for new ones."""
  run = Run.load(folder.results)
  if processes.is_writer():
    commit = (run.results.get("provenance") or {}).get("commit") or "an unknown commit"
    print(
      f"this run has ended already, at {commit[:9]}: nothing was trained; for a new run choose "
      f"another folder than {folder.path}",
      file=sys.stderr,
    )
  return run
