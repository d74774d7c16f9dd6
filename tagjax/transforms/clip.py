"""Gradient clipping, by Optax, under one name."""

import math
from typing import Literal, get_args

import optax

from tagjax.core.register import register
from tagjax.transforms.checks import check_choice, check_range

By = Literal["global_norm", "value", "block_rms", "unitwise"]

_CLIPPINGS = {
  "global_norm": optax.clip_by_global_norm,
  "value": optax.clip,
  "block_rms": optax.clip_by_block_rms,
  "unitwise": optax.adaptive_grad_clip,
}


@register("clip", kind="modifier", needs_past=False)
def clip(max_norm: float = 1.0, by: By = "global_norm") -> optax.GradientTransformation:
  """Bounds the gradient; stands before the optimizer.

  Args:
    max_norm: the bound, greater than 0.
    by: what is bounded. `"global_norm"`: the L2 norm of the whole gradient, which is scaled.
      `"value"`: each number, which is cut off. `"block_rms"`: the root mean square of each tensor.
      `"unitwise"`: the norm of each unit's gradient over that of its weights (adaptive clipping;
      tensors of at most four axes).

  Returns:
    The transformation.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> import jax.numpy as jnp
    >>> transform = clip(1.0)
    >>> updates, _ = transform.update(jnp.array([3.0, 4.0]), transform.init(None))
    >>> print(updates.round(3))
    [0.6 0.8]

  References:
    Brock, De, Smith, Simonyan. High-Performance Large-Scale Image Recognition Without
    Normalization. ICML 2021 (unitwise).
  """
  check_range("max_norm", max_norm, 0.0, math.inf, "(0, inf)")
  check_choice("by", by, get_args(By))
  return _CLIPPINGS[by](max_norm)
