r"""The small quadratic program of GEM, solved on the device: no QP package, fixed shapes.

One variable for each earlier task. Because there are few, an active-set method that solves one
small linear system an iteration is both fast and exact up to rounding, however correlated the
gradients are (which is where coordinate descent needs thousands of sweeps).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# Added to the unit diagonal so that Cholesky survives rows that are equal up to rounding; taken
# out again by the refinement steps wherever float32 can tell the rows apart.
_RIDGE = 1e-5
_REFINEMENTS = 3
# Slopes below this fraction of the terms they are summed from are rounding.
_TOLERANCE = 1e-6


class _Search(NamedTuple):
  """The active set and where it has got to; all arrays have length n.

  Attributes:
    value: float, the point, at least 0.
    free: bool, the variables that may leave their bound.
    rejected: bool, those that rounding sent straight back to it.
    iteration: int32 scalar.
    done: bool scalar.
  """

  value: chex.Array
  free: chex.Array
  rejected: chex.Array
  iteration: chex.Array
  done: chex.Array


def solve_gem_dual(
  gram: chex.Array,
  linear: chex.Array,
  mask: chex.Array | None = None,
  *,
  margin: chex.Numeric = 0.0,
  max_iterations: int | None = None,
) -> chex.Array:
  r"""Minimises `1/2 v' P v + q' v` over `v >= margin`.

  The variables are scaled to a unit diagonal and shifted to `u = sqrt(P_kk) (v - margin) >= 0`,
  then Lawson and Hanson's active-set method runs until no variable at its bound wants to leave it.
  Jit-able and vmappable; the number of iterations depends on the data and is bounded.

  Differs from the reference code: that hands the program to a QP package, in float64.

  Args:
    gram: P, float `[n, n]`, symmetric and positive semidefinite.
    linear: q, float `[n]`.
    mask: bool `[n]`, the variables that take part; the others are 0. Default: all.
    margin: lower bound of every variable that takes part, at least 0.
    max_iterations: bound on the linear systems solved; default 10 n.

  Returns:
    v, float `[n]`. Where P is singular the minimum is not unique: `P v` is, and one such v is
    returned. NaN if P or q is not finite where `mask`.

  References:
    Lawson, Hanson. Solving Least Squares Problems, chapter 23. Prentice-Hall 1974.
    Bro, de Jong. A fast non-negativity-constrained least squares algorithm. Journal of
      Chemometrics 11, 1997.

  Example:
    >>> weights = solve_gem_dual(2 * jnp.eye(2), jnp.array([-1.0, 3.0]))
    >>> [round(float(weight), 6) for weight in weights]
    [0.5, 0.0]
  """
  size = linear.shape[0]
  mask = jnp.ones(size, bool) if mask is None else mask
  limit = 10 * size if max_iterations is None else max_iterations
  gram = jnp.where(mask[:, None] & mask[None, :], gram, 0)
  margins = jnp.where(mask, margin, 0).astype(gram.dtype)
  diagonal = jnp.diagonal(gram)
  movable = mask & (diagonal != 0)
  scale = jnp.sqrt(jnp.where(movable, diagonal, 1))
  both = movable[:, None] & movable[None, :]
  curvature = jnp.where(both, gram / (scale[:, None] * scale[None, :]), 0)
  offset = jnp.where(movable, (linear + _times(gram, margins)) / scale, 0)

  value = _nonnegative(curvature, offset, movable, limit).value
  # The search may miss what is not finite. 0, or NaN if there is any; no NaN is written down, which
  # `jax.debug_nans` would take for a fault.
  flaw = jnp.sum(0 * curvature) + jnp.sum(0 * offset)
  return margins + value / scale + flaw


def _nonnegative(
  curvature: chex.Array, offset: chex.Array, movable: chex.Array, limit: int
) -> _Search:
  """Minimises `1/2 u' C u + c' u` over `u >= 0`; C has a unit diagonal where `movable`.

  The search is done unless it took more than `limit` iterations.
  """
  nothing = jnp.zeros_like(movable)
  start = _Search(
    jnp.zeros_like(offset), nothing, nothing, jnp.zeros((), jnp.int32), jnp.zeros((), bool)
  )

  def body(search: _Search) -> _Search:
    target = _minimum_over(curvature, offset, search.free)
    value, dropped = _walk(search.value, target, search.free)
    arrived = ~jnp.any(dropped)
    free = search.free & ~dropped

    # A variable freed in the last iteration and sent back at once gets no second chance until the
    # point has moved: rounding would repeat the two for ever.
    forgiven = arrived & jnp.any(value != search.value)
    rejected = (search.rejected & ~forgiven) | (dropped & (search.value == 0))

    slope = _times(curvature, value) + offset
    terms = _times(jnp.abs(curvature), value) + jnp.abs(offset)
    wants = movable & ~free & ~rejected & (slope < -_TOLERANCE * terms)
    steepest = jnp.argmin(jnp.where(wants, slope, jnp.inf))
    entering = wants & (jnp.arange(offset.shape[0]) == steepest) & arrived
    done = arrived & ~jnp.any(wants)
    return _Search(value, free | entering, rejected, search.iteration + 1, done)

  def unfinished(search: _Search) -> chex.Array:
    return ~search.done & (search.iteration < limit)

  return jax.lax.while_loop(unfinished, body, start)


def _minimum_over(curvature: chex.Array, offset: chex.Array, free: chex.Array) -> chex.Array:
  """The minimum if only the `free` variables may move, and may be negative; the others are 0."""
  both = free[:, None] & free[None, :]
  matrix = jnp.where(both, curvature, 0)
  regular = matrix + jnp.diag(jnp.where(free, _RIDGE, 1).astype(matrix.dtype))
  factor = jax.scipy.linalg.cho_factor(regular)
  wanted = jnp.where(free, -offset, 0)
  value = jax.scipy.linalg.cho_solve(factor, wanted)
  for _ in range(_REFINEMENTS):
    value += jax.scipy.linalg.cho_solve(factor, wanted - _times(matrix, value))
  return value


def _walk(value: chex.Array, target: chex.Array, free: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Goes from `value` to `target` until a variable meets 0; `(point, those that did)`."""
  blocking = free & (target <= 0)
  way = jnp.where(blocking & (value > 0), value - target, 1)
  fraction = jnp.where(blocking, value / way, jnp.inf)
  length = jnp.minimum(jnp.min(fraction), 1)
  dropped = blocking & (fraction <= length)
  point = jnp.where(length < 1, value + length * (target - value), target)
  return jnp.where(free & ~dropped, jnp.maximum(point, 0), 0), dropped


def _times(matrix: chex.Array, vector: chex.Array) -> chex.Array:
  """The product in full precision: accelerators round the factors of a default one."""
  return jnp.matmul(matrix, vector, precision=jax.lax.Precision.HIGHEST)
