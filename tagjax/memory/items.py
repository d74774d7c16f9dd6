"""What goes into a memory and comes out: exemplars, in the order of the batch, drawn at random."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from tagjax.core.types import Batch, StreamSpec

_FEW = 64


def exemplar(spec: StreamSpec) -> Batch:
  """Shape and dtype of one stored example; no arrays.

  Args:
    spec: the stream, whose images are kept as they come.

  Returns:
    A `Batch` of `jax.ShapeDtypeStruct` without the leading axis.

  >>> from tagjax.core.types import StreamSpec
  >>> exemplar(StreamSpec(1, 2, None, "task", (4, 4, 1))).image
  ShapeDtypeStruct(shape=(4, 4, 1), dtype=uint8)
  """
  return Batch(
    image=jax.ShapeDtypeStruct(spec.image_shape, spec.image_dtype),
    label=jax.ShapeDtypeStruct((), jnp.int32),
    task_id=jax.ShapeDtypeStruct((), jnp.int32),
    mask=jax.ShapeDtypeStruct((), bool),
    index=jax.ShapeDtypeStruct((), jnp.int32),
  )


def gather_in_order(
  gather: Callable[[chex.ArrayTree], chex.ArrayTree], tree: chex.ArrayTree
) -> chex.ArrayTree:
  """The rows of all devices, in the order that they have in the batch of a one-device run.

  Device d of D holds rows d, d + D, d + 2D, ... of the batch. Gathered, they stand device by
  device; put back in order, a memory holds the same exemplars on any number of devices.

  Args:
    gather: `Step.gather`.
    tree: leaves `[B, ...]`, the rows of this device.

  Returns:
    Leaves `[D B, ...]`, the same on every device.
  """

  def in_order(own, everywhere):
    by_device = everywhere.reshape(-1, *own.shape)
    return jnp.swapaxes(by_device, 0, 1).reshape(everywhere.shape)

  return jax.tree.map(in_order, tree, gather(tree))


def choose(key: chex.PRNGKey, valid: chex.Array, count: int) -> tuple[chex.Array, chex.Array]:
  """Draws `count` of the valid places, uniformly and without replacement.

  Args:
    key: random key.
    valid: bool `[N]`.
    count: static; how many.

  Returns:
    `(places, mask)`: int32 `[count]` and bool `[count]`. If fewer than `count` places are valid,
    each of them is drawn once, and the rows beyond have mask False.

  >>> places, mask = choose(jax.random.key(0), jnp.array([True, False, True]), 4)
  >>> sorted(places[:2].tolist()), mask.tolist()
  ([0, 2], [True, True, False, False])
  """
  drawn = min(count, valid.shape[0])
  # Integers of 31 bits: floats in [0, 1) have only 23, and equal ones would favour early places.
  priority = (jax.random.bits(key, valid.shape, jnp.uint32) >> 1).astype(jnp.int32)
  best, places = largest(jnp.where(valid, priority, -1), drawn)
  pad = (0, count - drawn)
  return jnp.pad(places.astype(jnp.int32), pad), jnp.pad(best >= 0, pad)


def largest(values: chex.Array, count: int) -> tuple[chex.Array, chex.Array]:
  """`jax.lax.top_k` of numbers from -1 on: of equal ones the first.

  XLA sorts all of them on a CPU. To look for the largest one again and again takes a tenth of the
  time for a batch (10 of 1000: 9 against 131 microseconds), until some hundred are asked for.

  Args:
    values: int32 `[N]`, at least -1.
    count: static, at most N.

  Returns:
    `(values, places)`, int32 `[count]` each, the largest first.

  >>> [found.tolist() for found in largest(jnp.array([5, 7, -1, 7]), 3)]
  [[7, 7, 5], [1, 3, 0]]
  """
  if jax.default_backend() != "cpu" or count > _FEW:
    return jax.lax.top_k(values, count)

  def pick(index, carry):
    left, found, places = carry
    place = jnp.argmax(left).astype(jnp.int32)
    taken = left.at[place].set(-2)
    return taken, found.at[index].set(left[place]), places.at[index].set(place)

  nothing = jnp.zeros(count, jnp.int32)
  _, found, places = jax.lax.fori_loop(0, count, pick, (values, nothing, nothing))
  return found, places
