"""Performs the actions of a plan: between the compiled programs and the record of the run."""

import contextlib
import math
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tagjax import benchmarks
from tagjax.config.build import build_programs, load_stream, steps_per_epoch, training_sizes
from tagjax.core.errors import DivergedError
from tagjax.core.types import Hyper
from tagjax.engine.learner import LearnerState, ServedState
from tagjax.engine.programs import Programs
from tagjax.input_pipeline.data_source import evaluation_source, training_source
from tagjax.report.progress import Progress
from tagjax.storage.checkpoint import Checkpoints
from tagjax.storage.workdir import Log
from tagjax.training import memory_estimate
from tagjax.training.placement import choose_layout
from tagjax.training.record import RunRecord
from tagjax.training.schedule import Action, make_plan


class Lane(NamedTuple):
  """One training of the whole stream, among those that a driver makes.

  Attributes:
    seed: the seed itself, as the user counts.
    hyper: values that take the place of the config's, by keys of `registry.TRACEABLE`; all lanes
      of a driver have the same keys.
  """

  seed: int
  hyper: Mapping[str, float] = types.MappingProxyType({})


class Driver:
  """A run in progress.

  Attributes:
    config: the run's config.
    lanes: the trainings of the whole stream.
    tolerant: whether they go on without one that has diverged.
    stream: the tasks.
    programs: the compiled programs.
    plan: what there is to do.
    record: what has been measured.
    state: the learner's state, on the device (or devices).
    total_steps: training steps of the whole plan.
    lanes_together: lanes that each action trains side by side.
    forecast: what the run will hold in memory.
  """

  def __init__(self, config: ConfigDict, lanes: Sequence[Lane] | None = None):
    """Loads the stream and lays out the run; compiles nothing yet.

    Args:
      config: the run's config.
      lanes: what to train; None: a lane for each of the config's seeds. If the loss of a lane is
        not finite any more, those that were given here go on without it; else it is an error.

    Raises:
      ConfigError: if the config does not fit the stream, the machine, or its memory.
    """
    self.config = config
    self.tolerant = lanes is not None
    self.lanes = lanes or [Lane(config.seed + index) for index in range(config.seeds)]
    self.stream = load_stream(config)
    sizes = training_sizes(config, self.stream)
    steps = steps_per_epoch(config, sizes)
    part = config.evaluate_on
    self._training = training_source(
      self._training_examples,
      capacity=max(sizes),
      batch_size=config.batch_size,
      chunk_steps=config.chunk_steps,
      streamed=self.stream.is_streamed("train"),
    )
    self._evaluation = evaluation_source(
      lambda task: getattr(self.stream[task], part),
      num_tasks=len(self.stream),
      capacity=max(size[2 if part == "test" else 1] for size in self.stream.sizes),
      eval_batch_size=config.eval_batch_size,
      streamed=self.stream.is_streamed(part),
    )
    self.programs, self.forecast = self._lay_out(steps)
    self.lanes_together = self.programs.layout.num_lanes
    self.plan = make_plan(
      num_lanes=len(self.lanes),
      lanes_together=self.lanes_together,
      steps_per_epoch=steps,
      epochs=config.epochs,
      phases=tuple(phase.name for phase in self.programs.phases),
      chunk_steps=self._training.chunk_steps,
      checkpoint_every=config.checkpoint_every,
      curve_batches=config.learning_curve_batches,
      baseline=config.evaluate_future_tasks,
      protocol=config.protocol,
      cycles=config.cycles,
    )
    self.total_steps = self.steps_before(len(self.plan))
    self.record = RunRecord.empty(len(self.lanes), len(self.stream))
    self.state: LearnerState | None = None
    self._steps = steps
    self._steps_done = 0

  def _lay_out(self, steps: list[int]) -> tuple[Programs, memory_estimate.Forecast]:
    """The programs, for as many lanes side by side as are allowed and have room."""
    config, streamed = self.config, self._training.in_order
    available = memory_estimate.available_memory(jax.local_devices()[0])
    most = config.seeds_together or len(self.lanes)
    while True:
      layout = choose_layout(config, len(self.lanes), most, streamed=streamed)
      programs = build_programs(
        config,
        self.stream,
        steps,
        layout,
        eval_batch_size=self._evaluation.pass_size,
        tolerant=self.tolerant,
        in_order=streamed,
      )
      foreseen = memory_estimate.foresee(
        programs.held(*self._start(range(layout.num_lanes))),
        config,
        self.stream.spec,
        layout,
        rows=self._training.rows(programs.num_boundary_examples) + self._evaluation.rows,
      )
      room = foreseen.seeds_with_room(available) * (layout.num_lanes // layout.lanes_a_device)
      if config.seeds_together or layout.lanes_a_device == 1 or room >= layout.num_lanes:
        memory_estimate.check(foreseen, config, available)
        return programs, foreseen
      most = room

  def _training_examples(self, task: int) -> benchmarks.TaskExamples:
    """What a task trains on; all tasks together in the protocol "joint"."""
    if self.config.protocol == "joint":
      return benchmarks.TaskExamples.together([task.train for task in self.stream])
    return self.stream[task].train

  def steps_before(self, position: int) -> int:
    """Training steps of the actions before `position`."""
    return sum(action.stop - action.start for action in self.plan[:position])

  def resume(self, store: Checkpoints) -> int:
    """Takes state and record from the newest good checkpoint; returns the plan's next position."""
    if store.is_empty():
      return 0
    template = self.programs.template(*self._start(range(self.lanes_together)))
    position, state, record = store.restore_latest(template)
    self.state = self.programs.to_devices(state)
    self.record = RunRecord.from_json(record)
    self._steps_done = self.steps_before(position)
    return position

  def save(self, store: Checkpoints, log: Log, position: int) -> None:
    """Writes a checkpoint from which the plan goes on at `position`."""
    self.record.metrics_bytes = log.sync()
    store.save(position, self.programs.to_host(self.state), self.record.to_json())

  def perform(self, action: Action, log: Log, line: Progress) -> None:
    """Does what the action says; changes `state` and `record`."""
    if all(self.record.diverged[index] for index in self._indices(action)):
      return  # a point of a grid that has diverged in all its lanes
    getattr(self, f"_{action.kind}")(action, log, line)

  def _begin(self, action: Action, log: Log, line: Progress) -> None:
    del line
    keys, hyper = self._start(self._indices(action))
    if action.task:  # another network than the task before began with
      keys = jax.vmap(jax.random.fold_in, (0, None))(keys, action.task)
    self.state = self.programs.init(keys, hyper)
    for index in self._indices(action):
      log.write(**self._name(index), task=action.task, begun=True)

  def _train(self, action: Action, log: Log, line: Progress) -> None:
    with self._timed("train"):
      examples, start, stop = self._training.chunk(
        action.task,
        action.epoch_id,
        action.start,
        action.stop,
        key=self.programs.unreplicate(self.state.key),
        exemplars=self.programs.rehearsal(self.state) if self._training.in_order else None,
      )
      self.state, chunk = self.programs.train(
        self.state, examples, action.task, action.epoch_id, start, stop, phase=action.phase
      )
      chunk = jax.device_get(chunk)  # the one wait of the chunk
    for index, steps, loss, accuracy in zip(
      self._indices(action), chunk.steps, chunk.loss, chunk.accuracy, strict=True
    ):
      if self._is_finite(float(loss), index, action.task, action.start + int(steps)):
        figures = {"loss": float(loss / steps), "accuracy": float(accuracy / steps)}
        log.write(**self._place(action, index), step=action.stop, **figures)
    steps = int(chunk.steps.max())
    self._steps_done += steps
    self._keep_diagnostics(action, steps, chunk.diagnostics, log)
    line.update(
      seed=action.lane,
      task=action.task,
      step=action.stop,
      steps=self._steps[action.task],
      loss=_finite_mean(chunk.loss / chunk.steps),
      accuracy_so_far=self._accuracy_so_far(action, action.task - 1),
      done=self._steps_done,
    )

  def _keep_diagnostics(self, action: Action, steps: int, sums: dict, log: Log) -> None:
    self.record.add_diagnostics(action, steps, sums)
    if action.ends_task_epochs:
      means = self.record.end_epoch_diagnostics(action.lane, action.task)
      for index, figures in zip(self._indices(action), means, strict=False):  # there may be none
        if not self.record.diverged[index]:
          log.write(**self._place(action, index), **figures)

  def _probe(self, action: Action, log: Log, line: Progress) -> None:
    del line
    served = self._prepare(action.task)
    accuracies = self._evaluate_task(action.task, action.task, action, served)
    for index, accuracy in zip(self._indices(action), accuracies, strict=True):
      self.record.curves[index][action.task].append(accuracy)
      place = self._place(action, index)
      log.write(**place, minibatch=action.start, task_accuracy=accuracy)

  def _consolidate(self, action: Action, log: Log, line: Progress) -> None:
    del log, line
    with self._timed("train"):
      examples = self._training.boundary(
        action.task,
        self.programs.unreplicate(self.state.step),
        key=self.programs.unreplicate(self.state.key),
        num_examples=self.programs.num_boundary_examples,
      )
      self.state = self.programs.consolidate(self.state, examples, action.task, phase=action.phase)
      jax.block_until_ready(self.state)

  def _evaluate(self, action: Action, log: Log, line: Progress) -> None:
    rows = [self.record.accuracy[index][action.task] for index in self._indices(action)]
    first, last = 0, len(self.stream) if self.config.evaluate_future_tasks else action.task + 1
    if self.config.protocol == "independent" and action.task:
      first = action.task  # the networks of the tasks before have not changed
      for index, row in zip(self._indices(action), rows, strict=True):
        row[:first] = self.record.accuracy[index][action.task - 1][:first]
    served = self._prepare(action.task)
    for task in range(first, last):
      accuracies = self._evaluate_task(task, action.task, action, served)
      for row, accuracy in zip(rows, accuracies, strict=True):
        row[task] = accuracy
    for index, row in zip(self._indices(action), rows, strict=True):
      if self.record.diverged[index]:
        row[:] = [None] * len(row)
    for index, row in zip(self._indices(action), rows, strict=True):
      log.write(**self._place(action, index), accuracy_after_task=row)
    line.task_done(
      seed=action.lane,
      task=action.task,
      accuracy_so_far=self._accuracy_so_far(action, action.task),
    )

  def _baseline(self, action: Action, log: Log, line: Progress) -> None:
    del line
    columns = [
      self._evaluate_task(task, task, action, self._prepare(task))
      for task in range(len(self.stream))
    ]
    for index, row in zip(self._indices(action), zip(*columns, strict=True), strict=True):
      self.record.baseline[index] = list(row)
      log.write(**self._name(index), accuracy_untrained=list(row))

  def _prepare(self, current_task: int) -> ServedState:
    with self._timed("evaluate"):
      return self.programs.prepare(self.state, current_task)

  def _evaluate_task(
    self, task: int, current_task: int, action: Action, served: ServedState
  ) -> list[float]:
    """Accuracy of each of the lanes side by side."""
    correct, size, losses = 0, 0, []
    with self._timed("evaluate"):
      for examples in self._evaluation.windows(task):
        result = self.programs.evaluate(served, examples, current_task)
        result = jax.device_get(result)
        correct, size = correct + result.correct, size + int(examples.size)
        losses.append(result.loss)
    if action.kind == "evaluate":
      for index, loss in zip(self._indices(action), np.mean(losses, axis=0), strict=True):
        self._is_finite(float(loss), index, action.task, self._steps[action.task])
    return [int(count) / size for count in correct]

  def _accuracy_so_far(self, action: Action, task: int) -> float | None:
    """Mean over the lanes side by side."""
    means = [self.record.accuracy_so_far(index, task) for index in self._indices(action)]
    known = [mean for mean in means if mean is not None]
    return sum(known) / len(known) if known else None

  def _is_finite(self, loss: float, index: int, task: int, step: int) -> bool:
    """Whether this lane may go on; records that it may not, or raises if that is an error."""
    if not math.isfinite(loss):
      self.record.diverged[index] = True
    if self.record.diverged[index] and not self.tolerant:
      raise DivergedError(
        f"the loss is {loss} in seed {self.lanes[index].seed}, task {task}, step {step}: "
        f"lower config.learning_rate (it is {self.config.learning_rate:g}). "
        "The last good checkpoint is kept"
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

  def _indices(self, action: Action) -> range:
    """Indices of the lanes that the action trains side by side."""
    return range(action.lane, action.lane + self.lanes_together)

  def _name(self, index: int) -> dict[str, Any]:
    """What tells a lane from the others in the log."""
    return {"seed": self.lanes[index].seed, **self.lanes[index].hyper}

  def _start(self, indices: Sequence[int]) -> tuple[chex.PRNGKey, Hyper]:
    """The keys and hyperparameters that the states of these lanes begin with."""
    lanes = [self.lanes[index] for index in indices]
    keys = jnp.stack([jax.random.key(lane.seed) for lane in lanes])
    values = {key: [lane.hyper[key] for lane in lanes] for key in lanes[0].hyper}
    return keys, {key: jnp.asarray(column, jnp.float32) for key, column in values.items()}

  def _place(self, action: Action, index: int) -> dict[str, Any]:
    place = {**self._name(index), "task": action.task}
    if action.kind == "evaluate":
      return place
    return {**place, "phase": action.phase, "epoch": action.epoch}


def _finite_mean(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if len(finite) else math.nan
