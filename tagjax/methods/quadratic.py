"""The quadratic penalty that EWC, MAS, SI and RWalk share: they differ in the importance only.

    penalty(p) = strength · Σ importance · (p - anchor)²
    gradient   = 2 · strength · importance · (p - anchor)

There is no factor 1/2 in front of the penalty. Methods add its gradient to the task's gradient
before the optimizer sees it, so that momentum and RMSProp's averages contain it.
"""

import math
from typing import TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.transforms.checks import check_range, is_off

Strength: TypeAlias = float | chex.Numeric


def zeros(params: chex.ArrayTree) -> chex.ArrayTree:
  """An importance of 0 for every parameter, in float32 or wider."""
  return jax.tree.map(lambda p: jnp.zeros(p.shape, _wide(p)), params)


def copy(params: chex.ArrayTree) -> chex.ArrayTree:
  """Copies `params` to serve as an anchor: state that shares their buffers cannot be donated."""
  return jax.tree.map(jnp.copy, params)


def pull(
  params: chex.ArrayTree,
  importance: chex.ArrayTree,
  anchor: chex.ArrayTree,
  strength: Strength,
) -> chex.ArrayTree:
  """The gradient of the penalty: `2 strength importance (params - anchor)`.

  Args:
    params: float tree.
    importance: tree of the same shapes, not negative.
    anchor: tree of the same shapes, the parameters that are pulled towards.
    strength: scalar.

  Returns:
    Tree of the same shapes, float32 or wider.

  >>> one = {"w": jnp.ones(2)}
  >>> pull({"w": jnp.array([1.0, 3.0])}, one, one, strength=0.5)["w"].tolist()
  [0.0, 2.0]
  """

  def leaf(p, f, a):
    return 2 * strength * f * (p.astype(_wide(p)) - a)

  return jax.tree.map(leaf, params, importance, anchor)


def clip_by_norm(tree: chex.ArrayTree, max_norm: float | None) -> chex.ArrayTree:
  """Scales `tree` down to the global L2 norm `max_norm` if it is longer; None leaves it alone.

  >>> clip_by_norm({"w": jnp.array([3.0, 4.0])}, 1.0)["w"].round(3).tolist()
  [0.6000000238418579, 0.800000011920929]
  """
  if max_norm is None:
    return tree
  norm = optax.tree.norm(tree)
  scale = jnp.where(norm > max_norm, max_norm / jnp.maximum(norm, max_norm), 1.0)
  return jax.tree.map(lambda x: x * scale.astype(x.dtype), tree)


def add(updates: chex.ArrayTree, tree: chex.ArrayTree) -> chex.ArrayTree:
  """`updates + tree`, in the dtype of `updates`."""
  return jax.tree.map(lambda u, x: (u + x).astype(u.dtype), updates, tree)


def add_pull(
  updates: chex.ArrayTree,
  params: chex.ArrayTree,
  importance: chex.ArrayTree,
  anchor: chex.ArrayTree,
  *,
  strength: Strength,
  clip: float | None = None,
) -> chex.ArrayTree:
  """`updates + clip_by_norm(pull(...), clip)`; a strength of 0 returns `updates` as they are.

  Args:
    updates: the gradient so far.
    params: see `pull`.
    importance: see `pull`.
    anchor: see `pull`.
    strength: see `pull`. The Python number 0 adds nothing, whatever the importance is: not even
      the sign of a zero changes.
    clip: largest global L2 norm of the pull alone, or None.

  Returns:
    Tree like `updates`, of the same dtypes.
  """
  if is_off(strength):
    return updates
  return add(updates, clip_by_norm(pull(params, importance, anchor, strength), clip))


def min_max(tree: chex.ArrayTree) -> chex.ArrayTree:
  """`tree` with its smallest entry mapped to 0 and its largest to 1; 0 where all are equal.

      (x - min x) / (max x - min x + 1e-32), with minimum and maximum over the whole network

  >>> min_max({"w": jnp.array([1.0, 2.0]), "b": jnp.array([5.0])})["w"].tolist()
  [0.0, 0.25]
  """
  low = jnp.stack([jnp.min(leaf) for leaf in jax.tree.leaves(tree)]).min()
  high = jnp.stack([jnp.max(leaf) for leaf in jax.tree.leaves(tree)]).max()
  return jax.tree.map(lambda x: (x - low) / (high - low + 1e-32), tree)


def check(strength: Strength, clip: float | None = None) -> None:
  """Refuses a strength below 0 and a clip that is not above 0.

  Raises:
    ValueError: if one of them is out of range.
  """
  check_range("strength", strength, 0, math.inf, "[0, inf)")
  if clip is not None:
    check_range("clip", clip, 0, math.inf, "(0, inf), or None not to clip")


def _wide(p: chex.Array):
  """Squared gradients of half precision underflow: importances are float32 at least."""
  return jnp.promote_types(p.dtype, jnp.float32)
