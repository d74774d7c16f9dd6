"""The two residual networks of the A-GEM benchmarks: RESNET-S and RESNET-B."""

import math

import chex
import jax
import jax.numpy as jnp

from tagjax.core.register import register
from tagjax.models.resnet18 import ResNet18

_EPSILON = 1e-3


@register("resnet_s", kind="model")
def resnet_s(
  num_outputs: int,
  *,
  dropout: float = 0.0,
  axis_name: str | None = None,
  compute_dtype: jnp.dtype = jnp.float32,
  **options,
) -> ResNet18:
  """RESNET-S, for split CIFAR-100: a `ResNet18` of 20, 40, 80 and 160 channels.

  The stem is a 3×3 convolution, shortcuts are normalised, BN's epsilon is 1e-3. With 100 outputs it
  has 1,109,240 parameters, whatever the size of the image. Kernels start uniform on
  `±1/√(k I)`, k the height of the kernel and I its input channels; the head on `±1/√fan_in`.

  Args:
    num_outputs: K, the outputs of the head.
    dropout: probability that a feature is dropped in training, before the head; in [0, 1).
    axis_name: mapped axis of devices, for batch normalisation.
    compute_dtype: see `ResNet18`.
    **options: other attributes of `ResNet18`.

  Differs from the reference code: padding is the same on all sides, where TensorFlow's "SAME" puts
  that of a stride of 2 at the end.

  References:
    Chaudhry et al., 2019, "Efficient Lifelong Learning with A-GEM",
    https://arxiv.org/abs/1812.00420

  >>> resnet_s(num_outputs=100).width
  20
  """
  settings = {"width": 20, "stem": "cifar", "epsilon": _EPSILON, "kernel_init": agem_kernel}
  common = {"dropout": dropout, "axis_name": axis_name, "compute_dtype": compute_dtype}
  return ResNet18(num_outputs, **settings | common | options)


@register("resnet_b", kind="model")
def resnet_b(
  num_outputs: int,
  *,
  dropout: float = 0.0,
  axis_name: str | None = None,
  compute_dtype: jnp.dtype = jnp.float32,
  **options,
) -> ResNet18:
  """RESNET-B, for split CUB and AWA2: a `ResNet18` without max-pool, and plain shortcuts.

  The stem is a 7×7 convolution of stride 2; shortcuts with a convolution have no BN, whose epsilon
  is 1e-3. With 200 outputs it has 11,277,320 parameters. Initial values as `resnet_s`.

  Args:
    num_outputs: K, the outputs of the head.
    dropout: probability that a feature is dropped in training, before the head; in [0, 1).
    axis_name: mapped axis of devices, for batch normalisation.
    compute_dtype: see `ResNet18`.
    **options: other attributes of `ResNet18`.

  Differs from the reference code: it takes weights learnt on ImageNet from a file of its own; those
  of torchvision belong to `ResNet18` with its defaults. Padding as in `resnet_s`.

  References:
    Chaudhry et al., 2019, "Efficient Lifelong Learning with A-GEM",
    https://arxiv.org/abs/1812.00420

  >>> resnet_b(num_outputs=200).stem
  'unpooled'
  """
  settings = {
    "stem": "unpooled",
    "normalise_shortcut": False,
    "epsilon": _EPSILON,
    "kernel_init": agem_kernel,
  }
  common = {"dropout": dropout, "axis_name": axis_name, "compute_dtype": compute_dtype}
  return ResNet18(num_outputs, **settings | common | options)


def agem_kernel(key: chex.PRNGKey, shape: tuple[int, ...], dtype=float) -> chex.Array:
  """Uniform on `±1/√(k I)` for a kernel `[k, k, I, O]`: √k wider than PyTorch's default."""
  bound = 1 / math.sqrt(shape[0] * shape[-2])
  return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)
