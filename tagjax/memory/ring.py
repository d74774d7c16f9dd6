"""Ring memory: the last exemplars of each slot, a slot being a pair of task and class.

`tagjax.memory.capacity` gives the slots of a stream: `slot_sizes`, `slot_table`, `slot_tasks`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.memory.items import choose


class RingState(NamedTuple):
  """Exemplars by slot.

  Attributes:
    items: tree of arrays `[S, M, ...]`; slot s uses places `0 .. size[s] - 1`.
    pointer: int32 `[S]`, exemplars ever written to the slot; the next one goes to place
      `pointer % size`.
    size: int32 `[S]`, exemplars that the slot can hold, at most M; never changes.
  """

  items: chex.ArrayTree
  pointer: chex.Array
  size: chex.Array


def empty(sizes: np.ndarray, example: chex.ArrayTree) -> RingState:
  """A ring that holds nothing.

  Args:
    sizes: int `[S]`, static; how many exemplars each slot holds.
    example: one item: a tree of arrays or `jax.ShapeDtypeStruct` without a leading axis.

  Returns:
    The state; M is the largest of `sizes`.

  Raises:
    ValueError: if no slot holds anything.
  """
  sizes = np.asarray(sizes, np.int32)
  if sizes.ndim != 1 or not sizes.size or sizes.min() < 0 or sizes.max() == 0:
    raise ValueError(f"sizes={sizes.tolist()} of a ring must be one number a slot, not all 0")
  shape = (sizes.size, int(sizes.max()))
  return RingState(
    items=jax.tree.map(lambda leaf: jnp.zeros(shape + leaf.shape, leaf.dtype), example),
    pointer=jnp.zeros(sizes.shape, jnp.int32),
    size=jnp.asarray(sizes),
  )


def insert(
  state: RingState, items: chex.ArrayTree, slots: chex.Array, mask: chex.Array
) -> RingState:
  """Writes the rows into their slots, in order, each over the oldest exemplar of its slot.

  As if row after row were written; of more rows of one slot than it holds, the last ones stay.

  Args:
    state: the ring.
    items: tree of arrays `[B, ...]`, as `state.items` without the axes `[S, M]`.
    slots: int32 `[B]`; rows whose slot is negative are not stored.
    mask: bool `[B]`; rows where it is False are not stored.

  Returns:
    The new state.
  """
  target, place, total = _places(state, slots, mask)
  return state._replace(
    items=jax.tree.map(
      lambda held, new: held.at[target, place].set(new.astype(held.dtype), mode="drop"),
      state.items,
      items,
    ),
    pointer=state.pointer + total,
  )


def _places(
  state: RingState, slots: chex.Array, mask: chex.Array
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Slot and place of each row, int32 `[B]` each; and the rows offered to each slot, int32 `[S]`.

  No two rows go to one place, since scatter has no order; rows that are not held go to slot S.
  """
  num_slots = state.size.shape[0]
  slots = jnp.where(mask & (slots >= 0), slots, num_slots)
  rank, total = _rank_within_slot(slots, num_slots)
  size = state.size.at[slots].get(mode="fill", fill_value=0)
  pointer = state.pointer.at[slots].get(mode="fill", fill_value=0)
  kept = total.at[slots].get(mode="fill", fill_value=0) - rank <= size
  target = jnp.where(kept, slots, num_slots)
  return target, (pointer + rank) % jnp.maximum(size, 1), total


def _rank_within_slot(slots: chex.Array, num_slots: int) -> tuple[chex.Array, chex.Array]:
  """Rows of the same slot before each row, int32 `[B]`; and rows of each slot, int32 `[S]`."""
  order = jnp.argsort(slots, stable=True)
  by_slot = slots[order]
  rank_by_slot = jnp.arange(slots.shape[0]) - jnp.searchsorted(by_slot, by_slot, side="left")
  rank = jnp.zeros_like(slots).at[order].set(rank_by_slot.astype(slots.dtype))
  total = jnp.zeros((num_slots,), jnp.int32).at[slots].add(1, mode="drop")
  return rank, total


def counts(state: RingState) -> chex.Array:
  """Exemplars stored in each slot, int32 `[S]`."""
  return jnp.minimum(state.pointer, state.size)


def valid(state: RingState) -> chex.Array:
  """Which places hold an exemplar, bool `[S, M]`."""
  num_places = jax.tree.leaves(state.items)[0].shape[1]
  return jnp.arange(num_places)[None, :] < counts(state)[:, None]


def rows(state: RingState) -> tuple[chex.ArrayTree, chex.Array]:
  """All places side by side, slot by slot.

  Returns:
    `(items, mask)`: leaves `[S M, ...]`, and bool `[S M]`, False where nothing is stored.
  """
  return jax.tree.map(_flat, state.items), _flat(valid(state))


def _flat(leaf: chex.Array) -> chex.Array:
  return leaf.reshape(-1, *leaf.shape[2:])


def sample(
  state: RingState, key: chex.PRNGKey, count: int, eligible_slots: chex.Array
) -> tuple[chex.ArrayTree, chex.Array]:
  """Draws from the exemplars of the eligible slots, uniformly and without replacement.

  Args:
    state: the ring.
    key: random key.
    count: static; how many.
    eligible_slots: bool `[S]`.

  Returns:
    `(items, mask)`: leaves `[count, ...]` and bool `[count]`. If fewer than `count` exemplars are
    eligible, each of them comes once and the rows beyond have mask False: they hold anything.
  """
  places, mask = choose(key, _flat(valid(state) & eligible_slots[:, None]), count)
  num_places = jax.tree.leaves(state.items)[0].shape[1]
  slot, place = places // num_places, places % num_places
  return jax.tree.map(lambda leaf: leaf[slot, place], state.items), mask
