"""AlexNet for ImageNet, as torchvision has it."""

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.checks import check_image, check_rates, check_widths
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.mlp import torch_dense
from tagjax.models.pooling import max_pool

_LAYERS = (  # channels, size, stride, padding, whether a max-pool follows
  (64, 11, 4, 2, True),
  (192, 5, 1, 2, True),
  (384, 3, 1, 1, False),
  (256, 3, 1, 1, False),
  (256, 3, 1, 1, True),
)
_SIDE = 6
_SMALLEST = 63
_TORCH_PLACES = (0, 3, 6, 8, 10)


@register("alexnet", kind="model")
class AlexNet(nn.Module):
  """Five convolutions and three linear layers, the network of MAS on ImageNet-like images.

      5 × (conv → ReLU (→ max-pool 3×3 of stride 2)) → means of 6×6 regions
      → Dropout → Dense → ReLU → Dropout → Dense → ReLU → Dense

  Convolutions have 64, 192, 384, 256 and 256 channels; the first is 11×11 of stride 4, the second
  5×5, the others 3×3; the first, second and last are followed by the max-pool. Images of 224 pixels
  leave 6×6 positions, of which the means are the values themselves. With 1000 outputs it has
  61,100,840 parameters and is torchvision's `alexnet`, whose weights `tagjax.models.torch_weights`
  reads. Initial values are uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    hidden: width of the two hidden linear layers, at least 1.
    dropout: probability that an input of a hidden linear layer is dropped in training; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  References:
    Krizhevsky, 2014, "One weird trick for parallelizing convolutional neural networks",
    https://arxiv.org/abs/1404.5997; Aljundi et al., 2018, "Memory Aware Synapses",
    https://arxiv.org/abs/1711.09601

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((1, 224, 224, 3)), jnp.zeros(1, jnp.int32)
  >>> init = functools.partial(AlexNet(num_outputs=1000).init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(1, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  61100840
  """

  num_outputs: int
  hidden: int = 4096
  dropout: float = 0.5
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    check_widths(hidden=self.hidden)
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
      image: float `[B, H, W, C]`, H and W at least 63.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, unused: rows do not meet.
      train: whether to drop units, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]` or too small for the pooling.
    """
    del task_id, mask
    check_image(image, "AlexNet", _SMALLEST)
    x = image.astype(self.compute_dtype)
    for layer, (channels, size, stride, padding, pool) in enumerate(_LAYERS):
      options = {"padding": padding, "convolve": self.convolve, "name": f"conv{layer}"}
      x = nn.relu(Conv(channels, size, stride, use_bias=True, **options)(x))
      x = max_pool(x, 3, 2) if pool else x
    # Channels first, the order that torchvision's first linear layer has its weights in.
    x = region_means(x, _SIDE).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    for layer in range(2):
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = nn.relu(torch_dense(x, self.hidden, f"hidden{layer}"))
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)

  def torch_names(self) -> dict[str, str]:
    """Layers of this network -> torchvision's names of them, see `torch_weights`."""
    names = {f"conv{layer}": f"features.{place}" for layer, place in enumerate(_TORCH_PLACES)}
    return names | {"hidden0": "classifier.1", "hidden1": "classifier.4", "head": "classifier.6"}


def region_means(x: chex.Array, side: int) -> chex.Array:
  """Means of `side`² regions that cover the image, PyTorch's adaptive average pooling.

  Region i of a direction with n positions reaches from `floor(i n / side)` to
  `ceil((i + 1) n / side)`: regions overlap where `side` does not divide n, and repeat positions
  where n is smaller.

  Args:
    x: float `[B, H, W, C]`.
    side: regions in each direction.

  Returns:
    `[B, side, side, C]`, the dtype of `x`.
  """
  rows, columns = (jnp.asarray(_shares(length, side), x.dtype) for length in x.shape[1:3])
  return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _shares(length: int, side: int) -> np.ndarray:
  """Weight of each position in each region, `[side, length]`."""
  shares = np.zeros((side, length))
  for region in range(side):
    first, last = region * length // side, -(-(region + 1) * length // side)
    shares[region, first:last] = 1 / (last - first)
  return shares
