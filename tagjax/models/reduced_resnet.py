"""The reduced ResNet of the CIFAR-100 and miniImageNet benchmarks: one convolution a block."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.batch_norm import BatchNorm
from tagjax.models.checks import check_rates, check_widths
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.mlp import torch_dense

_STRIDES = (1, 2, 2, 2)
_BLOCKS = 2
_WINDOW = 4


class _Block(nn.Module):
  """`y = Dropout(BN(ReLU(Dropout(BN(ReLU(conv(x)))) + shortcut(x))))`."""

  features: int
  stride: int
  dropout: float
  axis_name: str | None
  convolve: Convolve

  @nn.compact
  def __call__(self, x: chex.Array, *, mask: chex.Array, train: bool) -> chex.Array:
    def activate(h, name):
      h = BatchNorm(self.axis_name, name=name)(nn.relu(h), mask=mask, train=train)
      return nn.Dropout(self.dropout, deterministic=not train)(h)

    conv = Conv(self.features, 3, self.stride, convolve=self.convolve, name="conv")
    h = activate(conv(x), "norm1")
    if self.stride != 1 or x.shape[-1] != self.features:
      x = Conv(self.features, 1, self.stride, convolve=self.convolve, name="shortcut")(x)
    return activate(h + x, "norm2")


@register("reduced_resnet", kind="model")
class ReducedResNet(nn.Module):
  """The ResNet-18 of continual learning, three times narrower and with half the convolutions.

      conv 3×3 → BN → ReLU → 4 stages of 2 blocks → average pool 4×4 → linear

  Widths are 1, 2, 4 and 8 times `width`, strides of the stages 1, 2, 2, 2. A block is

      h = Dropout(BN(ReLU(conv3×3(x))));  y = Dropout(BN(ReLU(h + shortcut(x))))

  where the shortcut is the identity, or a 1×1 convolution without normalisation where the shape
  changes. With 100 outputs it has 496,680 parameters in 48 tensors for images of 32 pixels, 544,680
  for 84. Initial values are PyTorch's: uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    width: channels of the first stage.
    dropout: probability that an element is dropped in training; in [0, 1).
    axis_name: mapped axis of devices over which BatchNorm's statistics are taken.
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  References:
    Lopez-Paz and Ranzato, 2017, "Gradient Episodic Memory", https://arxiv.org/abs/1706.08840;
    Mirzadeh et al., 2020, "Understanding the Role of Training Regimes in Continual Learning",
    https://arxiv.org/abs/2006.06958

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((2, 32, 32, 3)), jnp.zeros(2, jnp.int32)
  >>> model = ReducedResNet(num_outputs=100)
  >>> init = functools.partial(model.init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(2, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  496680
  """

  num_outputs: int
  width: int = 20
  dropout: float = 0.0
  axis_name: str | None = None
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    check_widths(width=self.width)
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
      image: float `[B, H, W, C]`, H and W at least 25.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, False where a row must not enter BatchNorm's statistics.
      train: whether to use the batch's statistics, and to drop elements (random key "dropout").
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]` or too small for the pooling.
    """
    del task_id
    _check_image(image)
    x = Conv(self.width, 3, convolve=self.convolve, name="stem")(image.astype(self.compute_dtype))
    x = nn.relu(BatchNorm(self.axis_name, name="stem_norm")(x, mask=mask, train=train))
    for stage, stage_stride in enumerate(_STRIDES):
      for block in range(_BLOCKS):
        x = _Block(
          features=self.width * 2**stage,
          stride=stage_stride if block == 0 else 1,
          dropout=self.dropout,
          axis_name=self.axis_name,
          convolve=self.convolve,
          name=f"stage{stage}_block{block}",
        )(x, mask=mask, train=train)
    x = _average_pool(x)
    x = x.reshape(x.shape[0], -1)
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)


def _check_image(image: chex.Array) -> None:
  smallest = 8 * (_WINDOW - 1) + 1
  if image.ndim != 4 or min(image.shape[1:3]) < smallest:
    raise ValueError(
      f"image has shape {image.shape}: ReducedResNet takes [B, H, W, C] with H and W of at least "
      f"{smallest} pixels; use MLP, or larger images"
    )


def _average_pool(x: chex.Array) -> chex.Array:
  """4×4 means at stride 4, what is left over at the edges dropped.

  As a mean of a reshaped array: the gradient of a window reduction is slow on the CPU.
  """
  batch, height, width, channels = x.shape
  rows, columns = height // _WINDOW, width // _WINDOW
  x = x[:, : rows * _WINDOW, : columns * _WINDOW]
  return jnp.mean(x.reshape(batch, rows, _WINDOW, columns, _WINDOW, channels), axis=(2, 4))
