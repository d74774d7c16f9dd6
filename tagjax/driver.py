"""Performs the actions of a plan: between the compiled programs and the record of the run."""

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from tagjax import batches, benchmarks, registry
from tagjax.base import LearnerState
from tagjax.checkpoint import Checkpoints
from tagjax.errors import ConfigError, DivergedError
from tagjax.learner import make_learner
from tagjax.parallel import DEVICE_AXIS, Programs
from tagjax.plan import Action, make_plan
from tagjax.record import RunRecord
from tagjax.report.progress import Progress
from tagjax.workdir import Log


class Driver:
  """A run in progress.

  Attributes:
    config: the run's config.
    stream: the tasks.
    programs: the compiled programs.
    plan: what there is to do.
    record: what has been measured.
    state: the learner's state, on the device (or devices).
    total_steps: training steps of the whole plan.
  """

  def __init__(self, config: ConfigDict):
    """Loads the stream and lays out the run; compiles nothing yet.

    Raises:
      ConfigError: if the config does not fit the stream or the machine.
    """
    self.config = config
    self.stream = load_stream(config)
    sizes = training_sizes(config, self.stream)
    steps = steps_per_epoch(config, sizes)
    self.programs = build_programs(config, self.stream, steps)
    self.plan = make_plan(
      num_seeds=config.seeds,
      steps_per_epoch=steps,
      epochs=config.epochs,
      phases=self.programs.phases,
      chunk_steps=config.chunk_steps,
      checkpoint_every=config.checkpoint_every,
      curve_batches=config.learning_curve_batches,
      baseline=config.evaluate_future_tasks,
      protocol=config.protocol,
      cycles=config.cycles,
    )
    self.total_steps = self.steps_before(len(self.plan))
    self.record = RunRecord.empty(config.seeds, len(self.stream))
    self.state: LearnerState | None = None
    self._train_capacity = max(sizes)
    self._steps = steps
    self._steps_done = 0

  def steps_before(self, position: int) -> int:
    """Training steps of the actions before `position`."""
    return sum(action.stop - action.start for action in self.plan[:position])

  def resume(self, store: Checkpoints) -> int:
    """Takes state and record from the newest good checkpoint; returns the plan's next position."""
    if store.is_empty():
      return 0
    template = jax.eval_shape(self.programs.init_one, self._key(0))
    position, state, record = store.restore_latest(template)
    self.state = self.programs.replicate(state)
    self.record = RunRecord.from_json(record)
    self._steps_done = self.steps_before(position)
    return position

  def save(self, store: Checkpoints, log: Log, position: int) -> None:
    """Writes a checkpoint from which the plan goes on at `position`."""
    self.record.metrics_bytes = log.sync()
    store.save(position, self.programs.unreplicate(self.state), self.record.to_json())

  def perform(self, action: Action, log: Log, line: Progress) -> None:
    """Does what the action says; changes `state` and `record`."""
    getattr(self, f"_{action.kind}")(action, log, line)

  def _begin(self, action: Action, log: Log, line: Progress) -> None:
    del line
    key = self._key(action.seed)
    if action.task:  # another network than the task before began with
      key = jax.random.fold_in(key, action.task)
    self.state = self.programs.init(key)
    log.write(seed=self._seed(action), task=action.task, begun=True)

  def _train(self, action: Action, log: Log, line: Progress) -> None:
    examples = self._train_examples(action.task)
    with self._timed("train"):
      self.state, chunk = self.programs.train(
        self.state,
        examples,
        action.task,
        action.epoch_id,
        action.start,
        action.stop,
        phase=action.phase,
      )
      chunk = jax.device_get(chunk)  # the one wait of the chunk
    steps = int(chunk.steps)
    self._check_finite(float(chunk.last_loss), action, action.start + steps)
    self._steps_done += steps
    figures = {"loss": float(chunk.loss) / steps, "accuracy": float(chunk.accuracy) / steps}
    log.write(**self._place(action), step=action.stop, **figures)
    self.record.add_diagnostics(action, steps, chunk.diagnostics)
    if action.ends_task_epochs:
      means = self.record.end_epoch_diagnostics(action.seed, action.task)
      if means:
        log.write(**self._place(action), **means)
    line.update(
      seed=action.seed,
      task=action.task,
      step=action.stop,
      steps=self._steps[action.task],
      loss=figures["loss"],
      accuracy_so_far=self.record.accuracy_so_far(action.seed, action.task - 1),
      done=self._steps_done,
    )

  def _probe(self, action: Action, log: Log, line: Progress) -> None:
    del line
    accuracy = self._evaluate_task(action.task, action.task, action)
    curve = self.record.curves[action.seed][action.task]
    curve.append(accuracy)
    log.write(**self._place(action), minibatch=action.start, task_accuracy=accuracy)

  def _consolidate(self, action: Action, log: Log, line: Progress) -> None:
    del log, line
    examples = self._train_examples(action.task)
    with self._timed("train"):
      self.state = self.programs.consolidate(self.state, examples, action.task, phase=action.phase)
      jax.block_until_ready(self.state)

  def _evaluate(self, action: Action, log: Log, line: Progress) -> None:
    row = self.record.accuracy[action.seed][action.task]
    first, last = 0, len(self.stream) if self.config.evaluate_future_tasks else action.task + 1
    if self.config.protocol == "independent" and action.task:
      first = action.task  # the networks of the tasks before have not changed
      row[:first] = self.record.accuracy[action.seed][action.task - 1][:first]
    for task in range(first, last):
      row[task] = self._evaluate_task(task, action.task, action)
    log.write(**self._place(action), accuracy_after_task=row)
    line.task_done(
      seed=action.seed,
      task=action.task,
      accuracy_so_far=self.record.accuracy_so_far(action.seed, action.task),
    )

  def _baseline(self, action: Action, log: Log, line: Progress) -> None:
    del line
    row = self.record.baseline[action.seed]
    for task in range(len(self.stream)):
      row[task] = self._evaluate_task(task, task, action)
    log.write(seed=self._seed(action), accuracy_untrained=row)

  def _evaluate_task(self, task: int, current_task: int, action: Action) -> float:
    examples = self._evaluation_examples(task)
    with self._timed("evaluate"):
      result = self.programs.evaluate(self.state, examples, task, current_task)
      result = jax.device_get(result)
    if action.kind == "evaluate":
      self._check_finite(float(result.loss), action, self._steps[action.task])
    return int(result.correct) / int(examples.size)

  def _check_finite(self, loss: float, action: Action, step: int) -> None:
    if not math.isfinite(loss):
      raise DivergedError(
        f"the loss is {loss} in seed {self._seed(action)}, task {action.task}, step {step}: "
        f"lower config.learning_rate (it is {self.config.learning_rate:g}). "
        "The last good checkpoint is kept"
      )

  @functools.lru_cache(maxsize=1)  # noqa: B019  (a driver lives as long as its process needs it)
  def _train_examples(self, task: int) -> batches.DeviceExamples:
    examples = self.stream[task].train
    if self.config.protocol == "joint":
      examples = benchmarks.TaskExamples.together([task.train for task in self.stream])
    return batches.to_device(examples, self._train_capacity)

  @functools.cache  # noqa: B019
  def _evaluation_examples(self, task: int) -> batches.DeviceExamples:
    split = 2 if self.config.evaluate_on == "test" else 1
    capacity = max(size[split] for size in self.stream.sizes)
    return batches.to_device(getattr(self.stream[task], self.config.evaluate_on), capacity)

  @contextlib.contextmanager
  def _timed(self, name: str) -> Iterator[None]:
    """Adds the block's seconds to the record; those spent on compiling apart."""
    compiled, start = self.programs.compile_seconds, time.perf_counter()
    yield
    compiling = self.programs.compile_seconds - compiled
    self.record.seconds["compile"] += compiling
    self.record.seconds[name] += time.perf_counter() - start - compiling

  def _seed(self, action: Action) -> int:
    return self.config.seed + action.seed

  def _key(self, index: int) -> Any:
    return jax.random.key(self.config.seed + index)

  def _place(self, action: Action) -> dict[str, Any]:
    place = {"seed": self._seed(action), "task": action.task}
    if action.kind == "evaluate":
      return place
    return {**place, "phase": action.phase, "epoch": action.epoch}


def load_stream(config: ConfigDict) -> benchmarks.Stream:
  """The stream that the config describes.

  Raises:
    ConfigError: if the benchmark refuses a setting.
  """
  try:
    return benchmarks.load_benchmark(
      config.benchmark,
      num_tasks=config.num_tasks,
      scenario=config.scenario,
      validation_fraction=config.validation_fraction,
      class_order=config.class_order,
      data_seed=config.data_seed,
      train_examples_per_task=config.train_examples_per_task,
      test_examples_per_task=config.test_examples_per_task,
      data_dir=config.data_dir,
    )
  except ValueError as error:
    raise ConfigError(f"config.{error}") from error


def training_sizes(config: ConfigDict, stream: benchmarks.Stream) -> list[int]:
  """Training examples of each task; in the protocol "joint" those of all tasks together."""
  sizes = [size[0] for size in stream.sizes]
  return [sum(sizes)] * len(sizes) if config.protocol == "joint" else sizes


def steps_per_epoch(config: ConfigDict, sizes: list[int]) -> list[int]:
  """Training steps of one epoch of each task.

  Raises:
    ConfigError: if `drop_last` leaves a task without a batch.
  """
  if not config.drop_last:
    return [-(-size // config.batch_size) for size in sizes]
  for task, size in enumerate(sizes):
    if size < config.batch_size:
      raise ConfigError(
        f"config.batch_size={config.batch_size} is more than the {size} training examples of "
        f"task {task}, and config.drop_last leaves none: choose a smaller batch"
      )
  return [size // config.batch_size for size in sizes]


def build_programs(config: ConfigDict, stream: benchmarks.Stream, steps: list[int]) -> Programs:
  """Model, method and learner, as compiled programs.

  Raises:
    ConfigError: if there are fewer devices than `config.data_parallel`.
  """
  available = jax.local_device_count()
  if config.data_parallel > available:
    raise ConfigError(
      f"config.data_parallel={config.data_parallel}, but there are {available} devices "
      "(on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N)"
    )
  method = registry.make_method(config, stream.spec, steps)

  def learner(axis_name: str | None):
    return make_learner(
      registry.make_model(config, stream.spec, axis_name),
      method,
      stream.spec,
      max_value=stream.max_value,
      normalization=config.normalization,
      axis_name=axis_name,
    )

  single = learner(None)
  return Programs(
    learner(DEVICE_AXIS) if config.data_parallel > 1 else single,
    single,
    batch_size=config.batch_size,
    eval_batch_size=config.eval_batch_size,
    num_devices=config.data_parallel,
  )
