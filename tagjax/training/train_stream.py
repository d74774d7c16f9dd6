"""The run from top to bottom: every action of a stream, in order; resumable between any two."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from tagjax.core.errors import InterruptedRun
from tagjax.core.interrupts import stop_on_signals
from tagjax.distributed import processes
from tagjax.distributed.shared_workdir import open_checkpoints
from tagjax.report.progress import Progress
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training import group_size
from tagjax.training.fingerprint import Origin, check_same, start
from tagjax.training.log_lines import lines_of
from tagjax.training.options import RunOptions, epochs_by_task
from tagjax.training.placement import describe
from tagjax.training.preload import CHECKPOINTS, preload
from tagjax.training.profiler import Trace
from tagjax.training.record import RunRecord
from tagjax.training.schedule import Place, spans, visits_of
from tagjax.training.trainer import Trainer


class Cursor:
  """Where a run is: performs its actions one after another, past those that a checkpoint holds.

  Attributes:
    position: actions so far, those that were not performed anew included.
  """

  def __init__(
    self, trainer, store, log, trace, stop, first, begun, after, path, every, before_save=None
  ):
    self.position = 0
    self._before_save = before_save
    self._trainer, self._store, self._log, self._trace = trainer, store, log, trace
    self._stop, self._first, self._after, self._path = stop, first, after, path
    self._begun = begun - trainer.record.seconds["total"]
    self._every, self._saved_at = every, trainer.record.steps

  def perform(self, action: Callable[..., None], trials: range, *arguments: Any) -> None:
    """Calls `action(*arguments)`, unless the checkpoint that the run goes on from is past it."""
    self.position += 1
    if self.position <= self._first:
      return
    if not self._trainer.has_diverged(trials):
      with self._trace.around(action.__name__):
        action(*arguments)
    self._trainer.record.seconds["total"] = time.perf_counter() - self._begun
    self._after(action.__name__)
    stopping = processes.any_process(self._stop.requested)
    if stopping or 0 < self._every <= self._trainer.record.steps - self._saved_at:
      self.save()
    if stopping:
      kept = f"stopped and saved: the same command goes on in {self._path}"
      raise InterruptedRun(kept if self._path else "stopped: without a workdir nothing is kept")

  def save(self) -> None:
    """Writes a checkpoint, unless there is one of this place, or nowhere to write it."""
    if self.position > self._first and self._path is not None:
      if self._before_save is not None:
        self._before_save()
      self._trainer.save(self._store, self.position)
      self._first, self._saved_at = self.position, self._trainer.record.steps


def train_stream(trainer: Trainer, options: RunOptions, cursor: Cursor) -> None:
  """The run, from top to bottom: for each task train, consolidate, evaluate."""
  of_tasks = epochs_by_task(options.epochs, trainer.num_tasks)
  for trials in trainer.groups:
    epoch_id = 0
    for visit in visits_of(options, trainer.num_tasks):
      if visit.fresh:
        cursor.perform(trainer.begin, trials, trials, visit)
      if visit.number == 0 and options.evaluate_future_tasks:
        cursor.perform(trainer.evaluate_untrained, trials, trials)
      if trainer.programs.rehearses:
        cursor.perform(trainer.count_exemplars, trials, trials, visit)
      task_epoch = 0
      for phase in trainer.programs.phases:
        epochs = phase.epochs or of_tasks[visit.task]
        for epoch in range(epochs):
          is_first = epoch == 0 and phase == trainer.programs.phases[0] and not visit.again
          is_last = epoch == epochs - 1 and phase == trainer.programs.phases[-1]
          place = Place(trials, visit, phase.name, epoch, task_epoch, epoch_id, is_first, is_last)
          train_epoch(trainer, options, cursor, place)
          if options.select_epoch == "best":
            cursor.perform(trainer.keep_if_best, trials, place)
          if options.peak_accuracy:
            cursor.perform(trainer.test_if_peak, trials, place)
          task_epoch, epoch_id = task_epoch + 1, epoch_id + 1
        if options.select_epoch == "best":
          cursor.perform(trainer.take_best, trials, place)
        cursor.perform(trainer.consolidate, trials, place)
      if visit.evaluated:
        cursor.perform(trainer.evaluate, trials, trials, visit)
      cursor.save()


def train_epoch(trainer: Trainer, options: RunOptions, cursor: Cursor, place: Place) -> None:
  """One epoch, in spans of steps; a learning curve is recorded between the first ones."""
  steps = trainer.steps(place)
  curve_batches = options.learning_curve_batches if place.is_first else None
  for span in spans(steps, trainer.chunk_steps, curve_batches):
    if span.probed:
      cursor.perform(trainer.probe, place.trials, place, span.start)
    if span.stop > span.start:
      cursor.perform(trainer.train, place.trials, place, span, steps)


def train_trials(
  trainer: Trainer,
  options: RunOptions,
  folder: Workdir | NoWorkdir,
  forecast: Any,
  begun: float,
  progress: bool,
  origin: Origin,
  *,
  profile: bool = False,
  claim: Callable[[], None] = lambda: None,
  after: Callable[[str], None] = lambda action: None,
) -> None:
  """Trains from the newest checkpoint on, with log, line of progress, trace and signals.

  Args:
    trainer: the trials.
    options: of the run.
    folder: takes the log and the checkpoints.
    forecast: what the run will hold in memory; None: it has been told.
    begun: `time.perf_counter()` from which on seconds count as this run's.
    progress: show a line of progress.
    origin: what the run is, compared with what the checkpoints are of.
    profile: see `fit`.
    claim: called once something has been trained: what cannot be trained claims no folder.
    after: called with its name after each action, before the state is saved.

  Raises:
    CheckpointError, DivergedError, InterruptedRun, WorkdirError: see `fit`.
  """
  progress = progress and processes.is_writer()
  if progress:
    placed = describe(trainer.programs.layout, len(trainer.trials), trainer.noun)
    lines = [f"placement: {placed}"] * bool(placed)
    if forecast is not None:
      lines += [f"memory: {forecast}, besides what a step needs", *forecast.told_step()]
    lines += [f"note: {note}" for note in trainer.notes]
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)
  with contextlib.ExitStack() as stack:
    store = stack.enter_context(
      contextlib.closing(open_checkpoints(folder, options.keep_checkpoints))
    )
    changed: list[str] = []

    def check(stored: RunRecord) -> None:
      changed.extend(check_same(stored.of, origin.of, accept=origin.accept))

    first = trainer.resume(store, check)
    record = trainer.record
    record.of = origin.of
    record.starts.append(start(first, origin.code, changed))
    stop = stack.enter_context(stop_on_signals())
    log = stack.enter_context(
      contextlib.closing(
        folder.open_log(
          record.metrics_bytes, record.metrics_sha256, lines_of(record, trainer.names())
        )
      )
    )
    trace = Trace(folder.profile if profile and processes.is_writer() else None)
    stack.enter_context(contextlib.closing(trace))
    line = stack.enter_context(_progress_line(trainer, options, progress))
    trainer.open(log, line)
    if folder.path is not None:
      preload(CHECKPOINTS)
    claimed = False

    def claim_once() -> None:
      nonlocal claimed
      if not claimed:
        claimed = True
        group_size.keep(folder.path, trainer.programs.layout.num_lanes)
        claim()

    def after_action(action: str) -> None:
      if action == Trainer.train.__name__:
        claim_once()
      after(action)

    def before_save() -> None:
      claim_once()
      folder.check_lock()

    cursor = Cursor(
      trainer,
      store,
      log,
      trace,
      stop,
      first,
      begun,
      after_action,
      folder.path,
      options.checkpoint_every,
      before_save,
    )
    train_stream(trainer, options, cursor)


def _progress_line(trainer: Trainer, options: RunOptions, enabled: bool) -> Progress:
  of_tasks = epochs_by_task(options.epochs, trainer.num_tasks)
  steps = [
    (phase.epochs or of_tasks[visit.task]) * trainer.steps_per_epoch[visit.task]
    for visit in visits_of(options, trainer.num_tasks)
    for phase in trainer.programs.phases
  ]
  return Progress(
    len(trainer.groups) * sum(steps),
    enabled=enabled,
    done=trainer.record.steps,
    num_seeds=len(trainer.trials),
    noun=trainer.noun,
    seeds_together=len(trainer.groups[0]),
    num_tasks=trainer.num_tasks,
  )
