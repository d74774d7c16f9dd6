"""Where the compiled programs get a task's examples from: all on the device, or read in windows.

A task is brought to the device as a whole where its images are arrays. Where they are lazy, because
the data set is larger than memory (`config.input`), a window of batches is, while threads read the
next ones. Both show the programs the same batches, so the results are the same.
"""

import functools
import math
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from tagjax import benchmarks
from tagjax.engine.learner import LearnerState
from tagjax.engine.programs import Programs
from tagjax.input_pipeline import device_examples
from tagjax.input_pipeline.order import boundary_batches, pass_size
from tagjax.input_pipeline.prefetch import Feed
from tagjax.training.schedule import Action

WINDOW_BYTES = 64 * 2**20
"""Images of a window on the device; as much again is read ahead."""


def training_examples(config: ConfigDict, stream: benchmarks.Stream, task: int):
  """What a task trains on; all tasks together in the protocol "joint"."""
  if config.protocol == "joint":
    return benchmarks.TaskExamples.together([task.train for task in stream])
  return stream[task].train


def supply_training(config: ConfigDict, stream: benchmarks.Stream, capacity: int):
  """Gives out training examples.

  Args:
    config: of the run.
    stream: its tasks.
    capacity: examples of the largest task.

  Returns:
    A `WholeTraining` or a `StreamedTraining`.
  """
  kind = StreamedTraining if stream.is_streamed("train") else WholeTraining
  return kind(config, stream, capacity)


class WholeTraining:
  """Each task is on the device while it is learned.

  Attributes:
    in_order: whether examples are given out in the order of training.
    chunk_steps: most steps of one call.
  """

  in_order = False

  def __init__(self, config: ConfigDict, stream: benchmarks.Stream, capacity: int):
    self.chunk_steps = config.chunk_steps
    self._capacity = capacity
    self._examples_of = functools.partial(training_examples, config, stream)

  def rows(self, examples: int | None) -> int:
    """Examples on the device at once; `examples`: see `tagjax.core.method.Method`."""
    del examples
    return self._capacity

  def chunk(
    self, programs: Programs, state: LearnerState, action: Action
  ) -> tuple[device_examples.DeviceExamples, int, int]:
    """Examples of a `"train"` action, its first batch among them, and the last (exclusive)."""
    del programs, state
    return self._on_device(action.task), action.start, action.stop

  def boundary(
    self, programs: Programs, state: LearnerState, task: int
  ) -> device_examples.DeviceExamples:
    """Examples of the task that has ended."""
    del programs, state
    return self._on_device(task)

  @functools.lru_cache(maxsize=1)  # noqa: B019  (it lives as long as its process needs it)
  def _on_device(self, task: int) -> device_examples.DeviceExamples:
    return device_examples.to_device(self._examples_of(task), self._capacity)


class StreamedTraining:
  """A window of batches is on the device; the same interface as `WholeTraining`."""

  in_order = True

  def __init__(self, config: ConfigDict, stream: benchmarks.Stream, capacity: int):
    self._batch_size = config.batch_size
    self._capacity = capacity
    self._examples_of = functools.partial(training_examples, config, stream)
    batch_bytes = config.batch_size * math.prod(stream.spec.image_shape)
    self.chunk_steps = _as_many(config.chunk_steps, batch_bytes)
    self._feed: Feed | None = None
    self._epoch = None

  def rows(self, examples: int | None) -> int:
    return max(self.chunk_steps, self._boundary_batches(examples)) * self._batch_size

  def chunk(self, programs, state, action):
    epoch = (action.lane, action.task, action.epoch_id)
    if self._feed is None or (self._epoch, self._feed.position) != (epoch, action.start):
      self._feed = self._open(programs, state, action)
      self._epoch = epoch
    window = self._feed.window(action.stop, self.chunk_steps * self._batch_size)
    return window, 0, action.stop - action.start

  def _open(self, programs, state, action) -> Feed:
    examples = self._examples_of(action.task)
    order = programs.epoch_order(state, action.epoch_id, len(examples), self._capacity)
    return Feed(examples, order, action.start, ahead=self.chunk_steps)

  def boundary(self, programs, state, task):
    examples = self._examples_of(task)
    order = programs.boundary_order(state, len(examples), self._capacity)
    order = order[: self._boundary_batches(programs.examples)]
    return Feed(examples, order).window(len(order), order.size)

  def _boundary_batches(self, examples: int | None) -> int:
    """At least one, so that there is something to take shapes from."""
    whole = -(-self._capacity // self._batch_size)
    asked = boundary_batches(examples, self._batch_size)
    return whole if asked is None else min(max(asked, 1), whole)


def supply_evaluation(config: ConfigDict, stream: benchmarks.Stream):
  """Gives out examples to evaluate on: a `WholeEvaluation` or a `StreamedEvaluation`."""
  kind = StreamedEvaluation if stream.is_streamed(config.evaluate_on) else WholeEvaluation
  return kind(config, stream)


class WholeEvaluation:
  """All tasks evaluated so far stay on the device.

  Attributes:
    pass_size: examples that an evaluation pass takes.
    rows: examples on the device at once, those of all tasks together.
  """

  def __init__(self, config: ConfigDict, stream: benchmarks.Stream):
    self._part, self._stream = config.evaluate_on, stream
    self._capacity = _evaluation_capacity(config, stream)
    self.pass_size = pass_size(self._capacity, config.eval_batch_size)
    self.rows = len(stream) * self._capacity

  @functools.cache  # noqa: B019
  def windows(self, task: int) -> list[device_examples.DeviceExamples]:
    """The examples of a task, in order; here as one window."""
    return [device_examples.to_device(getattr(self._stream[task], self._part), self._capacity)]


class StreamedEvaluation:
  """A window of passes is on the device; the same interface as `WholeEvaluation`."""

  def __init__(self, config: ConfigDict, stream: benchmarks.Stream):
    self._part, self._stream = config.evaluate_on, stream
    capacity = _evaluation_capacity(config, stream)
    self.pass_size = pass_size(capacity, config.eval_batch_size)
    pass_bytes = self.pass_size * math.prod(stream.spec.image_shape)
    self._passes = _as_many(-(-capacity // self.pass_size), pass_bytes)
    self.rows = self._passes * self.pass_size

  def windows(self, task: int) -> Iterator[device_examples.DeviceExamples]:
    examples = getattr(self._stream[task], self._part)
    passes = -(-len(examples) // self.pass_size)
    order = np.arange(passes * self.pass_size).reshape(passes, self.pass_size)
    feed = Feed(examples, order, ahead=self._passes)
    while feed.position < passes:
      yield feed.window(min(feed.position + self._passes, passes), self.rows)


def _evaluation_capacity(config: ConfigDict, stream: benchmarks.Stream) -> int:
  """Most examples that a task is evaluated on."""
  part = 2 if config.evaluate_on == "test" else 1
  return max(size[part] for size in stream.sizes)


def _as_many(most: int, size: int) -> int:
  """How many of `size` bytes make a window; at least one."""
  return max(1, min(most, WINDOW_BYTES // size))
