"""How stored pixels become what a model sees."""

from collections.abc import Callable

import chex
import jax.numpy as jnp
import numpy as np

from tagjax.core.types import holds_tokens


def _standardised(mean, deviation) -> tuple[np.ndarray, np.ndarray]:
  """What `(x - mean) / deviation` makes of 0 and of 1."""
  mean, deviation = np.asarray(mean), np.asarray(deviation)
  return -mean / deviation, (1 - mean) / deviation


NORMALIZATIONS: dict[str, tuple[float | np.ndarray, float | np.ndarray]] = {
  "unit": (0.0, 1.0),
  "signed": (-1.0, 1.0),
  "centered": (-0.5, 0.5),
  "imagenet": _standardised([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
  "cifar": _standardised([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
  "mnist": _standardised([0.1307], [0.3081]),
  "legacy_cub": _standardised(np.array([104.44, 117.28, 124.18]) / 255, [1 / 510] * 3),
  "legacy_agem": _standardised(np.array([103.94, 116.78, 123.68]) / 255, [1 / 255] * 3),
  "mean_image": (0.0, 1.0),
}
"""Ranges that stored pixels `0..max_value` are mapped to; of all channels, or `[C]`, of each.

Those from `"imagenet"` to `"legacy_agem"` give `(x - mean) / deviation` with the figures of a data
set's channels: of ImageNet, which weights learnt there expect; of CIFAR-100 and MNIST, as iTAML's
code has them. `"legacy_cub"` is what TAG's code makes of CUB: `((255 x - mean) - 0.5) * 2` with
ImageNet's means in the order blue, green, red, taken from red, green, blue; some -250 to 300.
`"legacy_agem"` is what A-GEM's code makes of CUB and AWA2: `255 x - mean`, in the same wrong order.
Of `"mean_image"` the mean of all training images is taken off pixel by pixel, as A-GEM's code does
with CIFAR-100.
"""


_BYTES = np.dtype(np.uint8)


def normalizer(
  name: str,
  max_value: float,
  image_shape: tuple[int, ...],
  image_dtype: np.dtype = _BYTES,
  mean_image: np.ndarray | None = None,
) -> Callable[[chex.Array], chex.Array]:
  """The map from stored images `[B, ...]` to what the model gets.

  Args:
    name: a key of `NORMALIZATIONS`.
    max_value: the largest stored value.
    image_shape: of one image.
    mean_image: float `[...]`, the mean of the training images as they are stored, for
      `"mean_image"`.
    image_dtype: of the stored images. Tokens (`tagjax.core.types.holds_tokens`) stay as they are.

  Returns:
    `image -> image * scale + low`, float32 (or wider, as floating images are); takes stored and
    floating images.

  Raises:
    ValueError: if the name is unknown, has figures for other channels than the images have, or
      asks for another range of tokens.

  >>> normalizer("signed", 255, (1,))(jnp.array([[0], [255]], jnp.uint8)).tolist()
  [[-1.0], [1.0]]
  >>> normalizer("unit", 1, (2,), np.dtype(np.int32))(jnp.array([[7, 8]])).tolist()
  [[7, 8]]
  """
  if name not in NORMALIZATIONS:
    raise ValueError(f"normalization={name!r} is unknown: choose one of {sorted(NORMALIZATIONS)}")
  if holds_tokens(image_dtype):
    return _as_they_are(name, image_dtype)
  low, high = NORMALIZATIONS[name]
  if name == "mean_image":
    if mean_image is None:
      raise ValueError("normalization='mean_image' needs the mean of the training images")
    low, high = (bound - np.float32(mean_image) / max_value for bound in (low, high))
  elif np.ndim(low) and image_shape[-1:] != low.shape:
    raise ValueError(
      f"normalization={name!r} is for images of {len(low)} channels, and these are {image_shape}: "
      "choose 'unit' or 'signed'"
    )

  def as_wide(bound):
    """Of each channel, or of each pixel, beside the axis of the batch."""
    if not np.ndim(bound):
      return bound
    return np.float32(bound).reshape((1,) * (1 + len(image_shape) - np.ndim(bound)) + bound.shape)

  scale, low = as_wide((high - low) / max_value), as_wide(low)
  return lambda image: image.astype(jnp.promote_types(image.dtype, jnp.float32)) * scale + low


def _as_they_are(name: str, image_dtype: np.dtype) -> Callable[[chex.Array], chex.Array]:
  if name != "unit":
    raise ValueError(
      f"normalization={name!r} is for pixels, and the stream has integers ({image_dtype}), which "
      "reach the model as they are: leave 'unit'"
    )
  return lambda image: image
