"""The order in which the examples of a task come: pure functions of a key.

Exemplars that are rehearsed stand behind the task's own examples: with a capacity of C, row C + m
is exemplar m.
"""

import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from tagjax.core.keys import evaluation_order_key, run_keys
from tagjax.input_pipeline.device_examples import DeviceExamples


def epoch_order(
  key: chex.PRNGKey,
  epoch_id: chex.Array,
  size: chex.Array,
  *,
  capacity: int,
  batch_size: int,
  rehearsed: chex.Array | None = None,
) -> chex.Array:
  """The rows of each batch of an epoch, see `shuffled_rows`.

  Args:
    key: the run's.
    epoch_id: int32 scalar, see `train_chunk`.
    size: int32 scalar, examples of the task.
    capacity: rows of the largest task.
    batch_size: examples of a batch.
    rehearsed: bool `[M]`, which exemplars are there; None: the method does not rehearse.
  """
  order_key = jax.random.fold_in(run_keys(key).order, epoch_id)
  return shuffled_rows(order_key, capacity, size, batch_size, rehearsed)


def boundary_order(
  key: chex.PRNGKey, step: chex.Array, size: chex.Array, *, capacity: int, batch_size: int
) -> chex.Array:
  """The same for the end of a task, after `step` training steps of the stream."""
  order_key = jax.random.fold_in(run_keys(key).boundaries, step)
  return shuffled_rows(order_key, capacity, size, batch_size)


def evaluation_order(
  key: chex.PRNGKey,
  step: chex.Array,
  size: chex.Array,
  *,
  capacity: int,
  batch_size: int,
) -> chex.Array:
  """The same for an evaluation after `step` training steps; it does not know which task it is."""
  return shuffled_rows(evaluation_order_key(key, step), capacity, size, batch_size)


def rows_in_order(examples: DeviceExamples, batch_size: int) -> chex.Array:
  """The rows of each batch where the host has put the examples in order."""
  return jnp.arange(examples.label.shape[0], dtype=jnp.int32).reshape(-1, batch_size)


def boundary_batches(num_examples: int | None, batch_size: int) -> int | None:
  """Batches that hold so many examples; None: all."""
  return None if num_examples is None else divide_up(num_examples, batch_size)


def shuffled_rows(
  key: chex.PRNGKey,
  capacity: int,
  size: chex.Array,
  batch_size: int,
  rehearsed: chex.Array | None = None,
) -> chex.Array:
  """A random order of a task's rows and of the exemplars, padding last.

  Args:
    key: of the draw.
    capacity: C, rows of the largest task.
    size: int scalar, rows of this task.
    batch_size: B.
    rehearsed: bool `[M]`, which exemplars are there; None: M is 0.

  Returns:
    int32 `[N, B]` with `N = ceil((C + M) / B)`: batch i is row i. Places beyond the number of rows
    that are there hold `C + M`, which `take` marks as padding.
  """
  real = jnp.arange(capacity) < size
  if rehearsed is not None:
    real = jnp.concatenate([real, rehearsed])
  rows = real.shape[0]
  draws = jnp.where(real, jax.random.uniform(key, (rows,)), jnp.inf)
  order = jnp.argsort(draws).astype(jnp.int32)
  order = jnp.where(jnp.arange(rows) < jnp.sum(real), order, rows)
  num_batches = divide_up(rows, batch_size)
  tail = jnp.full((num_batches * batch_size - rows,), rows, jnp.int32)
  return jnp.concatenate([order, tail]).reshape(num_batches, batch_size)


def pass_size(capacity: int, most: int, lengths: Sequence[int] = (1,)) -> int:
  """Examples of equally large passes over a task, at most `most`.

  Args:
    capacity: examples of the largest task.
    most: of a pass.
    lengths: of the runs of the continuum. A pass is a multiple of each, even where that is more
      than `most`, so that it cuts no run; or the whole task, where that is less.

  >>> [pass_size(capacity, 256) for capacity in (100, 256, 300)]
  [100, 256, 150]
  >>> pass_size(300, 256, [20]), pass_size(300, 256, [1, 50, 20]), pass_size(300, 256, [20, 17])
  (160, 200, 300)
  """
  unit = math.lcm(*lengths)
  if unit >= capacity:
    return capacity
  most = max(most // unit, 1) * unit
  return divide_up(divide_up(capacity, divide_up(capacity, most)), unit) * unit


def divide_up(number, divisor):
  """The quotient, rounded up."""
  return -(-number // divisor)
