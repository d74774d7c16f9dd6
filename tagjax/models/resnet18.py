"""ResNet-18 at full width, as torchvision has it: two convolutions a block."""

from typing import Literal, NamedTuple

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models import initializers
from tagjax.models.batch_norm import BatchNorm
from tagjax.models.checks import check_image, check_rates, check_widths
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.mlp import torch_dense
from tagjax.models.pooling import global_average, max_pool


class _Stem(NamedTuple):
  size: int
  stride: int
  pool: bool


Stem = Literal["imagenet", "unpooled", "cifar"]

_STEMS: dict[Stem, _Stem] = {
  "imagenet": _Stem(size=7, stride=2, pool=True),
  "unpooled": _Stem(size=7, stride=2, pool=False),
  "cifar": _Stem(size=3, stride=1, pool=False),
}
"""First layers by name, for images of about 224, 112 and 32 pixels."""


class _Block(nn.Module):
  """`y = ReLU(BN(conv(ReLU(BN(conv(x))))) + shortcut(x))`."""

  features: int
  stride: int
  normalise_shortcut: bool
  epsilon: float
  axis_name: str | None
  convolve: Convolve
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, x: chex.Array, *, mask: chex.Array, train: bool) -> chex.Array:
    def conv(x, size, stride, name):
      options = {"convolve": self.convolve, "kernel_init": self.kernel_init, "name": name}
      return Conv(self.features, size, stride, **options)(x)

    def normalise(x, name):
      norm = BatchNorm(self.axis_name, epsilon=self.epsilon, name=name)
      return norm(x, mask=mask, train=train)

    h = nn.relu(normalise(conv(x, 3, self.stride, "conv1"), "norm1"))
    h = normalise(conv(h, 3, 1, "conv2"), "norm2")
    if self.stride != 1 or x.shape[-1] != self.features:
      x = conv(x, 1, self.stride, "shortcut")
      x = normalise(x, "shortcut_norm") if self.normalise_shortcut else x
    return nn.relu(h + x)


@register("resnet18", kind="model")
class ResNet18(nn.Module):
  """The residual network of basic blocks.

      conv → BN → ReLU (→ max-pool 3×3 of stride 2) → 4 stages of blocks → global mean → linear

  Widths are 1, 2, 4 and 8 times `width`, strides of the stages 1, 2, 2, 2. A block is

      y = ReLU(BN(conv3×3(ReLU(BN(conv3×3(x))))) + shortcut(x))

  where the shortcut is the identity, or a 1×1 convolution with normalisation where the shape
  changes. With the defaults and 1000 outputs it has 11,689,512 parameters and is torchvision's
  `resnet18`, whose weights `tagjax.models.torch_weights` reads. Initial values are torchvision's:
  convolutions normal with variance 2 / fan_out, the head uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    width: channels of the first stage, at least 1.
    blocks: number of blocks of each stage, at least 1; (3, 4, 6, 3) is ResNet-34.
    stem: the first layers, see `Stem`: "imagenet" is a 7×7 convolution of stride 2 and the
      max-pool, "unpooled" the same without the max-pool, "cifar" a 3×3 convolution of stride 1.
    normalise_shortcut: whether shortcuts with a convolution have BN as well.
    epsilon: added to the variance in every BN.
    kernel_init: initial values of the convolutions.
    dropout: probability that a feature is dropped before the head, in training; in [0, 1).
    axis_name: mapped axis of devices over which BatchNorm's statistics are taken.
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  References:
    He et al., 2016, "Deep Residual Learning for Image Recognition",
    https://arxiv.org/abs/1512.03385

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((1, 224, 224, 3)), jnp.zeros(1, jnp.int32)
  >>> init = functools.partial(ResNet18(num_outputs=1000).init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(1, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  11689512
  """

  num_outputs: int
  width: int = 64
  blocks: tuple[int, ...] = (2, 2, 2, 2)
  stem: Stem = "imagenet"
  normalise_shortcut: bool = True
  epsilon: float = 1e-5
  kernel_init: nn.initializers.Initializer = initializers.kaiming_normal
  dropout: float = 0.0
  axis_name: str | None = None
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    check_widths(width=self.width, blocks=self.blocks)
    if self.stem not in _STEMS:
      raise ValueError(f"stem must be one of {', '.join(_STEMS)}, got {self.stem!r}")
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
      mask: bool `[B]`, False where a row must not enter BatchNorm's statistics.
      train: whether to use the batch's statistics, and to drop features (random key "dropout").
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`.
    """
    del task_id
    check_image(image, type(self).__name__)
    x = self._begin(image.astype(self.compute_dtype), mask=mask, train=train)
    for stage, blocks in enumerate(self.blocks):
      for block in range(blocks):
        x = _Block(
          features=self.width * 2**stage,
          stride=2 if stage > 0 and block == 0 else 1,
          normalise_shortcut=self.normalise_shortcut,
          epsilon=self.epsilon,
          axis_name=self.axis_name,
          convolve=self.convolve,
          kernel_init=self.kernel_init,
          name=f"stage{stage}_block{block}",
        )(x, mask=mask, train=train)
    x = nn.Dropout(self.dropout, deterministic=not train)(global_average(x))
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)

  def _begin(self, x: chex.Array, *, mask: chex.Array, train: bool) -> chex.Array:
    stem = _STEMS[self.stem]
    options = {"convolve": self.convolve, "kernel_init": self.kernel_init, "name": "stem"}
    x = Conv(self.width, stem.size, stem.stride, **options)(x)
    norm = BatchNorm(self.axis_name, epsilon=self.epsilon, name="stem_norm")
    x = nn.relu(norm(x, mask=mask, train=train))
    return max_pool(x, 3, 2, padding=1) if stem.pool else x

  def torch_names(self) -> dict[str, str]:
    """Layers of this network -> torchvision's names of them, see `torch_weights`."""
    names = {"stem": "conv1", "stem_norm": "bn1", "head": "fc"}
    inner = {
      "conv1": "conv1",
      "norm1": "bn1",
      "conv2": "conv2",
      "norm2": "bn2",
      "shortcut": "downsample.0",
      "shortcut_norm": "downsample.1",
    }
    for stage, blocks in enumerate(self.blocks):
      for block in range(blocks):
        ours, theirs = f"stage{stage}_block{block}", f"layer{stage + 1}.{block}"
        names |= {f"{ours}/{one}": f"{theirs}.{other}" for one, other in inner.items()}
    return names
