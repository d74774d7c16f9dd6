"""What a run does with its trials: between the compiled programs and the record."""

import contextlib
import functools
import math
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from tagjax.core.errors import DivergedError
from tagjax.core.method import EpochStep
from tagjax.core.types import Hyper
from tagjax.distributed import processes
from tagjax.distributed.shared_workdir import Store
from tagjax.engine.counts import Counts
from tagjax.engine.evaluate import Evaluation
from tagjax.engine.learner import LearnerState
from tagjax.engine.programs import Programs
from tagjax.input_pipeline.data_source import EvaluationSource, TrainingSource
from tagjax.input_pipeline.device_examples import DeviceExamples
from tagjax.report.progress import Progress
from tagjax.storage.workdir import Log, NoLog
from tagjax.training.growth import Growth
from tagjax.training.memory_estimate import num_bytes
from tagjax.training.options import RunOptions
from tagjax.training.record import RunRecord
from tagjax.training.schedule import Place, Span, Visit


class Trial(NamedTuple):
  """One training of the whole stream.

  Attributes:
    seed: the seed itself, as the user counts.
    hyper: hyperparameters that are inputs of the programs; all trials of a run have the same keys.
  """

  seed: int
  hyper: Mapping[str, float] = types.MappingProxyType({})


class Trainer:
  """The trials in progress: their state on the device, and what has been measured of them.

  Attributes:
    trials: the trainings of the whole stream.
    groups: the trials that are trained together, group after group; the last may be smaller.
    keep_going: whether the others go on without a trial that has diverged; else it is an error.
    programs: the compiled programs.
    record: what has been measured.
    state: the learner's state of the current group, on the device (or devices).
    num_bytes: what a trial holds from one step to the next, by kind.
    notes: what a run says before it begins, see `Method`.
    num_tasks: T.
    steps_per_epoch: for each task, without exemplars that are mixed into it.
  """

  state: LearnerState  # there from `begin`, or `resume`, on

  def __init__(
    self,
    trials: Sequence[Trial],
    options: RunOptions,
    programs: Programs,
    training: TrainingSource,
    evaluation: EvaluationSource,
    *,
    sizes: Sequence[int],
    keep_going: bool,
    method: str = "",
    num_bytes: Mapping[str, int] = types.MappingProxyType({}),
    notes: Sequence[str] = (),
    validation: EvaluationSource | None = None,
    growth: Growth,
  ):
    """Compiles nothing yet; `sizes`: training examples of each task, `method`: its name."""
    self.trials = list(trials)
    self.num_bytes, self.notes = dict(num_bytes), tuple(notes)
    self.keep_going = keep_going
    self.programs = programs
    self.num_tasks = len(sizes)
    self.steps_per_epoch = [num_steps(options, size) for size in sizes]
    self.record = RunRecord.empty(len(trials), self.num_tasks)
    together = programs.layout.num_lanes
    count = len(self.trials)
    self.groups = [
      range(first, min(first + together, count)) for first in range(0, count, together)
    ]
    self._growth = growth
    self._sizes = list(sizes)
    self._options = options
    self._method = method
    self._training, self._evaluation, self._validation = training, evaluation, validation

  def renew(self, trials: Sequence[Trial]) -> None:
    """Takes other trials, as many as before and of the same keys; programs stay compiled."""
    vars(self).pop("state", None)  # two of them need not fit
    self.trials = list(trials)
    self.record = RunRecord.empty(len(trials), self.num_tasks)

  @property
  def noun(self) -> str:
    """What a user calls a trial: "seed", or "run" where seeds are trained several times."""
    seeds = {trial.seed for trial in self.trials}
    return "seed" if len(seeds) == len(self.trials) else "run"

  @property
  def chunk_steps(self) -> int:
    """The most steps of one compiled call."""
    return self._training.chunk_steps

  def open(self, log: Log | NoLog, line: Progress) -> None:
    """From here on `log` and `line` are told what happens."""
    self._log, self._line = log, line

  def begin(self, trials: range, visit: Visit) -> None:
    """New networks."""
    keys, hyper = self.start(trials)
    if visit.task:  # another network than the task before began with
      keys = jax.vmap(jax.random.fold_in, (0, None))(keys, visit.task)
    self.state = self.programs.init(keys, hyper)
    for index in trials:
      self._log.write(**self._name(index), task=visit.task, begun=True)

  def count_exemplars(self, trials: range, visit: Visit) -> None:
    """Notes how many exemplars are mixed into the task's own examples."""
    self.record.exemplars[_key(trials, visit)] = self.programs.rehearsal_size(self.state)

  def steps(self, place: Place) -> int:
    """Steps of an epoch, exemplars included."""
    exemplars = self.record.exemplars.get(_key(place.trials, place.visit), 0)
    return num_steps(self._options, self._sizes[place.task] + exemplars)

  def evaluate_untrained(self, trials: range) -> None:
    """The accuracy on every task before any training."""
    served = self._prepare(0)
    tasks = range(self.num_tasks)
    columns = [self._evaluate_task(served, trials, task, task)[0] for task in tasks]
    for index, row in zip(trials, zip(*columns, strict=True), strict=True):
      self.record.baseline[index] = list(row)
      self._log.write(**self._name(index), accuracy_untrained=list(row))

  def probe(self, place: Place, step: int) -> None:
    """A point of the learning curve: the accuracy on the task after `step` steps."""
    served = self._prepare(place.task)
    accuracies, _ = self._evaluate_task(served, place.trials, place.task, place.task)
    for index, accuracy in zip(place.trials, accuracies, strict=True):
      self.record.curves[index][place.task].append(accuracy)
      self._log.write(**self._place(place, index), minibatch=step, task_accuracy=accuracy)

  def train(self, place: Place, span: Span, steps: int) -> None:
    """Trains the steps of a span; `steps` are those of the epoch."""
    with self._timed("train"):
      examples, start, stop = self._training.chunk(
        place.task,
        place.epoch_id,
        span.start,
        span.stop,
        key=self._of_run(self.state.key),
        exemplars=self._exemplars(),
      )
      first = EpochStep(
        place.task, place.visit.number, place.task_epoch, place.epoch, span.start, steps
      )
      self.state, chunk = self.programs.train(  # the one wait of the chunk
        self.state,
        examples,
        place.task,
        place.epoch_id,
        start,
        stop,
        phase=place.phase,
        first=first,
      )
    chunk = jax.tree.map(lambda leaf: leaf[: len(place.trials)], chunk)
    for lane, (index, taken, loss, accuracy) in enumerate(
      zip(place.trials, chunk.steps, chunk.loss, chunk.accuracy, strict=True)
    ):
      if self._is_finite(float(loss), index, place.task, span.start + int(taken)):
        figures: dict[str, Any] = {"loss": float(loss / taken), "accuracy": float(accuracy / taken)}
        told = {name: _told(sums[lane] / taken) for name, sums in chunk.monitored.items()}
        figures |= {"monitored": told} if told else {}
        self._log.write(**self._place(place, index), step=span.stop, **figures)
    if (step := f"step/{place.phase}") not in self.record.flops:
      self.record.flops[step] = self._growth.step_flops(place.phase)
    taken = int(chunk.steps.max())
    self.record.steps += taken
    self._keep_diagnostics(place, span, steps, taken, chunk.diagnostics)
    self._line.update(
      seed=place.trials.start,
      task=place.task,
      step=span.stop,
      steps=steps,
      loss=_finite_mean(chunk.loss / chunk.steps),
      accuracy_so_far=self._accuracy_so_far(place.trials, place.task - 1),
      done=self.record.steps,
    )

  def keep_if_best(self, place: Place) -> None:
    """Tests on validation examples, and keeps the weights of the trials that were never better."""
    task, seen = place.task, self._seen(place.visit)
    with self._timed("evaluate"):
      validate = functools.partial(self.programs.validate, self.state)
      columns = [self._validate_task(other, seen.stop - 1, validate) for other in seen]
    rows = np.stack(columns, axis=1)
    better = np.ones(len(rows), bool)
    for lane, (index, row) in enumerate(zip(place.trials, rows.tolist(), strict=False)):
      self.record.validation[index][task].append(row)
      means = self.record.validation_of_phase(index, task, place.epoch + 1)
      better[lane] = place.epoch == 0 or means[-1] > max(means[:-1])
      self._log.write(**self._place(place, index), validation_accuracy=row)
    with self._timed("train"):
      self.state = self.programs.keep(self.state, better)

  def test_if_peak(self, place: Place) -> None:
    """Tests validation examples as the method predicts, and the task itself if it has a peak."""
    task, seen = place.task, self._seen(place.visit)
    served = self._prepare(task)
    with self._timed("evaluate"):
      validate = functools.partial(self.programs.validate_served, served)
      rows = np.stack([self._validate_task(other, task, validate) for other in seen], axis=1)
    at_peak = []
    for index, row in zip(place.trials, rows.tolist(), strict=False):
      known, own = self.record.epoch_validation[index][task], task - seen.start
      if all(row[own] > before[own] for before in known):
        at_peak.append(index)
      known.append(row)
      self._log.write(**self._place(place, index), epoch_validation=row)
    if not at_peak:
      return
    accuracies, _ = self._evaluate_task(served, place.trials, task, task)
    for index in at_peak:
      peak = accuracies[index - place.trials.start]
      self.record.peak[index][task] = peak
      self._log.write(**self._place(place, index), peak_accuracy=peak)

  def take_best(self, place: Place) -> None:
    """Puts the weights of the phase's best epoch back."""
    for index in place.trials:
      means = self.record.validation_of_phase(index, place.task, place.epoch + 1)
      before = len(self.record.validation[index][place.task]) - len(means)  # of other phases
      chosen = before + means.index(max(means))
      self.record.chosen_epoch[index][place.task] = chosen
      self._log.write(**self._name(index), task=place.task, chosen_epoch=chosen)
    with self._timed("train"):
      self.state = self.programs.take_kept(self.state)

  def consolidate(self, place: Place) -> None:
    """Tells the method that the task (a phase of it) has ended."""
    if not self.programs.consolidates:
      return
    with self._timed("train"):
      examples = self._training.boundary(
        place.task,
        self._of_run(self.state.step),
        key=self._of_run(self.state.key),
        num_examples=self.programs.num_boundary_examples,
      )
      self.state = self.programs.consolidate(self.state, examples, place.task, phase=place.phase)
      jax.block_until_ready(self.state)

  def evaluate(self, trials: range, visit: Visit) -> None:
    """A row of the accuracy matrix."""
    task = visit.task
    rows = [self.record.accuracy[index][task] for index in trials]
    first, last = 0, self.num_tasks if self._options.evaluate_future_tasks else visit.begun
    if self._options.protocol == "independent" and task:
      first = task  # the networks of the tasks before have not changed
      for index, row in zip(trials, rows, strict=True):
        row[:first] = self.record.accuracy[index][task - 1][:first]
    served = self._prepare(task)
    counts = None
    for other in range(first, last):
      accuracies, losses, own = self._measure_task(served, trials, other, task)
      for index, row, accuracy, loss in zip(trials, rows, accuracies, losses, strict=True):
        self._is_finite(loss, index, task, self.steps_per_epoch[task])
        row[other] = accuracy
      if other < visit.begun:
        counts = own if counts is None else jax.tree.map(np.add, counts, own)
    self._keep_counts(trials, task, counts, to_former=first > 0)
    self._keep_growth(trials, visit, to_former=first > 0)
    for index, row in zip(trials, rows, strict=True):
      if self.record.diverged[index]:
        row[:] = [None] * len(row)
      self._log.write(**self._name(index), task=task, accuracy_after_task=row)
    self._line.task_done(
      seed=trials.start, task=task, accuracy_so_far=self._accuracy_so_far(trials, task)
    )

  def has_diverged(self, trials: range) -> bool:
    """Whether none of the trials is worth going on with."""
    return all(self.record.diverged[index] for index in trials)

  def resume(self, store: Store, check: Callable[[RunRecord], None]) -> int:
    """Takes state and record from the newest good checkpoint; returns the position it is of.

    `check` is shown its record, and raises if the run must not go on from it.
    """
    template = self.programs.template(*self.start_shapes())
    store.check_room(num_bytes(template))
    if store.is_empty():
      return 0
    restored = store.restore_latest(template, lambda record: check(RunRecord.from_json(record)))
    assert restored is not None, "is_empty has said that there is one"
    position, state, record = restored
    self.state = self.programs.to_devices(state)
    self.record = RunRecord.from_json(record)
    return position

  def save(self, store: Store, position: int) -> None:
    """Writes a checkpoint from which the run goes on at `position`."""
    self.record.metrics_bytes = self._log.sync()
    self.record.metrics_sha256 = self._log.sha256()
    store.save(position, self.programs.to_host(self.state), self.record.to_json())

  def start(self, indices: Sequence[int]) -> tuple[chex.PRNGKey, Hyper]:
    """The keys and hyperparameters that the states of these trials begin with.

    The programs take whole groups: the last trial stands for those that a smaller one lacks.
    """
    lacking = self.programs.layout.num_lanes - len(indices)
    trials = [self.trials[index] for index in [*indices, *[indices[-1]] * lacking]]
    # All at once, and NumPy's arrays: each small program costs a start a hundredth of a second.
    keys = jax.vmap(jax.random.key)(np.array([trial.seed for trial in trials], np.int64))
    values = {key: [trial.hyper[key] for trial in trials] for key in trials[0].hyper}
    return keys, {key: np.array(column, np.float32) for key, column in values.items()}

  def start_shapes(self) -> tuple[chex.PRNGKey, Hyper]:
    """Shapes and dtypes of `start`; nothing is computed."""
    return jax.eval_shape(lambda: self.start(self.groups[0]))

  def _keep_diagnostics(
    self, place: Place, span: Span, steps: int, taken: int, sums: Mapping[str, Any]
  ) -> None:
    self.record.add_diagnostics(taken, sums, anew=span.start == 0)
    if not (place.is_last and span.stop == steps):
      return
    means = self.record.end_epoch_diagnostics(place.trials.start, place.task)
    for index, figures in zip(place.trials, means, strict=False):  # there may be none
      if not self.record.diverged[index]:
        self._log.write(**self._place(place, index), **figures)

  def _prepare(self, current_task: int) -> Any:
    """What the method serves for an evaluation."""
    with self._timed("evaluate"):
      return self.programs.prepare(self.state, current_task)

  def _evaluate_task(
    self, served: Any, trials: range, task: int, current_task: int
  ) -> tuple[list[float], list[float]]:
    """Accuracy and loss of each of the trials."""
    accuracies, losses, _ = self._measure_task(served, trials, task, current_task)
    return accuracies, losses

  def _measure_task(
    self, served: Any, trials: range, task: int, current_task: int
  ) -> tuple[list[float], list[float], Counts | None]:
    """The same, and what else is counted, with an axis of trials in front."""
    correct, size, losses = np.zeros(len(self.groups[0]), np.int64), 0, []
    counts = None
    by_class: Any = 0
    with self._timed("evaluate"):
      for examples in self._windows(task):
        result = self.programs.evaluate(served, examples, current_task)
        by_class = by_class if result.by_class is None else by_class + result.by_class
        correct, size = correct + result.correct, size + int(examples.size)
        losses.append(result.loss)
        counts = result.counts if counts is None else jax.tree.map(np.add, counts, result.counts)
    means = np.mean(losses, axis=0)
    accuracies = [int(correct[n]) / size for n in range(len(trials))]
    if self._options.class_average:
      accuracies = _class_averages(by_class)[: len(trials)]
    return accuracies, means[: len(trials)].tolist(), counts

  def _windows(self, task: int) -> Iterable[DeviceExamples]:
    """The examples to evaluate on; in the order of this evaluation where the host makes it."""
    if not self._evaluation.in_order:
      return self._evaluation.windows(task)
    key, step = self.programs.unreplicate((self.state.key, self.state.step))
    return self._evaluation.windows(task, key=key, step=step)

  def _keep_counts(
    self, trials: range, task: int, counts: Counts | None, *, to_former: bool
  ) -> None:
    for place, index in enumerate(trials):
      if counts is None or self.record.diverged[index]:
        continue
      own = {name: value[place] for name, value in counts._asdict().items() if value is not None}
      self.record.add_counts(index, task, own, to_former=to_former)

  def _keep_growth(self, trials: range, visit: Visit, *, to_former: bool) -> None:
    self.record.allocated = self._growth.allocated
    if "evaluation" not in self.record.flops:
      self.record.flops["evaluation"] = self._growth.evaluation_flops()
    with self._timed("evaluate"):
      figures = self._growth.after(self.state, visit.task, self._seen(visit))
    for place, index in enumerate(trials):
      if self.record.diverged[index]:
        continue
      outcome = {name: value[place] for name, value in figures.outcome.items()}
      own = {"parameters": int(figures.parameters[place]), "bytes": int(figures.bytes[place])}
      self.record.add_growth(index, visit.task, own, outcome, to_former=to_former)
      told = self.record.growth_after(index, visit.task)
      self._log.write(**self._name(index), task=visit.task, **told)
    if processes.is_writer():
      for line in lacking(visit.task, figures.outcome):
        print(line, file=sys.stderr, flush=True)

  def _seen(self, visit: Visit) -> range:
    """The tasks that the network has been trained on, the current one included."""
    if self._options.protocol == "independent":
      return range(visit.task, visit.task + 1)
    return range(visit.begun)

  def _validate_task(
    self, task: int, current_task: int, validate: Callable[..., Evaluation]
  ) -> np.ndarray:
    """Accuracy in each lane, on validation examples."""
    assert self._validation is not None, "see RunOptions.needs_validation"
    correct, size = np.zeros(len(self.groups[0]), np.int64), 0
    for examples in self._validation.windows(task):
      result = validate(examples, current_task)
      correct, size = correct + result.correct, size + int(examples.size)
    return correct / size

  def _exemplars(self) -> Any:
    """Where examples are read in windows, the host mixes the exemplars in."""
    if not self.programs.rehearses or not self._training.in_order:
      return None
    return self.programs.rehearsal(self.state)

  def _of_run(self, leaf: chex.Array) -> chex.Array | None:
    """A leaf of the one trial whose examples are read in windows; nobody else asks for it."""
    return self.programs.unreplicate(leaf) if self._training.in_order else None

  def _accuracy_so_far(self, trials: range, task: int) -> float | None:
    """Mean over the trials side by side."""
    means = [self.record.accuracy_so_far(index, task) for index in trials]
    known = [mean for mean in means if mean is not None]
    return sum(known) / len(known) if known else None

  def _is_finite(self, loss: float, index: int, task: int, step: int) -> bool:
    """Whether this trial may go on; records that it may not, or raises if that is an error."""
    if not math.isfinite(loss) and not self.record.diverged[index]:
      self.record.diverged[index] = {"task": task, "step": step}
    if self.record.diverged[index] and not self.keep_going:
      raise DivergedError(
        f"the loss is {loss} in seed {self.trials[index].seed}, task {task}, step {step} of "
        f"{self._method or 'the method'}: lower the learning rate (config.learning_rate), or a "
        "strength. The last good checkpoint is kept"
      )
    return not self.record.diverged[index]

  @contextlib.contextmanager
  def _timed(self, name: str) -> Iterator[None]:
    """Adds the block's seconds to the record; those spent on compiling apart."""
    compiled, start = self.programs.compile_seconds, time.perf_counter()
    yield
    compiling = self.programs.compile_seconds - compiled
    self.record.seconds["compile"] += compiling
    self.record.seconds[name] += time.perf_counter() - start - compiling

  def names(self) -> list[dict[str, Any]]:
    """What tells each trial from the others in the log."""
    return [self._name(index) for index in range(len(self.trials))]

  def _name(self, index: int) -> dict[str, Any]:
    return {"seed": self.trials[index].seed, **self.trials[index].hyper}

  def _place(self, place: Place, index: int) -> dict[str, Any]:
    where = {"task": place.task, "phase": place.phase, "epoch": place.epoch}
    return {**self._name(index), **where}


def lacking(task: int, outcome: Mapping[str, np.ndarray]) -> list[str]:
  """A line for each kind of thing for which there was no room, see `Method.outcome`.

  >>> lacking(3, {"units_lacking": np.array([0.0, 12.0]), "units": np.ones((2, 1))})
  ['task 3: 12 units found no room in the network: give it larger layers']
  """
  return [
    f"task {task}: {int(value.max())} {name.removesuffix('_lacking')} found no room in the "
    "network: give it larger layers"
    for name, value in outcome.items()
    if name.endswith("_lacking") and value.max() > 0
  ]


def num_steps(options: RunOptions, size: int) -> int:
  """Training steps of one epoch over `size` examples.

  >>> num_steps(RunOptions(batch_size=10), 25), num_steps(RunOptions(drop_last=True), 25)
  (3, 2)
  """
  if options.drop_last:
    return size // options.batch_size
  return -(-size // options.batch_size)


def _class_averages(by_class: np.ndarray) -> list[float]:
  """Of counts `[G, 2, K]`, right ones and all, the mean of the classes' accuracies for each trial.

  >>> _class_averages(np.array([[[3, 0, 1], [4, 0, 1]]]))
  [0.875]
  """
  right, number = np.moveaxis(by_class, 1, 0)
  there = number[0] > 0
  return (right[:, there] / number[:, there]).mean(axis=1).tolist()


def _told(figures: np.ndarray) -> list:
  """For the log: a posterior over many configurations is long enough with six digits."""
  return np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(figures).tolist()


def _key(trials: range, visit: Visit) -> str:
  return f"{trials.start}/{visit.number}"


def _finite_mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if len(finite) else math.nan
