"""Initial values as PyTorch draws them, which most published results started from."""

import math

import chex
import jax
from flax import linen as nn

torch_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform on `±1/√fan_in`: PyTorch's default for kernels of linear and convolution layers."""

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal with variance `2 / (k² O)`: what residual networks start their convolutions from."""


def torch_bias(fan_in: int) -> nn.initializers.Initializer:
  """Uniform on `±1/√fan_in`: PyTorch's default for biases, which Flax starts at zero.

  Args:
    fan_in: inputs of one unit of the layer that the bias belongs to, at least 1.

  Returns:
    An initializer `(key, shape, dtype) -> array`.

  >>> import jax, jax.numpy as jnp
  >>> bias = torch_bias(fan_in=4)(jax.random.key(0), (1000,), jnp.float32)
  >>> bool(jnp.max(jnp.abs(bias)) <= 0.5)
  True
  """
  bound = 1 / math.sqrt(fan_in)

  def init(key: chex.PRNGKey, shape: tuple[int, ...], dtype=float) -> chex.Array:
    return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

  return init
