r"""Penalties that make weights exactly 0, whatever optimizer takes the step.

The gradient of a penalty that has a corner at 0 is that of the side on which a weight is, and what
is at 0 leaves it only if the loss pulls harder than the penalty. A step that crosses 0 stops there
(`stopped`). With SGD and small rates that is the proximal step, `|w|` shrunk by rate times
strength; unlike it, it needs no learning rate and works with RMSProp or TAG as well. For single
weights this is the rule of orthant-wise quasi-Newton methods.

References:
  Andrew, Gao. Scalable Training of L1-Regularized Log-Linear Models. ICML 2007.
"""

import chex
import jax.numpy as jnp


def with_l1(grad: chex.Array, value: chex.Array, strength: chex.Numeric) -> chex.Array:
  """The gradient with that of `strength Σ |w|`.

  >>> with_l1(jnp.array([0.5, 0.5, 3.0]), jnp.array([-1.0, 0.0, 0.0]), 2.0).tolist()
  [-1.5, 0.0, 1.0]
  """
  at_zero = jnp.sign(grad) * jnp.maximum(jnp.abs(grad) - strength, 0)
  return jnp.where(value == 0, at_zero, grad + strength * jnp.sign(value))


def stopped(new: chex.Array, value: chex.Array, grad: chex.Array) -> chex.Array:
  """The weights after a step, 0 where they have crossed it, or have left it uphill.

  Args:
    new: after the step.
    value: before it.
    grad: of `with_l1`.

  >>> stopped(jnp.array([-0.1, 0.2, 0.1]), jnp.array([0.3, 0.3, 0.0]), jnp.zeros(3)).tolist()
  [0.0, 0.20000000298023224, 0.0]
  """
  side = jnp.where(value == 0, -jnp.sign(grad), jnp.sign(value))
  return jnp.where(jnp.sign(new) == side, new, 0)


def with_group(
  grad: chex.Array, value: chex.Array, counts: chex.Array, strength: chex.Numeric
) -> chex.Array:
  """The gradient with that of `strength Σ_o ‖w_o‖₂`, a group for each output.

  Args:
    grad: `[..., O]`.
    value: `[..., O]`.
    counts: bool, broadcasts to them, of as many axes: the weights that are there.
    strength: of the penalty.
  """
  norm, pull = group_norms(value, counts), group_norms(grad, counts)
  at_zero = grad * jnp.maximum(1 - strength / jnp.maximum(pull, 1e-12), 0)
  moved = grad + strength * value / jnp.maximum(norm, 1e-12)
  return jnp.where(counts, jnp.where(norm == 0, at_zero, moved), grad)


def stopped_groups(new: chex.Array, value: chex.Array, counts: chex.Array) -> chex.Array:
  """The weights after a step, 0 where a group has turned its back on where it was."""
  others = tuple(range(new.ndim - 1))
  inner = jnp.sum(jnp.where(counts, new * value, 0), axis=others, keepdims=True)
  has_turned = (inner <= 0) & (group_norms(value, counts) > 0)
  return jnp.where(counts & has_turned, 0, new)


def group_norms(value: chex.Array, counts: chex.Array) -> chex.Array:
  """`[..., 1, O]` of `[..., I, O]`: the norm over all axes but the last, of what counts."""
  squares = jnp.where(counts, jnp.square(value), 0)
  return jnp.sqrt(jnp.sum(squares, axis=tuple(range(value.ndim - 1)), keepdims=True))
