"""Convolution that is fast inside compiled loops, and the only place that chooses how.

On the CPU, XLA runs the gradients of a convolution inside `lax.scan`, `while_loop` and `fori_loop`
about ten times slower than outside: they are dilated convolutions, which its fast path does not
take there. Written as patches and one matrix product, forward and gradients are matrix products,
slices and sums, which are as fast inside a loop as outside. A pass without a gradient (evaluation,
the outputs of an old network) takes XLA's convolution, which needs no patches. Figures:
docs/convolutions.md. Other backends have kernels of their own for convolutions and their gradients
and get the convolution as it is.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from tagjax.models import initializers

_SMALL = 3  # kernels up to this size take one slice for each of their elements

Convolve = Callable[..., chex.Array]
"""`(image [B, H, W, I], kernel [k, k, I, O], stride, padding) -> [B, H', W', O]`, see `convolve`;
one that takes no `padding` serves models whose kernels all have the usual one."""


def convolve(
  image: chex.Array, kernel: chex.Array, stride: int, padding: int | None = None
) -> chex.Array:
  """Convolves with zero padding on all four sides, as PyTorch does.

      out[b, y, x, o] = Σ_ijc padded[b, stride·y + i, stride·x + j, c] · kernel[i, j, c, o]

  The lowering is chosen for JAX's default backend when the function is traced; the results of all
  lowerings agree up to rounding.

  Args:
    image: float `[B, H, W, I]`.
    kernel: float `[k, k, I, O]`.
    stride: step in both directions, at least 1.
    padding: rows and columns of zeros on each side, p; None: `k // 2`, for odd k only.

  Returns:
    float `[B, H', W', O]`, `H' = floor((H + 2p - k) / stride) + 1`, and so W'. With the usual
    padding that is `ceil(H / stride)`.

  Raises:
    ValueError: if the kernel is not square, is even and has no padding given, is larger than the
      padded image, or its inputs are not the image's channels.

  >>> import jax.numpy as jnp
  >>> convolve(jnp.ones((1, 21, 21, 3)), jnp.ones((3, 3, 3, 8)), 2).shape
  (1, 11, 11, 8)
  >>> convolve(jnp.ones((1, 32, 32, 3)), jnp.ones((4, 4, 3, 8)), 1, padding=0).shape
  (1, 29, 29, 8)
  """
  lowering = patched_gradients if jax.default_backend() == "cpu" else direct
  return lowering(image, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def patched_gradients(
  image: chex.Array, kernel: chex.Array, stride: int, padding: int | None = None
) -> chex.Array:
  """`convolve` as `by_patches` where a gradient is taken, as `direct` where none is.

  Reverse mode only. Where kernels are stacked by `vmap` it is `by_patches` throughout: XLA would
  make one grouped convolution of them, which is slower.
  """
  return _direct_unless_stacked(image, kernel, stride, padding)


def _patched_forward(image, kernel, stride, padding):
  return jax.vjp(lambda image, kernel: by_patches(image, kernel, stride, padding), image, kernel)


def _patched_backward(stride, padding, pull_back, cotangent):
  del stride, padding
  return pull_back(cotangent)


patched_gradients.defvjp(_patched_forward, _patched_backward)


def _direct_unless_stacked(image, kernel, stride, padding):
  @jax.custom_batching.custom_vmap
  def plain(image, kernel):
    return direct(image, kernel, stride, padding)

  @plain.def_vmap
  def stacked(size, batched, image, kernel):
    image_stacked, kernel_stacked = batched
    if kernel_stacked:
      axes = (0 if image_stacked else None, 0)
      each = functools.partial(by_patches, stride=stride, padding=padding)
      return jax.vmap(each, axes)(image, kernel), True
    rows = patched_gradients(image.reshape(-1, *image.shape[2:]), kernel, stride, padding)
    return rows.reshape(size, -1, *rows.shape[1:]), True

  return plain(image, kernel)


def direct(
  image: chex.Array, kernel: chex.Array, stride: int, padding: int | None = None
) -> chex.Array:
  """`convolve` as XLA's own convolution. Slow inside loops on the CPU."""
  margin = _checked_margin(image, kernel, padding)
  return jax.lax.conv_general_dilated(
    image,
    kernel,
    window_strides=(stride, stride),
    # Not "SAME": with stride 2 XLA would put the whole padding of an even image at its end.
    padding=((margin, margin), (margin, margin)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def by_patches(
  image: chex.Array, kernel: chex.Array, stride: int, padding: int | None = None
) -> chex.Array:
  """`convolve` as one matrix product of patches `[B·H'·W', k·k·I]` and kernel `[k·k·I, O]`.

  Takes k² times the memory of the image, kept for the gradient. A 1×1 kernel needs no copy.
  """
  margin = _checked_margin(image, kernel, padding)
  size, _, channels, features = kernel.shape
  patches = _patches(image, size, stride, margin)
  rows = patches.reshape(-1, size * size * channels)
  product = rows @ kernel.reshape(-1, features)
  return product.reshape(*patches.shape[:-1], features)


def _patches(image: chex.Array, size: int, stride: int, margin: int) -> chex.Array:
  """The `size`² shifted views of the padded image, side by side in the channels."""
  padded = jnp.pad(image, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
  if size <= _SMALL:
    return jnp.concatenate(shifted_views(padded, size, stride), axis=-1)
  # 2k slices instead of k²: as fast, and an 11×11 kernel compiles in a seventh of the time.
  bottom, right = (_reach(side, size, stride) for side in padded.shape[1:3])
  strips = [padded[:, :, j : j + right : stride] for j in range(size)]
  strips = jnp.concatenate(strips, axis=-1)
  return jnp.concatenate([strips[:, i : i + bottom : stride] for i in range(size)], axis=-1)


def _reach(side: int, size: int, stride: int) -> int:
  """Up to which row a slice must go: one beyond it would give an output too many."""
  return (side - size) // stride * stride + 1


def shifted_views(padded: chex.Array, size: int, stride: int) -> list[chex.Array]:
  """What stands at each of the `size`² places of a window that moves over the image.

  Args:
    padded: `[B, H, W, C]`, at least as high and wide as the window.
    size: height and width of the window.
    stride: its step in both directions.

  Returns:
    `size`² arrays `[B, floor((H - size) / stride) + 1, ..., C]`, row by row.
  """
  bottom, right = (_reach(side, size, stride) for side in padded.shape[1:3])
  return [
    padded[:, i : i + bottom : stride, j : j + right : stride]
    for i in range(size)
    for j in range(size)
  ]


def _checked_margin(image: chex.Array, kernel: chex.Array, padding: int | None) -> int:
  size, other, channels, _ = kernel.shape
  if size != other:
    raise ValueError(f"kernel is {size}x{other}: only square kernels are supported")
  if padding is None and size % 2 == 0:
    raise ValueError(
      f"kernel is {size}x{size}: only kernels of odd size are padded evenly; give the padding"
    )
  margin = size // 2 if padding is None else padding
  if min(image.shape[1:3]) + 2 * margin < size:
    raise ValueError(
      f"image has shape {image.shape}: with a padding of {margin} it is smaller than the kernel, "
      f"{size}x{size}; use larger images"
    )
  if image.shape[-1] != channels:
    raise ValueError(
      f"image has {image.shape[-1]} channels, kernel takes {channels}: "
      "image must be [B, H, W, I] and kernel [k, k, I, O]"
    )
  return margin


class Conv(nn.Module):
  """Convolution layer with PyTorch's padding and, unless others are given, initial values.

  Attributes:
    features: O, the output channels.
    size: k, height and width of the kernel.
    stride: step in both directions.
    use_bias: whether to add a bias per output channel.
    convolve: how to compute it, see `convolve`.
    padding: zeros on each side; None: `k // 2`, for odd k only.
    kernel_init: initial values of the kernel.
    bias_init: those of the bias; None: PyTorch's.
  """

  features: int
  size: int = 3
  stride: int = 1
  use_bias: bool = False
  convolve: Convolve = convolve
  padding: int | None = None
  kernel_init: nn.initializers.Initializer = initializers.torch_kernel
  bias_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(self, image: chex.Array) -> chex.Array:
    """Maps float `[B, H, W, I]` to `[B, H', W', O]`, in the image's dtype."""
    channels = image.shape[-1]
    shape = (self.size, self.size, channels, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    padding = {} if self.padding is None else {"padding": self.padding}
    out = self.convolve(image, kernel.astype(image.dtype), self.stride, **padding)
    if self.use_bias:
      init = self.bias_init or initializers.torch_bias(self.size * self.size * channels)
      bias = self.param("bias", init, (self.features,), jnp.float32)
      out = out + bias.astype(image.dtype).reshape(1, 1, 1, -1)
    return out
