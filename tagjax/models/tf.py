"""Tensor factorization."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.models.lasem_network import PRESETS, Convolutions
from tagjax.models.transfer_cnn import TransferCNN, transfer_cnn
from tagjax.models.transfer_layers import Drawn, Sizes, glorot, plain


class TF(NamedTuple):
  """Tensor factorization: a common tensor K, of which each task changes all four modes.

  `W[a', b', c', d'] = Σ_abcd K[a, b, c, d] U1[a, a'] U2[b, b'] U3[c, c'] U4[d, d']`; square U and a
  bias of each task's own.
  """

  def shared(self, sizes: Sizes) -> Drawn:
    return {"base": (glorot, plain(sizes)["kernel"][1])}

  def factors(self, sizes: Sizes) -> Drawn:
    widths = plain(sizes)["kernel"][1]
    modes = {f"u{mode}": (glorot, (width, width)) for mode, width in enumerate(widths, 1)}
    return {**modes, "bias": (glorot, (sizes.outputs,))}

  def weights(self, shared, factors):
    kernel = shared["base"]
    for mode, (before, after) in enumerate(zip("abcd", "wxyz", strict=True), 1):
      given = "abcd"
      made = given.replace(before, after)
      kernel = jnp.einsum(
        f"{given},{before}{after}->{made}", kernel, factors[f"u{mode}"], precision="highest"
      )
    return kernel, factors["bias"]


@register("tf", kind="model", shares="convolutions")
def tf(
  spec: StreamSpec,
  *,
  sharing: str | tuple[bool, ...] = "all",
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> TransferCNN:
  """Tensor factorization: shared kernels are a common tensor, multiplied by matrices of each task.

  The orthogonality loss of the matrices is in the method `factor_penalty`. STL-10's presets have a
  single hidden layer, of 128, here.

  Args:
    spec: the stream, of the scenario `"task"`.
    sharing: see `hps`.
    compute_dtype: see `LasemNetwork`.
    **convolutions: see `hps`.

  Raises:
    ValueError: see `hps`.

  References:
    Bulat, Kossaifi, Tzimiropoulos, Pantic. Incremental multi-domain learning with network latent
      tensor factorization. AAAI 2020.
  """
  given = Convolutions(**convolutions)
  if given.hidden is None and given.preset.startswith("stl10"):
    given = given._replace(hidden=PRESETS[given.preset]["hidden"][:1])
  fields = given.fields()
  transfer = (TF(),) * len(fields["channels"])
  return transfer_cnn(spec, "tf", sharing, transfer, compute_dtype=compute_dtype, **fields)
