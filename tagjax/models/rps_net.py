"""RPS-net, the residual network of iTAML, cut to a single path."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models import initializers
from tagjax.models.batch_norm import BatchNorm
from tagjax.models.checks import check_image, check_rates, check_widths
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.pooling import max_pool

_POOLED = (1, 2)  # stages that end in a max-pool
_POWER = 3
_FLOOR = 1e-6


class _Block(nn.Module):
  """`y = ReLU(pool(BN(conv(ReLU(BN(conv(x))))) + skip(x)))`."""

  features: int
  pool: bool
  project: bool
  axis_name: str | None
  convolve: Convolve

  @nn.compact
  def __call__(self, x: chex.Array, *, mask: chex.Array, train: bool) -> chex.Array:
    def normalised_conv(x, size, name):
      x = _conv(self.features, size, self.convolve, name)(x)
      return BatchNorm(self.axis_name, name=f"{name}_norm")(x, mask=mask, train=train)

    h = normalised_conv(nn.relu(normalised_conv(x, 3, "conv1")), 3, "conv2")
    x = nn.relu(normalised_conv(x, 1, "skip")) if self.project else x
    return nn.relu(max_pool(h + x, 2) if self.pool else h + x)


@register("rps_net", kind="model")
class RPSNet(nn.Module):
  """A residual network that keeps its resolution long and has no bias in its head.

      conv3×3 → BN → ReLU → 4 stages of 2 blocks → generalised mean → linear without bias

  Widths are 1, 2, 4 and 8 times `width`, or nearly: 21, 42, 85 and 170. A block is

      y = ReLU(BN(conv3×3(ReLU(BN(conv3×3(x))))) + skip(x))

  where the skip is the identity, or `ReLU(BN(conv1×1(x)))` in the first block of stages 2 to 4. All
  strides are 1; the second and third stage end in a 2×2 max-pool before that last ReLU. With
  f the features at n positions, the pooled feature of a channel is

      (1/n Σ max(f, 1e-6)³)^(1/3)

  All convolutions have a bias. With 100 outputs it has 1,250,236 parameters, whatever the size of
  the image. Kernels of convolutions start normal with variance 2 / fan_out, biases and the head
  uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    widths: channels of the four stages, at least 1.
    blocks: number of blocks of each stage, at least 1.
    dropout: probability that a feature is dropped before the head, in training; in [0, 1).
    axis_name: mapped axis of devices over which BatchNorm's statistics are taken.
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  Differs from the reference code: that returns the logits twice.

  References:
    Rajasegaran et al., 2019, "Random Path Selection for Continual Learning",
    https://arxiv.org/abs/1906.01120; Rajasegaran et al., 2020, "iTAML: An Incremental Task-Agnostic
    Meta-learning Approach", https://arxiv.org/abs/2003.11652

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, jnp.int32)
  >>> init = functools.partial(RPSNet(num_outputs=100).init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(1, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  1250236
  """

  num_outputs: int
  widths: tuple[int, int, int, int] = (21, 42, 85, 170)
  blocks: int = 2
  dropout: float = 0.0
  axis_name: str | None = None
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    check_widths(widths=self.widths, blocks=self.blocks)
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
      image: float `[B, H, W, C]`, H and W at least 4.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, False where a row must not enter BatchNorm's statistics.
      train: whether to use the batch's statistics, and to drop features (random key "dropout").
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]` or too small for the pooling.
    """
    del task_id
    check_image(image, "RPSNet", 2 ** len(_POOLED))
    x = _conv(self.widths[0], 3, self.convolve, "stem")(image.astype(self.compute_dtype))
    x = nn.relu(BatchNorm(self.axis_name, name="stem_norm")(x, mask=mask, train=train))
    for stage, width in enumerate(self.widths):
      for block in range(self.blocks):
        x = _Block(
          features=width,
          pool=stage in _POOLED and block == self.blocks - 1,
          project=stage > 0 and block == 0,
          axis_name=self.axis_name,
          convolve=self.convolve,
          name=f"stage{stage}_block{block}",
        )(x, mask=mask, train=train)
    x = generalised_mean(x).astype(self.compute_dtype)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if features:
      return x.astype(jnp.float32)
    head = nn.Dense(
      self.num_outputs,
      use_bias=False,
      dtype=self.compute_dtype,
      kernel_init=initializers.torch_kernel,
      name="head",
    )
    return head(x).astype(jnp.float32)


def _conv(features: int, size: int, convolve: Convolve, name: str) -> Conv:
  options = {"convolve": convolve, "kernel_init": initializers.kaiming_normal, "name": name}
  return Conv(features, size, use_bias=True, **options)


def generalised_mean(x: chex.Array) -> chex.Array:
  """`(mean over positions of max(x, 1e-6)³)^(1/3)`: `[B, H, W, C] -> [B, C]`, float32.

  In half precision the cubes of small features would lose most of their digits.
  """
  cubes = jnp.maximum(x.astype(jnp.float32), _FLOOR) ** _POWER
  return jnp.mean(cubes, axis=(1, 2)) ** (1 / _POWER)
