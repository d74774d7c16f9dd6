"""A task's examples on the device, and batches drawn from them inside compiled loops."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core.types import Batch


class DeviceExamples(NamedTuple):
  """The examples of one task, padded to the largest task so that one program serves all.

  Attributes:
    image: `[capacity, ...]`, as stored.
    label: int32 `[capacity]`.
    task_id: int32 `[capacity]`.
    index: int32 `[capacity]`, see `tagjax.core.types.Batch`.
    size: int32 scalar; rows from `size` on are padding.
  """

  image: chex.Array
  label: chex.Array
  task_id: chex.Array
  index: chex.Array
  size: chex.Array


def to_device(examples, capacity: int) -> DeviceExamples:
  """Pads `examples` (of a `benchmarks.Experience`) to `capacity` rows and uploads them."""
  missing = capacity - len(examples.label)

  def pad(array, dtype=None):
    array = np.asarray(array, dtype)
    widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return jax.device_put(np.pad(array, widths) if missing else array)

  return DeviceExamples(
    image=pad(examples.image),
    label=pad(examples.label, np.int32),
    task_id=pad(examples.task_id, np.int32),
    index=jax.device_put(np.arange(capacity, dtype=np.int32)),
    size=jax.device_put(np.int32(len(examples.label))),
  )


def take(examples: DeviceExamples, rows: chex.Array, exemplars: Batch | None = None) -> Batch:
  """The batch of the given rows.

  Args:
    examples: the task's examples, C rows with their padding.
    rows: int `[B]`, or `[N, B]` for N batches; those beyond the task's size become padding.
    exemplars: leaves `[M, ...]`, whose rows are C, ..., C + M - 1; None: M is 0.

  Returns:
    A batch whose `mask` is False on padding.

  Raises:
    ValueError: if the images of the exemplars are not such as those of the task.
  """
  own = _take_rows(examples, rows, rows < examples.size)
  if exemplars is None:
    return own
  _check_alike(examples.image, exemplars.image)
  first = examples.label.shape[0]
  place = jnp.maximum(rows - first, 0)
  is_there = jnp.take(exemplars.mask, place, mode="fill", fill_value=False)
  other = _take_rows(exemplars, place, is_there)
  is_other = rows >= first

  def choose(one, two):
    return jnp.where(is_other.reshape(*rows.shape, *[1] * (one.ndim - rows.ndim)), two, one)

  return jax.tree.map(choose, own, other)


def _take_rows(examples: DeviceExamples | Batch, rows: chex.Array, mask: chex.Array) -> Batch:
  return Batch(
    image=jnp.take(examples.image, rows, axis=0, mode="clip"),
    label=jnp.take(examples.label, rows, mode="clip"),
    task_id=jnp.take(examples.task_id, rows, mode="clip"),
    mask=mask,
    index=jnp.take(examples.index, rows, mode="clip"),
  )


def _check_alike(image: chex.Array, other: chex.Array) -> None:
  if (image.shape[1:], image.dtype) != (other.shape[1:], other.dtype):
    raise ValueError(
      f"rehearsal gives images of {other.dtype} {other.shape[1:]}, and the stream has "
      f"{image.dtype} {image.shape[1:]}: store them as the spec says (tagjax.memory.items.exemplar)"
    )
