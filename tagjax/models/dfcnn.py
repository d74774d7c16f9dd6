"""Deconvolutional factorization."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.models.lasem_network import Convolutions, Preset
from tagjax.models.transfer_cnn import TransferCNN, transfer_cnn
from tagjax.models.transfer_layers import Drawn, Sizes, glorot

FACTORS: Mapping[Preset, Mapping[str, tuple[int, ...]]] = {
  "cifar": {
    "base_channels": (16, 24, 32, 36),
    "filter_sizes": (3,) * 4,
    "filter_channels": (24, 48, 64, 72),
  },
  "office_home": {
    "base_channels": (24, 64, 64, 64),
    "filter_sizes": (3,) * 4,
    "filter_channels": (48, 128, 128, 128),
  },
  "stl10": {
    "base_channels": (12, 24, 32, 48, 64, 96),
    "filter_sizes": (3,) * 6,
    "filter_channels": (24, 48, 64, 96, 128, 192),
  },
  "stl10_nine_layers": {
    "base_channels": (12, 24, 24, 32, 48, 48, 64, 96, 96),
    "filter_sizes": (3,) * 9,
    "filter_channels": (24, 48, 48, 64, 96, 96, 128, 192, 192),
  },
}
"""The paper's sizes of deconvolutional factorization; it has none for "seventeen_layers"."""


class DFCNN(NamedTuple):
  """Deconvolutional factorization: a small common base, enlarged and mixed by each task.

  With p = ⌊(s - 1) / 2⌋, terms outside D dropped:

      P[i, j, t] = bias'[t] + Σ_abc K[0, a, b, c] D[i - 2a + p, j - 2b + p, t, c]
      W[i, j, m, n] = Σ_t P[i, j, t] V[t, m, n]

  The base K is `[1, h, h, c]`, with k = 2 (h - 1) + 1; of each task's own are the filter D
  `[s, s, t, c]`, its bias, the tensor V `[t, I, O]`, and the convolution's bias.

  Attributes:
    base_channels: c.
    size: s, height and width of D.
    channels: t, its output channels.
  """

  base_channels: int
  size: int
  channels: int

  def shared(self, sizes: Sizes) -> Drawn:
    if sizes.kernel % 2 == 0:
      raise ValueError(f"kernel is {sizes.kernel}: a generated kernel has an odd size")
    side = (sizes.kernel - 1) // 2 + 1
    return {"base": (glorot, (1, side, side, self.base_channels))}

  def factors(self, sizes: Sizes) -> Drawn:
    return {
      "filter": (glorot, (self.size, self.size, self.channels, self.base_channels)),
      "filter_bias": (glorot, (1, 1, 1, self.channels)),
      "mix": (glorot, (self.channels, sizes.inputs, sizes.outputs)),
      "bias": (glorot, (sizes.outputs,)),
    }

  def weights(self, shared, factors):
    enlarged = enlarge(shared["base"], factors["filter"])[0] + factors["filter_bias"][0]
    kernel = jnp.einsum("ijt,tmn->ijmn", enlarged, factors["mix"], precision="highest")
    return kernel, factors["bias"]


def enlarge(base: chex.Array, kernel: chex.Array) -> chex.Array:
  """The transposed convolution of stride 2 that makes `2 (h - 1) + 1` rows of h.

  It is the gradient by the input of a convolution of stride 2 with TensorFlow's padding "SAME" over
  an odd number of rows; `jax.lax.conv_transpose` with "SAME" makes 2h rows.

  Args:
    base: float `[1, h, h, c]`.
    kernel: float `[s, s, t, c]`.

  Returns:
    `[1, 2h - 1, 2h - 1, t]`.

  >>> enlarge(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
  [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
  """
  size = kernel.shape[0]
  before = (size - 1) // 2
  # Output rows: 2h - 1 dilated ones, plus both margins, less s - 1: 2h - 1 again.
  margins = (size - 1 - before, before)
  return jax.lax.conv_general_dilated(
    base,
    jnp.flip(kernel, (0, 1)),
    window_strides=(1, 1),
    padding=(margins, margins),
    lhs_dilation=(2, 2),
    dimension_numbers=("NHWC", "HWOI", "NHWC"),
    precision="highest",
  )


@register("dfcnn", kind="model", shares="convolutions")
def dfcnn(
  spec: StreamSpec,
  *,
  sharing: str | tuple[bool, ...] = "all",
  base_channels: tuple[int, ...] | None = None,
  filter_sizes: tuple[int, ...] | None = None,
  filter_channels: tuple[int, ...] | None = None,
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> TransferCNN:
  """Deconvolutional factorization: shared kernels are generated of a common base by each task.

  Args:
    spec: the stream, of the scenario `"task"`.
    sharing: see `hps`.
    base_channels: channels of each layer's base; None: the preset's.
    filter_sizes: height and width of the filters that enlarge the base; None: the preset's.
    filter_channels: their output channels; None: the preset's.
    compute_dtype: see `LasemNetwork`.
    **convolutions: see `hps`; the generators of "seventeen_layers" must be given.

  Raises:
    ValueError: see `hps`; or if the generators have not a value for each convolution.

  References:
    Lee, Stokes, Eaton. Learning Shared Knowledge for Deep Lifelong Learning using Deconvolutional
      Networks. IJCAI 2019.
  """
  layers = Convolutions(**convolutions)
  fields, known = layers.fields(), FACTORS.get(layers.preset, {})
  depth = len(fields["channels"])
  generators = {
    "base_channels": base_channels,
    "filter_sizes": filter_sizes,
    "filter_channels": filter_channels,
  }
  made = {key: known.get(key, ()) if one is None else one for key, one in generators.items()}
  for key, values in made.items():
    if len(values) != depth:
      raise ValueError(
        f"{key}={values!r} has {len(values)} values: give one for each of the {depth} convolutions"
      )
  transfer = tuple(map(DFCNN, *made.values()))
  return transfer_cnn(spec, "dfcnn", sharing, transfer, compute_dtype=compute_dtype, **fields)
