"""Parameters with a row for each task."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

TASK = "task"
"""The logical name of the first axis, which `tagjax.task_stacked` looks for."""


def drawn_by_task(initializer: Callable, num_tasks: int) -> Callable:
  """An initializer of `[T, *shape]`, marked as task-stacked, that draws each row by itself."""

  def draw(key, shape, dtype=jnp.float32):
    rows = jax.vmap(lambda key: initializer(key, shape, dtype))(jax.random.split(key, num_tasks))
    return nn.LogicallyPartitioned(rows, (TASK, *[None] * len(shape)))

  return draw


def row_of(tree: chex.ArrayTree, task: chex.Array) -> chex.ArrayTree:
  """The rows of one task."""
  return jax.tree.map(lambda rows: jax.lax.dynamic_index_in_dim(rows, task, 0, False), tree)


def narrowed(used: chex.ArrayTree, needed: chex.Array) -> chex.ArrayTree:
  """What of the parameters is in use, see `tagjax.engine.growth`, less what is not needed.

  Args:
    used: bool arrays that broadcast to the parameters.
    needed: bool, its axes are the first ones of the parameters.
  """

  def one(mask):
    return mask & needed.reshape(*needed.shape, *[1] * (mask.ndim - needed.ndim))

  return jax.tree.map(one, used)
