r"""What tasks share of a convolution, and what each has of its own: three kinds of transfer.

Each kind makes the kernel and the bias of a shared layer of one task. `HPS` (hard parameter
sharing) has the same for all. `TF` (tensor factorization) and `DFCNN` (deconvolutional
factorization) generate the kernel of a common base and factors of the task's own.

References:
  Lee, Behpour, Eaton. Sharing Less is More: Lifelong Learning in Deep Networks with Selective Layer
    Transfer. ICML 2021.
  Bulat, Kossaifi, Tzimiropoulos, Pantic. Incremental multi-domain learning with network latent
    tensor factorization. AAAI 2020.
  Lee, Stokes, Eaton. Learning Shared Knowledge for Deep Lifelong Learning using Deconvolutional
    Networks. IJCAI 2019.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

Initializer = Callable[..., chex.Array]
Drawn = Mapping[str, tuple[Initializer, tuple[int, ...]]]
"""Parameters by name: initial values and shape."""

plain_kernel = nn.initializers.truncated_normal(0.05)
"""Of ordinary layers: a normal distribution of deviation 0.05, cut at two deviations."""
plain_bias = nn.initializers.constant(0.2)


def glorot(key: chex.PRNGKey, shape: tuple[int, ...], dtype=jnp.float32) -> chex.Array:
  """Uniform in ±√(6 / (fan_in + fan_out)); of a vector both fans are its length."""
  receptive = math.prod(shape[:-2])
  fans = receptive * sum(shape[-2:]) if len(shape) > 1 else 2 * shape[0]
  limit = math.sqrt(6 / fans)
  return jax.random.uniform(key, shape, dtype, -limit, limit)


class Sizes(NamedTuple):
  """Sizes of one convolution.

  Attributes:
    kernel: k, height and width.
    inputs: channels.
    outputs: channels.
  """

  kernel: int
  inputs: int
  outputs: int


class Transfer(Protocol):
  """One kind of transfer, for one layer.

  `shared` and `factors` say what all tasks and what each task has in a shared layer; `weights`
  makes kernel `[k, k, I, O]` and bias `[O]` of one task's values.
  """

  def shared(self, sizes: Sizes) -> Drawn: ...

  def factors(self, sizes: Sizes) -> Drawn: ...

  def weights(
    self, shared: Mapping[str, chex.Array], factors: Mapping[str, chex.Array]
  ) -> tuple[chex.Array, chex.Array]: ...


def plain(sizes: Sizes) -> Drawn:
  """Kernel and bias of an ordinary convolution."""
  shape = (sizes.kernel, sizes.kernel, sizes.inputs, sizes.outputs)
  return {"kernel": (plain_kernel, shape), "bias": (plain_bias, (sizes.outputs,))}


class HPS(NamedTuple):
  """Hard parameter sharing: all tasks have the same kernel and the same bias."""

  def shared(self, sizes: Sizes) -> Drawn:
    return plain(sizes)

  def factors(self, sizes: Sizes) -> Drawn:
    del sizes
    return {}

  def weights(self, shared, factors):
    del factors
    return shared["kernel"], shared["bias"]


class TF(NamedTuple):
  """Tensor factorization: a common tensor K, of which each task changes all four modes.

  `W[a', b', c', d'] = Σ_abcd K[a, b, c, d] U1[a, a'] U2[b, b'] U3[c, c'] U4[d, d']`; square U and a
  bias of each task's own.
  """

  def shared(self, sizes: Sizes) -> Drawn:
    return {"base": (glorot, plain(sizes)["kernel"][1])}

  def factors(self, sizes: Sizes) -> Drawn:
    widths = plain(sizes)["kernel"][1]
    modes = {f"u{mode}": (glorot, (width, width)) for mode, width in enumerate(widths, 1)}
    return {**modes, "bias": (glorot, (sizes.outputs,))}

  def weights(self, shared, factors):
    kernel = shared["base"]
    for mode, (before, after) in enumerate(zip("abcd", "wxyz", strict=True), 1):
      given = "abcd"
      made = given.replace(before, after)
      kernel = jnp.einsum(
        f"{given},{before}{after}->{made}", kernel, factors[f"u{mode}"], precision="highest"
      )
    return kernel, factors["bias"]


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
