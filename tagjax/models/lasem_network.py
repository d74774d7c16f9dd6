"""What the convolutional networks of the LASEM benchmarks have in common: layers, their sizes."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register_section
from tagjax.models.checks import check_rates
from tagjax.models.convolution import Convolve, convolve
from tagjax.models.transfer_layers import Sizes

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


@register_section("convolutions")
class Convolutions(NamedTuple):
  """The sizes of a network, as a config gives them.

  Attributes:
    preset: the sizes of the paper: for CIFAR, Office-Home or STL-10, or of two deeper networks.
    channels: output channels of each convolution; None: the preset's.
    kernels: height and width of each kernel, odd; None: the preset's.
    pools: size and stride of the max-pool after each convolution, 1: none; None: the preset's.
    hidden: widths of the hidden linear layers; None: the preset's.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
  """

  preset: Preset = "cifar"
  channels: tuple[int, ...] | None = None
  kernels: tuple[int, ...] | None = None
  pools: tuple[int, ...] | None = None
  hidden: tuple[int, ...] | None = None
  dropout: float = 0.5

  def fields(self) -> dict[str, Any]:
    """Those of the network; the preset's skips go with its convolutions.

    Raises:
      ValueError: if the sizes are not of the same number of convolutions.

    >>> Convolutions(hidden=(8,)).fields()["channels"]
    (32, 32, 64, 64)
    """
    own = self._asdict()
    given = {key: own[key] for key in (*_BY_LAYER, "hidden") if own[key] is not None}
    without_skips = {"skips": ()} if given.keys() & {*_BY_LAYER} else {}
    made = {**PRESETS[self.preset], **without_skips, **given}
    lengths = {key: len(made[key]) for key in _BY_LAYER}
    if len({*lengths.values()}) > 1:
      key = next(key for key in lengths if key in given)
      others = ", ".join(f"{number} {one}" for one, number in lengths.items() if one != key)
      raise ValueError(
        f"{key}={given[key]!r} has {lengths[key]} values, and there are {others}: give channels, "
        "kernels and pools, one value for each convolution"
      )
    return {**made, "dropout": self.dropout}


_BY_LAYER = ("channels", "kernels", "pools")


class LasemNetwork(nn.Module):
  """Convolutions with padding, a hidden layer or two, and a head.

      conv_l → ReLU (→ + skip) → max-pool p_l×p_l, for each l → Dropout → (Dense → ReLU) … → Dense

  A skip (i, j) adds the input of convolution i to the output of convolution j, both counted from 0.
  Max-pools have no window left over: the image is padded until they fit.

  Attributes:
    num_outputs: K, the outputs of the stream.
    channels: output channels of each convolution, L values.
    kernels: height and width of each kernel, odd.
    pools: size and stride of the max-pool after each convolution; 1: none.
    hidden: widths of the hidden linear layers.
    skips: pairs (first, last) of convolutions between which a skip leads.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  References:
    Lee, Behpour and Eaton, 2021, "Sharing Less is More: Lifelong Learning in Deep Networks with
    Selective Layer Transfer", https://proceedings.mlr.press/v139/lee21a.html
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

  def check_depth(self) -> None:
    """Raises a ValueError unless all sizes are of the same number of convolutions."""
    if len({len(values) for values in (self.channels, self.kernels, self.pools)}) > 1:
      raise ValueError(
        f"channels={self.channels}, kernels={self.kernels}, pools={self.pools}: give each of them "
        "a value for every convolution"
      )

  def sizes(self, channels: int) -> Iterator[Sizes]:
    """Of each convolution, for images of so many channels."""
    self.check_depth()
    for size, outputs in zip(self.kernels, self.channels, strict=True):
      yield Sizes(size, channels, outputs)
      channels = outputs

  def num_features(self, height: int, width: int) -> int:
    """Values of an image after the last max-pool."""
    for pool in self.pools:
      height, width = -(-height // pool), -(-width // pool)
    return height * width * self.channels[-1]

  def skipped(self, layer: int) -> int | None:
    """The convolution whose input a skip adds to the output of this one, if there is one."""
    return {last: first for first, last in self.skips}.get(layer)

  def check_skip(self, layer: int, skipped: chex.Array, x: chex.Array) -> None:
    """Raises a ValueError unless the skip to this convolution joins images `[..., H, W, C]`."""
    if skipped.shape[-3:] != x.shape[-3:]:
      raise ValueError(
        f"the skip {(self.skipped(layer), layer)} would add {skipped.shape[-3:]} to "
        f"{x.shape[-3:]}: a skip leads over convolutions that keep the shape, without a max-pool "
        "between them"
      )
