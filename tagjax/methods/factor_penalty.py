r"""Penalties of the factors from which networks such as `tf` and `dfcnn` make their kernels."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Method
from tagjax.core.register import register, register_section
from tagjax.core.sharing import ROUTING, searched_layers
from tagjax.transforms.checks import check_range

_TINY = 1e-12  # the root of an orthogonal matrix's deviation, 0, has no gradient


@register_section("factors")
class FactorPenalties(NamedTuple):
  """What `factor_penalty`, `lasem` and `darts` add for the layers that tasks share.

  Attributes:
    orthogonality: weight of the deviation of `tf`'s matrices from orthogonal ones; at least 0.
    base_l2: weight of half the square of `dfcnn`'s bases; at least 0.
    own_l2: weight of half the square of `dfcnn`'s filters, their biases and tensors; at least 0.
  """

  orthogonality: float = 0.05
  base_l2: float = 1e-7
  own_l2: float = 1e-9


@register("factor_penalty", kind="modifier", shares="factors", needs_past=False)
def factor_penalty(
  orthogonality: float = 0.05, base_l2: float = 1e-7, own_l2: float = 1e-9
) -> Method:
  r"""Keeps the factors of shared layers orthogonal (`tf`) or small (`dfcnn`).

  Adds the gradient of, over the shared layers of the task t being learned,

      tf:     orthogonality · Σ_l Σ_i ‖U_iᵀ U_i − I‖_F
      dfcnn:  Σ_l (base_l2 · ½ ‖K‖² + own_l2 · ½ (‖D‖² + ‖bias'‖² + ‖V‖²))

  with the factors of t. Biases of convolutions are left alone, and so is `tf`'s common tensor.

  Args:
    orthogonality: weight; at least 0.
    base_l2: weight; at least 0.
    own_l2: weight; at least 0.

  Returns:
    The method; it has no state.

  Raises:
    ValueError: if a weight is negative; in `init`, if no layer of the network has factors.

  Differs from the reference code: that squares the L2 penalty of `dfcnn` once more, which makes
  nothing of it; give weights of 0 for that.
  """
  penalties = checked(orthogonality, base_l2, own_l2)

  def init(params):
    if not any(has_factors(layer) for layer in params.values()):
      raise ValueError(
        "factor_penalty finds no factors in the model: it is for the models tf and dfcnn, with "
        "layers that are shared"
      )
    return ()

  def update(updates, state, params, *, at):
    names = [name for name, layer in params.items() if has_factors(layer)]
    weights = dict.fromkeys(names, jnp.ones(()))
    if ROUTING in at.variables:
      row = at.variables[ROUTING]["sharing"][at.task_id].astype(jnp.float32)
      weights = dict(zip(searched_layers(params), row, strict=True))
    return add_gradient(updates, params, at.task_id, weights, penalties), state

  return Method(init, update)


def checked(orthogonality: float, base_l2: float, own_l2: float) -> FactorPenalties:
  """The penalties, if no weight is negative."""
  for name, value in zip(FactorPenalties._fields, (orthogonality, base_l2, own_l2), strict=True):
    check_range(name, value, 0.0, float("inf"), "[0, inf)")
  return FactorPenalties(orthogonality, base_l2, own_l2)


def has_factors(layer: chex.ArrayTree) -> bool:
  """Whether the parameters of a layer hold factors of each task."""
  return isinstance(layer, Mapping) and "factors" in layer


def add_gradient(
  updates: chex.ArrayTree,
  params: chex.ArrayTree,
  task_id: chex.Array,
  weights: Mapping[str, chex.Array],
  penalties: FactorPenalties,
) -> chex.ArrayTree:
  """`updates` with the gradient of the penalties.

  Args:
    updates: a tree like the parameters.
    params: by layer; those with `factors` count.
    task_id: int32 scalar, the task whose factors count.
    weights: float scalar of each layer with factors, how much of it is shared.
    penalties: the weights of the terms.
  """
  layers = {name: layer for name, layer in params.items() if has_factors(layer)}
  gradient = jax.grad(_penalty)(layers, task_id, weights, penalties)
  added = {name: jax.tree.map(jnp.add, updates[name], grad) for name, grad in gradient.items()}
  return {**updates, **added}


def _penalty(layers, task_id, weights, penalties: FactorPenalties) -> chex.Array:
  total = jnp.zeros(())
  for name, layer in layers.items():
    factors = {
      leaf: jax.lax.dynamic_index_in_dim(rows, task_id, 0, keepdims=False)
      for leaf, rows in layer["factors"].items()
    }
    if "u1" in factors:
      matrices = [factors[leaf] for leaf in ("u1", "u2", "u3", "u4")]
      term = penalties.orthogonality * sum(map(_far_from_orthogonal, matrices))
    else:
      own = sum(jnp.sum(jnp.square(factors[leaf])) for leaf in ("filter", "filter_bias", "mix"))
      base = jnp.sum(jnp.square(layer["shared"]["base"]))
      term = 0.5 * (penalties.base_l2 * base + penalties.own_l2 * own)
    total += weights[name] * term
  return total


def _far_from_orthogonal(matrix: chex.Array) -> chex.Array:
  product = jnp.matmul(matrix.T, matrix, precision="highest")
  return jnp.sqrt(jnp.sum(jnp.square(product - jnp.eye(len(matrix)))) + _TINY)
