"""Growth: which of the parameters the tasks so far need.

Shapes are static, so that what a network allocates tells nothing of how it grows. In use are all
parameters but the rows of tasks that have not begun (`tagjax.task_stacked`); a model narrows that
by a function `parameters_in_use(variables, used, tasks) -> used`, a method by `Method.in_use`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Usage(NamedTuple):
  """What is in use after a task.

  Attributes:
    counts: int32 scalars, entries in use of each parameter tensor, in the order of the leaves.
    outcome: see `tagjax.core.method.Method`.
  """

  counts: list[chex.Array]
  outcome: dict[str, chex.Array]


def rows_begun(stacked: chex.ArrayTree, params: chex.ArrayTree, tasks: np.ndarray) -> Any:
  """The parameters without the rows of tasks that have not begun.

  Args:
    stacked: see `tagjax.task_stacked`.
    params: the parameters, or their shapes.
    tasks: bool `[T]`, those that have begun.

  Returns:
    A tree like the parameters of bool arrays that broadcast to them.

  >>> rows_begun({"w": True}, {"w": np.zeros((2, 3))}, np.array([True, False]))["w"].tolist()
  [[True], [False]]
  """

  def one(is_stacked, leaf):
    return tasks.reshape(-1, *[1] * (len(leaf.shape) - 1)) if is_stacked else np.ones((), bool)

  return jax.tree.map(one, stacked, params)


def counts(used: chex.ArrayTree, params: chex.ArrayTree, xp: Any = jnp) -> list[Any]:
  """How many entries of each parameter tensor are in use.

  Args:
    used: bool arrays that broadcast to the parameters.
    params: the parameters, or their shapes.
    xp: `numpy` or `jax.numpy`.

  Raises:
    ValueError: if an array does not broadcast to its parameter.

  >>> counts({"w": np.array([[True], [False]])}, {"w": np.zeros((2, 3))}, np)
  [np.int32(3)]
  """

  def one(path, mask, leaf):
    try:
      fits = np.broadcast_shapes(mask.shape, leaf.shape) == tuple(leaf.shape)
    except ValueError:
      fits = False
    if not fits:
      name = jax.tree_util.keystr(path)
      raise ValueError(
        f"what is in use of the parameter {name} has the shape {mask.shape}, which does not "
        f"broadcast to {tuple(leaf.shape)}"
      )
    each = math.prod(leaf.shape) // math.prod(mask.shape) if math.prod(leaf.shape) else 0
    return xp.sum(mask, dtype=np.int32) * np.int32(each)

  return jax.tree.leaves(jax.tree_util.tree_map_with_path(one, used, params))


def of_model(model: Any) -> Callable[..., Any] | None:
  """The model's own function, if it has one."""
  return None if isinstance(model, type) else getattr(model, "parameters_in_use", None)
