"""LeNet-5, the small convolutional network of the MNIST benchmarks."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.checks import check_image, check_rates
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.mlp import torch_dense
from tagjax.models.pooling import max_pool

_SIDE = 32
_CHANNELS = (6, 16)
_HIDDEN = (120, 84)


@register("lenet", kind="model")
class LeNet(nn.Module):
  """Two convolutions and three linear layers.

      2 × (conv 5×5 without padding → ReLU → max-pool 2×2) → 2 × (Dense → ReLU → Dropout) → Dense

  Images of less than 32 pixels stand in the middle of 32 pixels of zeros. Convolutions have 6 and
  16 channels, hidden layers 120 and 84 units: 61,706 parameters for grey images of up to 32 pixels
  and 10 outputs. Initial values are uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    dropout: probability that a hidden unit is dropped in training; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  Differs from the paper, as most code of today does: ReLU for tanh, largest values for means with
  weights, all channels connected, and a linear head.

  References:
    LeCun et al., 1998, "Gradient-based learning applied to document recognition",
    https://doi.org/10.1109/5.726791

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((1, 28, 28, 1)), jnp.zeros(1, jnp.int32)
  >>> init = functools.partial(LeNet(num_outputs=10).init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(1, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  61706
  """

  num_outputs: int
  dropout: float = 0.0
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
      train: whether to drop units, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`.
    """
    del task_id, mask
    check_image(image, "LeNet")
    x = _framed(image.astype(self.compute_dtype))
    for layer, channels in enumerate(_CHANNELS):
      options = {"padding": 0, "convolve": self.convolve, "name": f"conv{layer}"}
      x = max_pool(nn.relu(Conv(channels, 5, use_bias=True, **options)(x)), 2)
    x = x.reshape(x.shape[0], -1)
    for layer, width in enumerate(_HIDDEN):
      x = nn.relu(torch_dense(x, width, f"hidden{layer}"))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)


def _framed(image: chex.Array) -> chex.Array:
  """The image in the middle of at least 32×32 pixels, zeros around it."""
  lacking = [max(0, _SIDE - side) for side in image.shape[1:3]]
  margins = [(rows // 2, rows - rows // 2) for rows in lacking]
  return jnp.pad(image, ((0, 0), *margins, (0, 0)))
