"""Batch normalisation whose statistics count valid rows only, on one device and on several."""

import math

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last, of the valid rows of all devices.

  In training, with n the number of valid elements per channel (valid rows × positions) on all
  devices together:

      mean = Σ x / n        var = Σ (x - mean)² / n
      y = scale · (x - mean) / √(var + epsilon) + bias
      running_mean ← momentum · running_mean + (1 - momentum) · mean
      running_var  ← momentum · running_var  + (1 - momentum) · var · n / (n - 1)

  Otherwise the running averages take the place of mean and var. Sums and counts are added up over
  devices, not averages of averages, so that a data-parallel step is the one-device step even where
  devices hold different numbers of valid rows. Running averages stay as they are if no row is
  valid; for n = 1 the variance, zero, is not corrected. Computed in float32 at least: in half
  precision a sum over a batch would lose its small terms.

  Params: "scale", "bias"; collection "batch_stats": "mean", "var"; all float32 `[C]`.

  Differs from `flax.linen.BatchNorm`: that keeps the biased variance, computes it as
  `E[x²] - E[x]²`, and averages masked statistics over devices without regard to their counts.

  Attributes:
    axis_name: name of the mapped axis of devices, None on one device.
    momentum: share of the old running average that is kept (PyTorch's momentum is 1 - this).
    epsilon: added to the variance.

  References:
    Ioffe and Szegedy, 2015, "Batch Normalization", https://arxiv.org/abs/1502.03167
  """

  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5

  @nn.compact
  def __call__(
    self, x: chex.Array, *, mask: chex.Array | None = None, train: bool = False
  ) -> chex.Array:
    """Normalises `x`.

    Args:
      x: float `[B, ..., C]`.
      mask: bool `[B]`, False where a row must not enter the statistics; None if all count.
      train: whether to use (and record) the batch's statistics instead of the running averages.

    Returns:
      `[B, ..., C]`, the dtype of `x`; also rows that do not count are normalised.
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    channels = x.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
    if train:
      # Devices are not mapped yet when the parameters are made.
      axis_name = None if self.is_initializing() else self.axis_name
      count, mean, var = masked_moments(x, mask, axis_name)
      if not self.is_initializing():
        unbiased = var * count / jnp.maximum(count - 1, 1)
        running_mean.value = self._follow(running_mean.value, mean, count)
        running_var.value = self._follow(running_var.value, unbiased, count)
    else:
      mean, var = running_mean.value, running_var.value
    factor = scale * jax.lax.rsqrt(var + self.epsilon)
    wide = (1,) * (x.ndim - 1) + channels
    y = (x - mean.reshape(wide)) * factor.reshape(wide) + bias.reshape(wide)
    return y.astype(dtype)

  def _follow(self, running: chex.Array, batch: chex.Array, count: chex.Array) -> chex.Array:
    # They are state, not a function to differentiate.
    moved = self.momentum * running + (1 - self.momentum) * jax.lax.stop_gradient(batch)
    return jnp.where(count > 0, moved, running)


def masked_moments(
  x: chex.Array, mask: chex.Array | None, axis_name: str | None
) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Count, mean and biased variance per channel, over the valid rows of all devices.

  Two passes over `x`: `E[x²] - E[x]²` would lose all digits where the mean is large against the
  spread, and is no faster.

  Args:
    x: float `[B, ..., C]`.
    mask: bool `[B]`, or None if all rows are valid.
    axis_name: mapped axis of devices, or None.

  Returns:
    The count, float32 scalar, and mean and variance, `[C]`; zeros if no row is valid.
  """
  axes = tuple(range(x.ndim - 1))
  positions = math.prod(x.shape[1:-1])

  def total(values):
    # Selected, not multiplied by zero: padding may hold anything, NaN too.
    if mask is not None:
      values = jnp.where(mask.reshape(-1, *(1,) * (x.ndim - 1)), values, 0)
    return _sum_over_devices(jnp.sum(values, axes), axis_name)

  rows = jnp.float32(x.shape[0]) if mask is None else jnp.sum(mask, dtype=jnp.float32)
  count = _sum_over_devices(rows, axis_name) * positions
  divisor = jnp.maximum(count, 1)
  mean = total(x) / divisor
  var = total(jnp.square(x - mean.reshape((1,) * (x.ndim - 1) + mean.shape))) / divisor
  return count, mean, var


def _sum_over_devices(value: chex.Array, axis_name: str | None) -> chex.Array:
  return value if axis_name is None else jax.lax.psum(value, axis_name)
