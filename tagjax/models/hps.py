"""Hard parameter sharing."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.models.lasem_network import Convolutions
from tagjax.models.transfer_cnn import TransferCNN, transfer_cnn
from tagjax.models.transfer_layers import Drawn, Sizes, plain


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


@register("hps", kind="model", shares="convolutions")
def hps(
  spec: StreamSpec,
  *,
  sharing: str | tuple[bool, ...] = "all",
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> TransferCNN:
  """Hard parameter sharing: shared convolutions are the same for all tasks, biases included.

  Args:
    spec: the stream, of the scenario `"task"`.
    sharing: which convolutions are shared: `"all"`, `"none"`, `"top-2"` (the two nearest to the
      output), `"bottom-2"`, `"alternating"`, `"alternating-2"`, a row such as `"FFTT"` or `(False,
      True)`; or `"searched"`, which methods such as `lasem` need.
    compute_dtype: see `LasemNetwork`.
    **convolutions: fields of `tagjax.models.lasem_network.Convolutions`, such as `preset="stl10"`.

  Raises:
    ValueError: if the scenario is not `"task"`, `sharing` is unknown or has not a value for each
      convolution, or the sizes are not of the same number of layers.

  >>> import numpy as np
  >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "task", (32, 32, 3))
  >>> hps(spec, sharing="top-2").sharing
  (False, False, True, True)
  """
  fields = Convolutions(**convolutions).fields()
  transfer = (HPS(),) * len(fields["channels"])
  return transfer_cnn(spec, "hps", sharing, transfer, compute_dtype=compute_dtype, **fields)
