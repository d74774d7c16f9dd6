"""The AlexNet of continual learning on CIFAR, known from HAT."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.checks import check_image, check_rates, check_widths
from tagjax.models.convolution import Conv, Convolve, convolve
from tagjax.models.mlp import torch_dense
from tagjax.models.pooling import max_pool

_LAYERS = ((64, 4), (128, 3), (256, 2))  # channels, size
_SMALLEST = 21


@register("cifar_alexnet", kind="model")
class CifarAlexNet(nn.Module):
  """Three convolutions without padding and three linear layers.

      3 × (conv → ReLU → Dropout → max-pool 2×2) → 2 × (Dense → ReLU → Dropout) → Dense

  Convolutions have 64, 128 and 256 channels and are 4×4, 3×3 and 2×2. For images of 32 pixels and
  100 outputs it has 6,708,772 parameters. Initial values are uniform on `±1/√fan_in`.

  Attributes:
    num_outputs: K, the outputs of the head.
    hidden: width of the two hidden linear layers.
    dropout: probability that an element is dropped in training, after each convolution; in [0, 1).
    hidden_dropout: the same after each hidden linear layer; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  References:
    Serrà et al., 2018, "Overcoming Catastrophic Forgetting with Hard Attention to the Task",
    https://arxiv.org/abs/1801.01423

  >>> import functools, jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, jnp.int32)
  >>> init = functools.partial(CifarAlexNet(num_outputs=100).init, train=False)
  >>> call = {"task_id": task_id, "mask": jnp.ones(1, bool)}
  >>> variables = jax.eval_shape(init, jax.random.key(0), image, **call)
  >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  6708772
  """

  num_outputs: int
  hidden: int = 2048
  dropout: tuple[float, float, float] = (0.2, 0.2, 0.5)
  hidden_dropout: float = 0.5
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=tuple(self.dropout), hidden_dropout=self.hidden_dropout)
    check_widths(hidden=self.hidden)
    if len(self.dropout) != 3:
      raise ValueError(f"dropout must be three rates in [0, 1), got {self.dropout!r}")
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
      image: float `[B, H, W, C]`, H and W at least 21.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, unused: rows do not meet.
      train: whether to drop elements, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]` or too small for the pooling.
    """
    del task_id, mask
    check_image(image, "CifarAlexNet", _SMALLEST)
    x = image.astype(self.compute_dtype)
    for layer, ((channels, size), rate) in enumerate(zip(_LAYERS, self.dropout, strict=True)):
      options = {"padding": 0, "convolve": self.convolve, "name": f"conv{layer}"}
      x = nn.relu(Conv(channels, size, use_bias=True, **options)(x))
      x = max_pool(nn.Dropout(rate, deterministic=not train)(x), 2)
    x = x.reshape(x.shape[0], -1)
    for layer in range(2):
      x = nn.relu(torch_dense(x, self.hidden, f"hidden{layer}"))
      x = nn.Dropout(self.hidden_dropout, deterministic=not train)(x)
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)
