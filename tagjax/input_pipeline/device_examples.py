"""A task's examples on the device, and batches drawn from them inside compiled loops."""

from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from tagjax.core.types import Batch


class DeviceExamples(NamedTuple):
  """The examples of one task, padded to the largest task so that one program serves all.

  Attributes:
    image: `[capacity, ...]`, as stored.
    label: int32 `[capacity]`.
    task_id: int32 `[capacity]`.
    size: int32 scalar; rows from `size` on are padding.
  """

  image: chex.Array
  label: chex.Array
  task_id: chex.Array
  size: chex.Array


def to_device(examples, capacity: int) -> DeviceExamples:
  """Pads `examples` (of a `benchmarks.Experience`) to `capacity` rows and uploads them."""
  missing = capacity - len(examples.label)

  def pad(array, dtype=None):
    array = np.asarray(array, dtype)
    widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return jnp.asarray(np.pad(array, widths) if missing else array)

  return DeviceExamples(
    image=pad(examples.image),
    label=pad(examples.label, np.int32),
    task_id=pad(examples.task_id, np.int32),
    size=jnp.asarray(len(examples.label), jnp.int32),
  )


def take(examples: DeviceExamples, rows: chex.Array, valid: chex.Array | None = None) -> Batch:
  """The batch of the given rows.

  Args:
    examples: the task's examples.
    rows: int `[B]`, or `[N, B]` for N batches; those beyond the task's size become padding.
    valid: bool like `rows`, further rows to mark as padding; None: none.

  Returns:
    A batch whose `mask` is False on padding.
  """
  mask = rows < examples.size
  return Batch(
    image=jnp.take(examples.image, rows, axis=0, mode="clip"),
    label=jnp.take(examples.label, rows, mode="clip"),
    task_id=jnp.take(examples.task_id, rows, mode="clip"),
    mask=mask if valid is None else mask & valid,
  )
