"""Pooling written as maxima and means of shifted views.

The gradient of a window reduction is slow on the CPU; that of a slice is not.
"""

import functools

import chex
import jax.numpy as jnp

from tagjax.models.convolution import shifted_views


def max_pool(x: chex.Array, size: int, stride: int | None = None, padding: int = 0) -> chex.Array:
  """The largest value of each window, channel by channel.

  What stands in the padding never wins. Equal largest values share the gradient, where PyTorch
  gives it to the first of them; after a ReLU there is no difference, for it passes none at zero.

  Args:
    x: float `[B, H, W, C]`.
    size: height and width of the window.
    stride: its step in both directions; None: `size`, windows that do not overlap.
    padding: rows and columns added on each side.

  Returns:
    `[B, H', W', C]`, `H' = floor((H + 2 padding - size) / stride) + 1`, and so W'.

  >>> import jax.numpy as jnp
  >>> max_pool(jnp.ones((1, 112, 112, 64)), 3, 2, padding=1).shape
  (1, 56, 56, 64)
  """
  return _max_of_windows(x, size, stride or size, ((padding, padding), (padding, padding)))


def max_pool_same(x: chex.Array, size: int) -> chex.Array:
  """`max_pool` of windows that do not overlap, over an image padded until they fit.

  The padding is TensorFlow's "SAME": as evenly on both sides as can be, the odd row or column last.

  Args:
    x: float `[B, H, W, C]`.
    size: height, width and step of the window.

  Returns:
    `[B, ceil(H / size), ceil(W / size), C]`.

  >>> import jax.numpy as jnp
  >>> max_pool_same(jnp.ones((1, 128, 128, 64)), 3).shape
  (1, 43, 43, 64)
  """
  lacking = [-side % size for side in x.shape[1:3]]
  return _max_of_windows(x, size, size, tuple((rows // 2, rows - rows // 2) for rows in lacking))


def _max_of_windows(x, size, stride, padding):
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
  return functools.reduce(jnp.maximum, shifted_views(padded, size, stride))


def global_average(x: chex.Array) -> chex.Array:
  """Mean over all positions: `[B, H, W, C] -> [B, C]`."""
  return jnp.mean(x, axis=(1, 2))
