"""Feeds a task's examples to the device, whole or in windows.

A task is brought to the device as a whole where its images are arrays. Where they are lazy, because
the data set is larger than memory, a window of batches is, while threads read the next ones. Both
show the compiled programs the same batches, so the results are the same.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.benchmarks import TaskExamples
from tagjax.benchmarks.lazy import JoinedImages
from tagjax.core.types import Batch
from tagjax.input_pipeline.device_examples import DeviceExamples, to_device
from tagjax.input_pipeline.order import (
  boundary_batches,
  boundary_order,
  divide_up,
  epoch_order,
  evaluation_order,
  pass_size,
)
from tagjax.input_pipeline.prefetch import Feed

WINDOW_BYTES = 64 * 2**20
"""Images of a window on the device; as much again is read ahead."""

ExamplesOf = Callable[[int], TaskExamples]
"""The examples of a task by its number."""


class TrainingSource(Protocol):
  """Gives out training examples.

  Attributes:
    in_order: whether examples are given out in the order of training, see
      `tagjax.engine.train_loop.train_chunk`.
    chunk_steps: most steps of one chunk.
  """

  in_order: bool
  chunk_steps: int

  def rows(self, num_boundary_examples: int | None) -> int:
    """Examples on the device at once.

    Args:
      num_boundary_examples: see `tagjax.core.method.Method`.
    """
    ...

  def chunk(
    self,
    task: int,
    epoch_id: int,
    start: int,
    stop: int,
    *,
    key: chex.PRNGKey,
    exemplars: Batch | None = None,
  ) -> tuple[DeviceExamples, int, int]:
    """Examples for the batches `start` to `stop` (exclusive) of an epoch.

    Args:
      task: the task.
      epoch_id: counts the epochs of the whole stream.
      start: first batch.
      stop: first batch that is not asked for.
      key: the key of the one run that is trained; not looked at unless the source is `in_order`.
      exemplars: on the host, what the method rehearses in this epoch; not looked at unless the
        source is `in_order`.

    Returns:
      Examples, and the place of the first and the last batch (exclusive) among them.
    """
    ...

  def boundary(
    self, task: int, step: int | chex.Array, *, key: chex.PRNGKey, num_examples: int | None
  ) -> DeviceExamples:
    """Examples of the task that has ended.

    Args:
      task: the task.
      step: training steps of the stream so far.
      key: as in `chunk`.
      num_examples: how many are looked at; None: all.
    """
    ...


class EvaluationSource(Protocol):
  """Gives out examples to evaluate on.

  Attributes:
    pass_size: examples that an evaluation pass takes.
    rows: examples on the device at once.
    in_order: whether they are given out in the order of the evaluation, see
      `tagjax.engine.evaluate.evaluate`; else as they are stored.
  """

  pass_size: int
  rows: int
  in_order: bool

  def windows(
    self, task: int, *, key: chex.PRNGKey | None = None, step: chex.Array | None = None
  ) -> Iterable[DeviceExamples]:
    """The examples of a task.

    Args:
      task: the task.
      key: the key of the one run that is evaluated; not looked at unless the source is `in_order`.
      step: training steps of the stream so far; as `key`.
    """
    ...


def training_source(
  examples_of: ExamplesOf, *, capacity: int, batch_size: int, chunk_steps: int, streamed: bool
) -> TrainingSource:
  """A source of training examples.

  Args:
    examples_of: the training examples of a task.
    capacity: examples of the largest task.
    batch_size: examples a step.
    chunk_steps: most steps of one chunk.
    streamed: whether examples are read while they are needed, a window of batches at a time.
  """
  if streamed:
    return _StreamedTraining(examples_of, capacity, batch_size, chunk_steps)
  return _WholeTraining(examples_of, capacity, chunk_steps)


class _WholeTraining:
  """Each task is on the device while it is learned."""

  in_order = False

  def __init__(self, examples_of: ExamplesOf, capacity: int, chunk_steps: int):
    self.chunk_steps = chunk_steps
    self._capacity = capacity
    self._examples_of = examples_of
    self._held: dict[int, DeviceExamples] = {}

  def rows(self, num_boundary_examples: int | None) -> int:
    del num_boundary_examples
    return self._capacity

  def chunk(self, task, epoch_id, start, stop, *, key, exemplars=None):
    del epoch_id, key, exemplars
    return self._on_device(task), start, stop

  def boundary(self, task, step, *, key, num_examples):
    del step, key, num_examples
    return self._on_device(task)

  def _on_device(self, task: int) -> DeviceExamples:
    if task not in self._held:
      self._held.clear()
      self._held[task] = to_device(self._examples_of(task), self._capacity)
    return self._held[task]


class _StreamedTraining:
  """A window of batches is on the device."""

  in_order = True

  def __init__(self, examples_of: ExamplesOf, capacity: int, batch_size: int, chunk_steps: int):
    self._batch_size = batch_size
    self._capacity = capacity
    self._examples_of = examples_of
    self.chunk_steps = _as_many(chunk_steps, batch_size * _image_bytes(examples_of))
    self._feed: Feed | None = None
    self._epoch = None

  def rows(self, num_boundary_examples: int | None) -> int:
    return max(self.chunk_steps, self._boundary_batches(num_boundary_examples)) * self._batch_size

  def chunk(self, task, epoch_id, start, stop, *, key, exemplars=None):
    epoch = (np.asarray(jax.random.key_data(key)).tobytes(), task, epoch_id)
    if self._feed is None or (self._epoch, self._feed.position) != (epoch, start):
      self._feed = self._open(task, epoch_id, start, key, exemplars)
      self._epoch = epoch
    window = self._feed.window(stop, self.chunk_steps * self._batch_size)
    return window, 0, stop - start

  def _open(self, task, epoch_id, start, key, exemplars: Batch | None) -> Feed:
    examples = self._examples_of(task)
    order = np.asarray(
      epoch_order(
        key,
        jnp.int32(epoch_id),
        jnp.int32(len(examples)),
        capacity=self._capacity,
        batch_size=self._batch_size,
        rehearsed=None if exemplars is None else jnp.asarray(exemplars.mask),
      )
    )
    index = np.arange(len(examples))
    if exemplars is not None:
      order = _without_gap(order, len(examples), self._capacity)
      examples = _followed_by(examples, exemplars)
      index = np.concatenate([index, exemplars.index])
    return Feed(examples, order, start, ahead=self.chunk_steps, index=index)

  def boundary(self, task, step, *, key, num_examples):
    examples = self._examples_of(task)
    order = boundary_order(
      key,
      jnp.int32(step),
      jnp.int32(len(examples)),
      capacity=self._capacity,
      batch_size=self._batch_size,
    )
    order = np.asarray(order)[: self._boundary_batches(num_examples)]
    feed = Feed(examples, order, ahead=self.chunk_steps)
    return feed.window(len(order), order.size)

  def _boundary_batches(self, num_examples: int | None) -> int:
    """At least one, so that there is something to take shapes from."""
    whole = divide_up(self._capacity, self._batch_size)
    asked = boundary_batches(num_examples, self._batch_size)
    return whole if asked is None else min(max(asked, 1), whole)


def _without_gap(order: np.ndarray, size: int, capacity: int) -> np.ndarray:
  """Row numbers where exemplars follow the task's `size` examples, and not its padding."""
  return np.where(order >= capacity, order - (capacity - size), order)


def _followed_by(examples: TaskExamples, exemplars: Batch) -> TaskExamples:
  return TaskExamples(
    JoinedImages([examples.image, exemplars.image]),
    np.concatenate([examples.label, exemplars.label]),
    np.concatenate([examples.task_id, exemplars.task_id]),
  )


def evaluation_source(
  examples_of: ExamplesOf,
  *,
  num_tasks: int,
  capacity: int,
  eval_batch_size: int,
  streamed: bool,
  lengths: Sequence[int] = (1,),
) -> EvaluationSource:
  """A source of examples to evaluate on.

  Args:
    examples_of: those of a task.
    num_tasks: tasks that are evaluated.
    capacity: examples of the largest task.
    eval_batch_size: most examples of a pass.
    streamed: whether examples are read while they are needed, a window of passes at a time. If not,
      all tasks evaluated so far stay on the device.
    lengths: of the runs of the continuum, see `tagjax.core.method.Query`; where one is more than 1,
      the examples of a task are evaluated in shuffled order.
  """
  size = pass_size(capacity, eval_batch_size, lengths)
  if streamed:
    return _StreamedEvaluation(examples_of, capacity, size, in_order=max(lengths) > 1)
  return _WholeEvaluation(examples_of, num_tasks, capacity, size)


class _WholeEvaluation:
  """All tasks evaluated so far stay on the device."""

  in_order = False

  def __init__(self, examples_of: ExamplesOf, num_tasks: int, capacity: int, size: int):
    self.pass_size = size
    self.rows = num_tasks * capacity
    self._capacity = capacity
    self._examples_of = examples_of
    self._held: dict[int, DeviceExamples] = {}

  def windows(self, task, *, key=None, step=None) -> list[DeviceExamples]:
    del key, step
    if task not in self._held:
      self._held[task] = to_device(self._examples_of(task), self._capacity)
    return [self._held[task]]


class _StreamedEvaluation:
  """A window of passes is on the device."""

  def __init__(self, examples_of: ExamplesOf, capacity: int, size: int, in_order: bool):
    self.pass_size = size
    self.in_order = in_order
    self._capacity = capacity
    self._examples_of = examples_of
    self._passes = _as_many(divide_up(capacity, size), size * _image_bytes(examples_of))
    self.rows = self._passes * size

  def windows(self, task, *, key=None, step=None) -> Iterator[DeviceExamples]:
    examples = self._examples_of(task)
    passes = divide_up(len(examples), self.pass_size)
    order = np.arange(passes * self.pass_size).reshape(passes, self.pass_size)
    if self.in_order:
      order = self._order(examples, key, step)[:passes]
    feed = Feed(examples, order, ahead=self._passes)
    while feed.position < passes:
      yield feed.window(min(feed.position + self._passes, passes), self.rows)

  def _order(self, examples: TaskExamples, key, step) -> np.ndarray:
    order = evaluation_order(
      key,
      jnp.int32(step),
      jnp.int32(len(examples)),
      capacity=self._capacity,
      batch_size=self.pass_size,
    )
    return np.asarray(order)


def _image_bytes(examples_of: ExamplesOf) -> int:
  """Bytes of one image, which all tasks have alike."""
  image = examples_of(0).image
  return math.prod(image.shape[1:]) * np.dtype(image.dtype).itemsize


def _as_many(most: int, size: int) -> int:
  """How many of `size` bytes make a window; at least one."""
  return max(1, min(most, WINDOW_BYTES // size))
