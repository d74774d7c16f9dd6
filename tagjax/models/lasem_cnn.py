"""The plain convolutional networks of the LASEM benchmarks."""

from typing import Any, Literal

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.checks import check_image, check_rates
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.pooling import max_pool_same

Preset = Literal["cifar", "office_home", "stl10", "stl10_nine_layers", "seventeen_layers"]

PRESETS: dict[Preset, dict[str, Any]] = {
  "cifar": {
    "channels": (32, 32, 64, 64),
    "kernels": (3, 3, 3, 3),
    "pools": (1, 2, 1, 2),
    "hidden": (64,),
  },
  "office_home": {
    "channels": (64, 256, 256, 256),
    "kernels": (11, 5, 3, 3),
    "pools": (3, 3, 2, 2),
    "hidden": (256, 64),
  },
  "stl10": {
    "channels": (32, 32, 64, 64, 128, 128),
    "kernels": (3,) * 6,
    "pools": (1, 3, 1, 3, 1, 3),
    "hidden": (128, 16),
  },
  "stl10_nine_layers": {
    "channels": (32,) * 3 + (64,) * 3 + (128,) * 3,
    "kernels": (3,) * 9,
    "pools": (1, 1, 3) * 3,
    "hidden": (128, 16),
  },
  "seventeen_layers": {
    "channels": (64,) * 5 + (128,) * 4 + (256,) * 4 + (512,) * 4,
    "kernels": (7,) + (3,) * 16,
    "pools": (2,) + (1,) * 4 + (2, 1, 1, 1) * 3,
    "hidden": (1000,),
    "skips": ((1, 2), (3, 4), (7, 8), (11, 12), (15, 16)),
  },
}
"""The networks of the paper's three data sets, and two deeper ones of its code, by name."""

_kernel = nn.initializers.truncated_normal(0.05)
_bias = nn.initializers.constant(0.2)


class LasemCNN(nn.Module):
  """Convolutions with padding, a hidden layer or two, and a head.

      conv_l → ReLU (→ + skip) → max-pool p_l×p_l, for each l → Dropout → (Dense → ReLU) … → Dense

  A skip (i, j) adds the input of convolution i to the output of convolution j, both counted from 0.
  Max-pools have no window left over: the image is padded until they fit. Kernels start from a
  normal distribution of deviation 0.05 cut at two deviations, biases at 0.2. With 100 outputs the
  preset "cifar" has 334,276 parameters (32 pixels), with 130 "office_home" 2,687,042 (128 pixels),
  with 60 "stl10" 552,364 (96 pixels).

  Attributes:
    num_outputs: K, the outputs of the head.
    channels: output channels of each convolution.
    kernels: height and width of each kernel, odd.
    pools: size and stride of the max-pool after each convolution; 1: none.
    hidden: widths of the hidden linear layers.
    skips: pairs (first, last) of convolutions between which a skip leads.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  Differs from the reference code: there each task has hidden layers and a head of its own; here all
  tasks share the hidden layers, and the outputs of one head are shared out to them.

  References:
    Lee, Behpour and Eaton, 2021, "Sharing Less is More: Lifelong Learning in Deep Networks with
    Selective Layer Transfer", https://proceedings.mlr.press/v139/lee21a.html

  >>> LasemCNN(num_outputs=100, **PRESETS["cifar"]).channels
  (32, 32, 64, 64)
  """

  num_outputs: int
  channels: tuple[int, ...]
  kernels: tuple[int, ...]
  pools: tuple[int, ...]
  hidden: tuple[int, ...]
  skips: tuple[tuple[int, int], ...] = ()
  dropout: float = 0.5
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    super().__post_init__()

  @nn.compact
  def __call__(
    self,
    image: chex.Array,
    *,
    task_id: chex.Array,
    mask: chex.Array,
    train: bool,
    features: bool = False,
  ) -> chex.Array:
    """Computes the logits.

    Args:
      image: float `[B, H, W, C]`.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, unused: rows do not meet.
      train: whether to drop features, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`, the attributes do not name the same number of
        layers, or a skip joins different shapes.
    """
    del task_id, mask
    check_image(image, "LasemCNN")
    x = self._convolutions(image.astype(self.compute_dtype))
    x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
    for layer, width in enumerate(self.hidden):
      x = nn.relu(self._dense(width, f"hidden{layer}")(x))
    if features:
      return x.astype(jnp.float32)
    return self._dense(self.num_outputs, "head")(x).astype(jnp.float32)

  def _convolutions(self, x: chex.Array) -> chex.Array:
    starts = {last: first for first, last in self.skips}
    inputs = []
    for layer, (channels, size, pool) in enumerate(self._layers()):
      inputs.append(x)
      options = {"convolve": self.convolve, "kernel_init": _kernel, "bias_init": _bias}
      x = nn.relu(Conv(channels, size, use_bias=True, name=f"conv{layer}", **options)(x))
      if layer in starts:
        x = _joined(inputs[starts[layer]], x, (starts[layer], layer))
      x = max_pool_same(x, pool)
    return x

  def _layers(self) -> list[tuple[int, int, int]]:
    layers = (self.channels, self.kernels, self.pools)
    if len({len(values) for values in layers}) > 1:
      raise ValueError(
        f"channels={self.channels}, kernels={self.kernels}, pools={self.pools}: give each of them "
        "a value for every convolution"
      )
    return list(zip(*layers, strict=True))

  def _dense(self, width: int, name: str) -> nn.Dense:
    options = {"dtype": self.compute_dtype, "kernel_init": _kernel, "bias_init": _bias}
    return nn.Dense(width, name=name, **options)


def _joined(skipped: chex.Array, x: chex.Array, skip: tuple[int, int]) -> chex.Array:
  if skipped.shape != x.shape:
    raise ValueError(
      f"the skip {skip} would add {skipped.shape[1:]} to {x.shape[1:]}: a skip leads over "
      "convolutions that keep the shape, without a max-pool between them"
    )
  return skipped + x


@register("lasem_cnn", kind="model")
def lasem_cnn(
  num_outputs: int,
  *,
  preset: Preset = "cifar",
  dropout: float = 0.5,
  compute_dtype: jnp.dtype = jnp.float32,
) -> LasemCNN:
  """A `LasemCNN` of the paper.

  Args:
    num_outputs: K, the outputs of the head.
    preset: a key of `PRESETS`: for CIFAR, Office-Home or STL-10, or one of two deeper ones.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
    compute_dtype: see `LasemCNN`.

  >>> lasem_cnn(100).channels
  (32, 32, 64, 64)
  """
  return LasemCNN(num_outputs, **PRESETS[preset], dropout=dropout, compute_dtype=compute_dtype)
