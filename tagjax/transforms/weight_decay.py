"""Weight decay as a part of the gradient."""

import math
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.register import register
from tagjax.transforms.checks import check_choice, check_range, is_off

Norm = Literal["L2", "sign"]


@register("weight_decay", kind="modifier", traced=("strength",), needs_past=False)
def weight_decay(
  strength: float = 1e-4, norm: Norm = "L2"
) -> optax.GradientTransformationExtraArgs:
  """Adds `strength * p` or `strength * sign(p)` to the gradient.

  Stands before the optimizer, so that momentum and second moments see the sum, as PyTorch's
  optimizers have it (`adamw` decouples it). All parameters decay, biases included; to leave some
  out, use `optax.masked`.

  Args:
    strength: weight of the decay, at least 0; 0 leaves the updates as they are, to the bit.
    norm: `"L2"`: `strength * p`, the gradient of `strength / 2 ||p||^2`. `"sign"`:
      `strength * sign(p)`, the gradient of `strength ||p||_1`, as the authors' code of MAS has it.

  Returns:
    A stateless transformation whose `update` needs `params` and ignores extra arguments. Updates
    keep their dtype.

  Raises:
    ValueError: for an argument out of range; in `update`, if `params` is missing.

  Example:
    >>> params = {"w": jnp.array([2.0, -0.5, 0.0])}
    >>> transform = weight_decay(0.1, "sign")
    >>> updates, _ = transform.update({"w": jnp.zeros(3)}, transform.init(params), params)
    >>> print(updates["w"])
    [ 0.1 -0.1  0. ]

  References:
    Aljundi, Babiloni, Elhoseiny, Rohrbach, Tuytelaars. Memory Aware Synapses: Learning what (not)
    to forget. ECCV 2018.
  """
  check_range("strength", strength, 0.0, math.inf, "[0, inf)")
  check_choice("norm", norm, get_args(Norm))
  direction = jnp.sign if norm == "sign" else jnp.asarray

  def init(params: optax.Params) -> optax.EmptyState:
    del params
    return optax.EmptyState()

  def update(updates: chex.ArrayTree, state: optax.EmptyState, params=None, **extra: Any):
    del extra
    if is_off(strength):
      return updates, state
    if params is None:
      raise ValueError("weight_decay needs the parameters: call update(grads, state, params)")

    def one(update, p):  # a tensor without gradient is left alone
      return None if update is None else (update + strength * direction(p)).astype(update.dtype)

    return jax.tree.map(one, updates, params, is_leaf=lambda leaf: leaf is None), state

  return optax.GradientTransformationExtraArgs(init, update)
