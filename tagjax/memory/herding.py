"""Herding: exemplars whose mean feature stays as near as possible to that of all examples.

References:
  Welling. Herding Dynamical Weights to Learn. ICML 2009.
  Rebuffi, Kolesnikov, Sperl, Lampert. iCaRL: Incremental Classifier and Representation Learning.
  CVPR 2017.
"""

import chex
import jax
import jax.numpy as jnp


def normalized(features: chex.Array) -> chex.Array:
  """Features of Euclidean length 1 in float32; zeros stay zeros.

  Args:
    features: float `[..., d]`.

  >>> normalized(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
  [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
  """
  features = features.astype(jnp.float32)
  square = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
  return features * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def ranks(
  features: chex.Array, group: chex.Array, mask: chex.Array, count: chex.Numeric, *, groups: int
) -> chex.Array:
  """The order in which herding takes the rows of each group.

  With mu the mean of a group's features f, the k-th row (from 1) that it takes is, of those that it
  has not taken yet, the one that brings the mean of the taken ones nearest to mu:

      p_k = argmin_i || mu - (f_i + Σ_{j < k} f_{p_j}) / k ||

  Of equally near ones the first row. All groups are gone through side by side, so that a step costs
  one product of all rows with their groups' targets.

  Args:
    features: float `[n, d]`.
    group: int32 `[n]`, of each row, in `0 .. groups - 1`.
    mask: bool `[n]`; rows where it is False are not there.
    count: how many rows are taken of each group at most; may be traced.
    groups: static, number of groups.

  Returns:
    int32 `[n]`: k - 1 for the k-th row that is taken; n for the others.

  >>> f = jnp.array([[1.0], [5.0], [2.1]])
  >>> ranks(f, jnp.zeros(3, jnp.int32), jnp.ones(3, bool), 2, groups=1).tolist()
  [3, 1, 0]
  """
  n = features.shape[0]
  features = features.astype(jnp.float32)
  place = jnp.where(mask, group, groups)
  size = jnp.zeros(groups, jnp.int32).at[place].add(1, mode="drop")
  total = jnp.zeros((groups, features.shape[1]), jnp.float32).at[place].add(features, mode="drop")
  mean = total / jnp.maximum(size, 1)[:, None]
  half_square = 0.5 * jnp.sum(jnp.square(features), axis=-1)
  row = jnp.arange(n, dtype=jnp.int32)

  def take(k, carry):
    rank, taken = carry
    target = (k + 1) * mean - taken
    # The squared distance, over -2 and without what a group's rows have in common.
    score = jnp.sum(features * target[group], axis=-1) - half_square
    is_free = mask & (rank == n)
    score = jnp.where(is_free, score, -jnp.inf)
    best = jnp.full(groups, -jnp.inf).at[place].max(score, mode="drop")
    is_best = is_free & (score == best[group])
    chosen = (
      jnp.full(groups, n, jnp.int32).at[jnp.where(is_best, group, groups)].min(row, mode="drop")
    )
    rank = rank.at[chosen].set(k, mode="drop")
    own = features.at[chosen].get(mode="fill", fill_value=0)
    return rank, taken + own

  steps = jnp.minimum(count, jnp.max(size, initial=0)).astype(jnp.int32)
  start = jnp.full(n, n, jnp.int32), jnp.zeros_like(mean)
  rank, _ = jax.lax.fori_loop(0, steps, take, start)
  return rank
