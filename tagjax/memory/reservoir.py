"""Reservoir memory: a uniform sample of everything that has been seen.

References:
  Vitter. Random Sampling with a Reservoir. ACM Transactions on Mathematical Software, 1985.
"""

import functools
from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp

from tagjax.core.register import Family
from tagjax.memory.items import choose

Variant = Literal["item", "reference"]

FAMILY = Family("replay", "two reservoirs would replay the same past")
"""Methods that replay from a reservoir."""


class ReservoirState(NamedTuple):
  """A sample of the stream.

  Attributes:
    items: tree of arrays `[N, ...]`, N the capacity; places `0 .. min(seen, N) - 1` are filled.
    seen: int32 scalar, valid items offered so far.
  """

  items: chex.ArrayTree
  seen: chex.Array


def empty(capacity: int, example: chex.ArrayTree) -> ReservoirState:
  """A reservoir that holds nothing.

  Args:
    capacity: N, static, at least 1.
    example: one item: a tree of arrays or `jax.ShapeDtypeStruct` without a leading axis.

  Returns:
    The state.

  Raises:
    ValueError: if `capacity` is less than 1.
  """
  if capacity < 1:
    raise ValueError(f"capacity={capacity} of a reservoir must be at least 1")
  items = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), example)
  return ReservoirState(items, jnp.zeros((), jnp.int32))


def insert(
  state: ReservoirState,
  items: chex.ArrayTree,
  mask: chex.Array,
  key: chex.PRNGKey,
  *,
  variant: str = "item",
  after: chex.ArrayTree = (),
) -> ReservoirState:
  """Offers the rows to the reservoir, one after another.

  The i-th valid item of the stream (from 0) goes to place i while places are free (i < N). Then
  a place j is drawn, and the item takes it if j < N:

      "item":       j ~ U{0 .. i}: each of the i + 1 items seen is held with probability N / (i + 1)
      "reference":  j ~ U{0 .. s - 1}, s the items seen before this batch (counting those of it
                    that filled free places): the newest items are held a little too often

  Where two rows of a batch draw the same place, the later one has it.

  Args:
    state: the reservoir.
    items: tree of arrays `[B, ...]`, as `state.items` without its leading axis.
    mask: bool `[B]`; rows where it is False are neither stored nor counted.
    key: random key.
    variant: static, `"item"` or `"reference"`.
    after: what has been sampled from `state` in this step. XLA then reads before it writes, and
      writes in place; it would copy the whole reservoir at every step of a loop otherwise.

  Returns:
    The new state.

  Raises:
    ValueError: if `variant` is unknown.
  """
  check_variant(variant)
  place = _places(state, mask, key, variant)
  # A branch, since XLA would otherwise compute the condition anew for every row.
  place = jax.lax.cond(_never(after), lambda p: p + 1, lambda p: p, place)
  return ReservoirState(
    items=jax.tree.map(
      lambda held, new: held.at[place].set(new.astype(held.dtype), mode="drop"),
      state.items,
      items,
    ),
    seen=state.seen + jnp.sum(mask, dtype=jnp.int32),
  )


def _never(tree: chex.ArrayTree) -> chex.Array:
  """False, for a reason that no compiler sees: the largest number is less than the smallest one.

  On a CPU `jax.lax.optimization_barrier` is gone before XLA decides what to copy. A number of each
  row will do; rows of a single number are left out: to copy them costs little.
  """
  large = [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim > 1]
  firsts = [leaf.reshape(leaf.shape[0], -1)[:, 0] for leaf in large]
  crossed = [jnp.max(first) < jnp.min(first) for first in firsts]
  return functools.reduce(jnp.logical_or, crossed, jnp.zeros((), bool))


def _places(state: ReservoirState, mask: chex.Array, key: chex.PRNGKey, variant: str) -> chex.Array:
  """Where each row goes, int32 `[B]`: no place twice, N (nowhere) for rows that are not held."""
  capacity = jax.tree.leaves(state.items)[0].shape[0]
  number = state.seen + jnp.cumsum(mask, dtype=jnp.int32) - 1
  choices = number + 1
  if variant == "reference":
    seen = state.seen + jnp.sum(mask, dtype=jnp.int32)
    choices = jnp.broadcast_to(jnp.maximum(state.seen, jnp.minimum(seen, capacity)), mask.shape)
  drawn = jax.random.randint(key, mask.shape, 0, jnp.maximum(choices, 1))
  place = jnp.where(number < capacity, number, drawn)
  return _last_of_each(jnp.where(mask & (place < capacity), place, capacity), capacity)


def check_variant(variant: str) -> None:
  """Raises a ValueError if `variant` is unknown."""
  if variant not in get_args(Variant):
    choices = list(get_args(Variant))
    raise ValueError(f"variant={variant!r} is unknown: choose one of {choices}")


def _last_of_each(place: chex.Array, capacity: int) -> chex.Array:
  """`place`, or `capacity` (nowhere) where a later row overwrites it: scatter has no order."""
  row = jnp.arange(place.shape[0])
  last = jnp.zeros((capacity,), row.dtype).at[place].max(row, mode="drop")
  return jnp.where(last.at[place].get(mode="clip") == row, place, capacity)


def stored(state: ReservoirState) -> chex.Array:
  """Number of items held, int32 scalar."""
  return jnp.minimum(state.seen, jax.tree.leaves(state.items)[0].shape[0])


def sample(
  state: ReservoirState, key: chex.PRNGKey, count: int
) -> tuple[chex.ArrayTree, chex.Array]:
  """Draws items, uniformly and without replacement.

  Args:
    state: the reservoir.
    key: random key.
    count: static; how many.

  Returns:
    `(items, mask)`: leaves `[count, ...]` and bool `[count]`. If fewer than `count` items are held,
    each of them comes once and the rows beyond have mask False: they hold anything.

  >>> state = empty(3, jax.ShapeDtypeStruct((), jnp.int32))
  >>> state = insert(state, jnp.arange(10, 15), jnp.arange(5) < 2, jax.random.key(0))
  >>> items, mask = sample(state, jax.random.key(1), 4)
  >>> sorted(items[:2].tolist()), mask.tolist()
  ([10, 11], [True, True, False, False])
  """
  capacity = jax.tree.leaves(state.items)[0].shape[0]
  places, mask = choose(key, jnp.arange(capacity) < stored(state), count)
  return jax.tree.map(lambda leaf: leaf[places], state.items), mask
