"""Passes over a part of a batch whose size is known only when the step runs.

Shapes are static, so a pass over the rows of one task would take the whole batch, masked, and a
loop over tasks would take it once a task. Here a pass is compiled in a few sizes, and the smallest
one that holds the rows is run.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import custom_batching

from tagjax.core.types import Batch

_SMALLEST = 8  # rows; a smaller pass is hardly faster
_RATIO = 4  # of a size to the next smaller one: each is compiled


def pass_sizes(rows: int) -> tuple[int, ...]:
  """The sizes in which a pass over at most `rows` rows is compiled, ascending.

  A pass over n rows takes less than 4 n rows, or 8. Over parts of a batch of B rows, T parts in
  all, that is less than 4 B + 8 T.

  >>> pass_sizes(128), pass_sizes(10), pass_sizes(4)
  ((8, 32, 128), (3, 10), (4,))
  """
  sizes = [rows]
  while sizes[-1] > _SMALLEST:
    sizes.append(-(-sizes[-1] // _RATIO))
  return tuple(reversed(sizes))


def run_pass(
  run: Callable[[int, Any], Any], count: chex.Array, rows: int, state: chex.ArrayTree
) -> chex.ArrayTree:
  """`run(size, state)` of the smallest size that holds `count` rows; `state` where `count` is 0.

  Under `vmap` (seeds side by side) a branch on a number that differs between lanes would run all
  branches. So all lanes take the size that the largest one needs; a lane without rows keeps its
  state.

  Args:
    run: from a static number of rows, at least `count`, and the state to the new state. It may be
      run where `count` is 0.
    count: int32 scalar, at most `rows`; the same on all devices.
    rows: static.
    state: tree of arrays.

  >>> run_pass(lambda size, state: state + size, jnp.int32(9), 32, jnp.int32(0)).item()
  32
  """
  sizes = pass_sizes(rows)

  def branch(size):
    return lambda: _unless_empty(count, run(size, state), state)

  place = jnp.sum(most_of_lanes(count) > jnp.asarray((0, *sizes)))
  return jax.lax.switch(place, [lambda: state, *map(branch, sizes)])


def rows_by_task(batch: Batch, num_tasks: int) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Where the valid rows of each task stand.

  Returns:
    `(order, start, count)`: int32 `[B]`, the rows task by task, padding last; int32 `[T]` each,
    the place in it of a task's first row, and the number of its rows.
  """
  task = jnp.where(batch.mask, batch.task_id, num_tasks)
  count = jnp.zeros(num_tasks, jnp.int32).at[task].add(1, mode="drop")
  order = jnp.argsort(task, stable=True).astype(jnp.int32)
  return order, jnp.cumsum(count) - count, count


def part_of(
  batch: Batch, order: chex.Array, start: chex.Array, count: chex.Array, size: int
) -> Batch:
  """`size` rows of the batch, of which the first `count` are `order[start], order[start + 1], ...`.

  The mask of the others is False.
  """
  places = jnp.arange(size)
  rows = order[jnp.minimum(start + places, order.shape[0] - 1)]
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], batch)._replace(mask=places < count)


@custom_batching.custom_vmap
def most_of_lanes(value: chex.Array) -> chex.Array:
  """The scalar; under `vmap` the largest of all lanes, one number for all of them."""
  return value


@most_of_lanes.def_vmap
def _(axis_size, in_batched, value):
  del axis_size
  return most_of_lanes(jnp.max(value, axis=0) if in_batched[0] else value), False


@custom_batching.custom_vmap
def _unless_empty(count: chex.Array, new: chex.ArrayTree, old: chex.ArrayTree) -> chex.ArrayTree:
  """`new`; under `vmap` `old` in the lanes whose `count` is 0."""
  del count, old
  return new


@_unless_empty.def_vmap
def _(axis_size, in_batched, count, new, old):
  def lanes(tree, batched):
    return jax.tree.map(
      lambda leaf, is_batched: (
        leaf if is_batched else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
      ),
      tree,
      batched,
    )

  count, new, old = (lanes(*pair) for pair in zip((count, new, old), in_batched, strict=True))
  chosen = jax.vmap(lambda n, a, b: jax.tree.map(lambda x, y: jnp.where(n > 0, x, y), a, b))(
    count, new, old
  )
  return chosen, jax.tree.map(lambda _: True, new)
