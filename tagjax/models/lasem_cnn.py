"""The plain convolutional networks of the LASEM benchmarks."""

from typing import Any

import chex
import jax.numpy as jnp
from flax import linen as nn

from tagjax.core.register import register
from tagjax.models.checks import check_image
from tagjax.models.convolution import Conv
from tagjax.models.lasem_network import Convolutions, LasemNetwork
from tagjax.models.pooling import max_pool_same
from tagjax.models.transfer_layers import plain_bias, plain_kernel


class LasemCNN(LasemNetwork):
  """A `LasemNetwork` all of whose layers are those of all tasks.

  Kernels start from a normal distribution of deviation 0.05 cut at two deviations, biases at 0.2.
  With 100 outputs the preset "cifar" has 334,276 parameters (32 pixels), with 130 "office_home"
  2,687,042 (128 pixels), with 60 "stl10" 552,364 (96 pixels).

  Differs from the reference code: there each task has hidden layers and a head of its own; here all
  tasks share the hidden layers, and the outputs of one head are shared out to them.

  >>> LasemCNN(num_outputs=100, **Convolutions(preset="cifar").fields()).channels
  (32, 32, 64, 64)
  """

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
      train: whether to drop features, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`, the attributes do not name the same number of
        layers, or a skip joins different shapes.
    """
    del task_id, mask
    check_image(image, "LasemCNN")
    x = self._convolutions(image.astype(self.compute_dtype))
    x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(x.shape[0], -1))
    for layer, width in enumerate(self.hidden):
      x = nn.relu(self._dense(width, f"hidden{layer}")(x))
    if features:
      return x.astype(jnp.float32)
    return self._dense(self.num_outputs, "head")(x).astype(jnp.float32)

  def _convolutions(self, x: chex.Array) -> chex.Array:
    options = {"convolve": self.convolve, "kernel_init": plain_kernel, "bias_init": plain_bias}
    inputs = []
    for layer, size in enumerate(self.sizes(x.shape[-1])):
      inputs.append(x)
      conv = Conv(size.outputs, size.kernel, use_bias=True, name=f"conv{layer}", **options)
      x = nn.relu(conv(x))
      if (first := self.skipped(layer)) is not None:
        self.check_skip(layer, inputs[first], x)
        x = inputs[first] + x
      x = max_pool_same(x, self.pools[layer])
    return x

  def _dense(self, width: int, name: str) -> nn.Dense:
    options = {
      "dtype": self.compute_dtype,
      "kernel_init": plain_kernel,
      "bias_init": plain_bias,
    }
    return nn.Dense(width, name=name, **options)


@register("lasem_cnn", kind="model", shares="convolutions")
def lasem_cnn(
  num_outputs: int, *, compute_dtype: jnp.dtype = jnp.float32, **convolutions: Any
) -> LasemCNN:
  """The network of the LASEM benchmarks with one head, all of whose layers all tasks share.

  Args:
    num_outputs: K, the outputs of the head.
    compute_dtype: see `LasemNetwork`.
    **convolutions: fields of `tagjax.models.lasem_network.Convolutions`, such as `preset="stl10"`.

  Raises:
    ValueError: if the sizes are not of the same number of convolutions.

  >>> lasem_cnn(100).channels
  (32, 32, 64, 64)
  """
  return LasemCNN(num_outputs, compute_dtype=compute_dtype, **Convolutions(**convolutions).fields())
