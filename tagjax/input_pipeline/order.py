"""The order in which the examples of a task come: pure functions of a key."""

import chex
import jax
import jax.numpy as jnp

from tagjax.core.keys import run_keys
from tagjax.input_pipeline.device_examples import DeviceExamples


def epoch_order(
  key: chex.PRNGKey, epoch_id: chex.Array, size: chex.Array, *, capacity: int, batch_size: int
) -> chex.Array:
  """The rows of each batch of an epoch, see `shuffled_rows`.

  Args:
    key: the run's.
    epoch_id: int32 scalar, see `train_chunk`.
    size: int32 scalar, examples of the task.
    capacity: rows of the largest task.
    batch_size: examples of a batch.
  """
  order_key = jax.random.fold_in(run_keys(key).order, epoch_id)
  return shuffled_rows(order_key, capacity, size, batch_size)


def boundary_order(
  key: chex.PRNGKey, step: chex.Array, size: chex.Array, *, capacity: int, batch_size: int
) -> chex.Array:
  """The same for the end of a task, after `step` training steps of the stream."""
  order_key = jax.random.fold_in(run_keys(key).boundaries, step)
  return shuffled_rows(order_key, capacity, size, batch_size)


def rows_in_order(examples: DeviceExamples, batch_size: int) -> chex.Array:
  """The rows of each batch where the host has put the examples in order."""
  return jnp.arange(examples.label.shape[0], dtype=jnp.int32).reshape(-1, batch_size)


def boundary_batches(examples: int | None, batch_size: int) -> int | None:
  """Batches that hold so many examples; None: all."""
  return None if examples is None else -(-examples // batch_size)


def shuffled_rows(
  key: chex.PRNGKey, capacity: int, size: chex.Array, batch_size: int
) -> chex.Array:
  """A random order of a task's rows, padding last.

  Args:
    key: of the draw.
    capacity: rows of the largest task.
    size: int scalar, rows of this task.
    batch_size: B.

  Returns:
    int32 `[N, B]` with `N = ceil(capacity / B)`: batch i is row i. Places beyond the task's size
    hold `capacity`, which `take` marks as padding.
  """
  num_batches = -(-capacity // batch_size)
  real = jnp.arange(capacity) < size
  draws = jnp.where(real, jax.random.uniform(key, (capacity,)), jnp.inf)
  order = jnp.argsort(draws).astype(jnp.int32)
  order = jnp.where(real, order, capacity)
  tail = jnp.full((num_batches * batch_size - capacity,), capacity, jnp.int32)
  return jnp.concatenate([order, tail]).reshape(num_batches, batch_size)


def pass_size(capacity: int, most: int) -> int:
  """Examples of equally large passes over a task, at most `most`.

  >>> [pass_size(capacity, 256) for capacity in (100, 256, 300)]
  [100, 256, 150]
  """
  return divide_up(capacity, divide_up(capacity, most))


def divide_up(number, divisor):
  """The quotient, rounded up."""
  return -(-number // divisor)
