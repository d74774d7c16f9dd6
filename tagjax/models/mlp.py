"""A multi-layer perceptron, the usual model of the MNIST and digits benchmarks."""

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models import initializers
from tagjax.models.checks import check_rates, check_widths


def torch_dense(x: chex.Array, features: int, name: str, *, use_bias: bool = True) -> chex.Array:
  """A linear layer with PyTorch's initial values; call inside a compact module.

  Args:
    x: float `[B, I]`; its dtype is that of the product, the parameters are float32.
    features: O.
    name: of the submodule.
    use_bias: whether it has a bias.

  Returns:
    `[B, O]`, the dtype of `x`.
  """
  return nn.Dense(
    features,
    use_bias=use_bias,
    dtype=x.dtype,
    kernel_init=initializers.torch_kernel,
    bias_init=initializers.torch_bias(x.shape[-1]),
    name=name,
  )(x)


@register("mlp", kind="model")
class MLP(nn.Module):
  """A perceptron: flatten, then `Dense → ReLU → Dropout` for each hidden layer, then `Dense`.

  Attributes:
    num_outputs: K, the outputs of the head.
    hidden: widths of the hidden layers, at least 1; `()` for none.
    dropout: probability that a hidden unit is dropped in training; in [0, 1).
    head_bias: whether the head has a bias; iTAML's has none.
    compute_dtype: of the products and hidden units; see `tagjax.models`.

  >>> import jax, jax.numpy as jnp
  >>> image, task_id = jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32)
  >>> mask = jnp.ones(4, bool)
  >>> model = MLP(num_outputs=10)
  >>> variables = model.init(jax.random.key(0), image, task_id=task_id, mask=mask, train=False)
  >>> model.apply(variables, image, task_id=task_id, mask=mask, train=False).shape
  (4, 10)
  """

  num_outputs: int
  hidden: tuple[int, ...] = (256, 256)
  dropout: float = 0.0
  head_bias: bool = True
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    check_widths(hidden=tuple(self.hidden))
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
      image: float `[B, ...]`.
      task_id: int32 `[B]`, unused: the head is shared.
      mask: bool `[B]`, unused: rows do not meet.
      train: whether to drop units, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.
    """
    del task_id, mask
    x = jnp.reshape(image, (image.shape[0], -1)).astype(self.compute_dtype)
    for layer, width in enumerate(self.hidden):
      x = nn.relu(torch_dense(x, width, f"hidden{layer}"))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if features:
      return x.astype(jnp.float32)
    head = torch_dense(x, self.num_outputs, "head", use_bias=self.head_bias)
    return head.astype(jnp.float32)
