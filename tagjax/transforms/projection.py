r"""Gradient projection: the nearest gradient that does not undo what other gradients want.

Pure functions of pytrees, used by `tagjax.methods.agem` and `tagjax.methods.gem`.
"""

import functools
import operator

import chex
import jax
import jax.numpy as jnp

from tagjax.core.mapping import Thin, is_thin
from tagjax.core.register import Family
from tagjax.transforms.gem_dual import solve_gem_dual

FAMILY = Family("projection", "the second projection undoes the first")
"""Methods that project the gradient."""


def agem_project(gradient: chex.ArrayTree, reference: chex.ArrayTree) -> chex.ArrayTree:
  r"""The gradient without its part against the reference.

      g' = g                          if <g, r> >= 0 or r = 0
      g' = g - <g, r> / <r, r> r      otherwise

  g' is the point nearest to g among those with `<g', r> >= 0`: a small step along -g' does not
  increase, to first order, the loss that r is the gradient of. All leaves count as one vector.

  Args:
    gradient: g, any pytree of float arrays.
    reference: r, a pytree of the same structure and shapes.

  Returns:
    g', with the structure and dtypes of `gradient`; bit for bit g where nothing conflicts. Inner
    products are computed in float32 at least. A reference that is not finite shows as NaN.

  References:
    Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019.

  Example:
    >>> print(agem_project(jnp.array([1.0, -2.0]), jnp.array([1.0, 1.0])))
    [ 1.5 -1.5]
  """
  inner = _inner(gradient, reference)
  square = _inner(reference, reference)
  keep = (inner >= 0) | (square == 0)
  weight = -inner / jnp.where(keep, 1, square)

  def project(g, r):
    return jnp.where(keep, g, (g + weight * r).astype(g.dtype))

  return jax.tree.map(project, gradient, reference)


def gem_project(
  gradient: chex.ArrayTree,
  gradients: chex.ArrayTree,
  mask: chex.Array | None = None,
  *,
  margin: chex.Numeric = 0.5,
  eps: chex.Numeric = 1e-3,
) -> chex.ArrayTree:
  r"""The gradient pushed out of conflict with several gradients at once.

  With the rows `g_k` of G and `q = G g`: g is kept if no `q_k < 0`. Otherwise

      v  = argmin_{v >= margin} 1/2 v' (G G' + eps I) v + q' v
      g' = g + G' v

  With margin 0 and eps near 0, g' is the point nearest to g with `<g', g_k> >= 0` for all k (for
  one row: `agem_project`). A larger margin adds at least that multiple of every `g_k`, whether it
  is in conflict or not, and so favours the old tasks.

  Args:
    gradient: g, any pytree of float arrays.
    gradients: pytree of the same structure, leaves with a leading axis `[N]`: the `g_k`. A matrix
      may be a `tagjax.core.mapping.Thin` of `[N, R, I]` and `[N, R, O]`.
    mask: bool `[N]`, the rows that count; what stands in the others is ignored. Default: all.
    margin: lower bound of v, at least 0.
    eps: added to the diagonal; greater than 0 keeps v finite where rows oppose one another. It is
      not relative: gradients with norms below its root are corrected by less than needed.

  Returns:
    g', with the structure and dtypes of `gradient`; bit for bit g where nothing conflicts.

  Differs from the reference code: that computes in float64 with a QP package; here all is float32
  (see `tagjax.transforms.gem_dual`).

  References:
    Lopez-Paz, Ranzato. Gradient Episodic Memory for Continual Learning. NeurIPS 2017.

  Example:
    >>> print(gem_project(jnp.array([1.0, -2.0]), jnp.array([[1.0, 1.0]]), margin=0.5))
    [ 1.5 -1.5]
  """
  leaves, structure = jax.tree.flatten(gradient)
  rows = [_rows(node) for node in structure.flatten_up_to(gradients)]
  count = jax.tree.leaves(rows)[0].shape[0]
  mask = jnp.ones(count, bool) if mask is None else mask
  rows = [_masked(row, mask) for row in rows]

  linear = _total(_inner_products(row, _wide(g)) for row, g in zip(rows, leaves, strict=True))

  def pushed():
    gram = _total(map(_gram, rows))
    gram = (gram + gram.T) / 2 + eps * jnp.eye(count, dtype=gram.dtype)
    weights = solve_gem_dual(gram, linear, mask, margin=margin)

    def push(g, row):
      return (g + _weighted_sum(weights, row).reshape(g.shape)).astype(g.dtype)

    return [push(g, row) for g, row in zip(leaves, rows, strict=True)]

  # Most of the work is of steps in conflict only.
  is_free = jnp.all(~mask | (linear >= 0))
  return structure.unflatten(jax.lax.cond(is_free, lambda: leaves, pushed))


def _inner(one: chex.ArrayTree, two: chex.ArrayTree) -> chex.Array:
  """Sum over all leaves of the products, as a scalar of float32 at least."""
  products = jax.tree.map(lambda a, b: jnp.sum(_wide(a) * _wide(b)), one, two)
  return jax.tree.reduce(operator.add, products, jnp.zeros((), jnp.float32))


def _wide(array: chex.Array) -> chex.Array:
  return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _rows(node: chex.Array | Thin) -> chex.Array | Thin:
  if is_thin(node):
    return Thin(*map(_wide, node))
  return _wide(node).reshape(node.shape[0], -1)


def _masked(rows: chex.Array | Thin, mask: chex.Array) -> chex.Array | Thin:
  """0 for the rows that do not count, whatever they hold."""
  if is_thin(rows):
    return Thin(*(jnp.where(mask[:, None, None], factor, 0) for factor in rows))
  return jnp.where(mask[:, None], rows, 0)


def _inner_products(rows: chex.Array | Thin, vector: chex.Array) -> chex.Array:
  """`[N]`, of each row with the gradient."""
  if not is_thin(rows):
    return _dot(rows, vector.reshape(-1))
  through = _dot(_joined(rows.left), vector).reshape(rows.right.shape)
  return jnp.sum(through * rows.right, axis=(1, 2))


def _gram(rows: chex.Array | Thin) -> chex.Array:
  """`[N, N]`, of each row with each."""
  if not is_thin(rows):
    return _dot(rows, rows.T)
  number, each = rows.left.shape[:2]
  left, right = map(_joined, rows)
  products = _dot(left, left.T) * _dot(right, right.T)
  return jnp.sum(products.reshape(number, each, number, each), axis=(1, 3))


def _weighted_sum(weights: chex.Array, rows: chex.Array | Thin) -> chex.Array:
  """The sum of the rows, as long as a gradient."""
  if not is_thin(rows):
    return _dot(weights, rows)
  return _dot(_joined(weights[:, None, None] * rows.left).T, _joined(rows.right))


def _joined(factor: chex.Array) -> chex.Array:
  """`[N, R, I]` as `[N R, I]`."""
  return factor.reshape(-1, factor.shape[-1])


def _dot(one: chex.Array, two: chex.Array) -> chex.Array:
  """The product in full precision: accelerators round the factors of a default one."""
  return jnp.matmul(one, two, precision=jax.lax.Precision.HIGHEST)


def _total(terms) -> chex.Array:
  return functools.reduce(operator.add, terms)
