"""What tasks share of a convolution, and what each has of its own: a kind of transfer.

A kind makes the kernel and the bias of a shared layer of one task: `tagjax.models.hps`, `tf` and
`dfcnn` have one each.
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
