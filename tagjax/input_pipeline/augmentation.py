"""Random changes of training images, on the device: cut out, shifted, mirrored, turned, coloured.

Drawn anew for every image of every forward pass in training mode, exemplars that are replayed
included; evaluation and the ends of tasks see images as they are stored.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import ndimage

from tagjax.core.register import register_section
from tagjax.core.types import holds_tokens

_LOG_RATIO = math.log(4 / 3)  # of the sides of a rectangle, at most
_GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in the brightness (ITU-R BT.601)


@register_section("augmentation")
class Augmentation(NamedTuple):
  """What may be done to an image; nothing by default, as in the papers of most streams.

  Attributes:
    crop: pixels, at least 0, by which the image is shifted at most: it is padded with so many zeros
      on each side, and a part of the image's size is cut out at random.
    flip: whether every second image is mirrored, left to right.
    rotation: degrees, in [0, 180], by which the image is turned about its centre at most, either
      way; with linear interpolation, and 0 where the turned image leaves the frame empty.
    resized_crop: share of the area, in [0, 1]; 0: none. A rectangle of the image is brought to its
      size, with linear interpolation. Its area is drawn from this share to the whole, its ratio of
      width to height from 3/4 to 4/3.
    colour: s, in [0, 1]; brightness, contrast and (of three channels) saturation are changed by
      factors in `1 - s` to `1 + s`, in this order.
  """

  crop: int = 0
  flip: bool = False
  rotation: float = 0.0
  colour: float = 0.0
  resized_crop: float = 0.0

  def __bool__(self) -> bool:
    """Whether anything is done at all."""
    return any(self)


def augment(
  key: chex.PRNGKey, image: chex.Array, augmentation: Augmentation, max_value: float
) -> chex.Array:
  """Changes each image of a batch in its own way.

  Args:
    key: typed random key; the same key gives the same images.
    image: `[B, H, W, C]`, as stored, 0 to `max_value`.
    augmentation: what may be done.
    max_value: the largest value that a stored pixel can have; results are kept below it.

  Returns:
    float32 `[B, H, W, C]`.

  Differs from the reference code: torchvision draws the order of the changes of colour as well, and
  turns with the nearest pixel; its resized crop averages pixels where it shrinks, which does not
  happen here.

  >>> image = jnp.arange(2 * 2 * 3).reshape(1, 2, 2, 3)
  >>> (augment(jax.random.key(0), image, Augmentation(), 255) == image).all().item()
  True
  """

  def change(key, image):
    return _augment_one(key, image, augmentation, max_value)

  keys = jax.random.split(key, image.shape[0])
  return jax.vmap(change)(keys, image.astype(jnp.float32))


def check_augmentable(
  augmentation: Augmentation, image_shape: tuple[int, ...], image_dtype: np.dtype
) -> None:
  """Refuses to augment what is not an image.

  Raises:
    ValueError: if something is to be done to examples that are not `[H, W, C]`, or are tokens.
  """
  if augmentation and (len(image_shape) != 3 or holds_tokens(image_dtype)):
    raise ValueError(
      f"{augmentation} is for images [H, W, C], and the stream has {image_dtype} {image_shape}: "
      "leave it out"
    )


def _augment_one(key, image, augmentation, max_value):
  if augmentation.resized_crop:
    image = _resized_crop(jax.random.fold_in(key, 4), image, augmentation.resized_crop)
  crop_key, flip_key, turn_key, colour_key = jax.random.split(key, 4)
  if augmentation.crop:
    image = _crop(crop_key, image, augmentation.crop)
  if augmentation.flip:
    image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
  if augmentation.rotation:
    image = _turn(turn_key, image, augmentation.rotation)
  if augmentation.colour:
    image = _colour(colour_key, image, augmentation.colour, max_value)
  return image


def _crop(key, image, margin):
  padded = jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)))
  top, left = jax.random.randint(key, (2,), 0, 2 * margin + 1)
  return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _resized_crop(key, image, least):
  """As torchvision draws it: the first rectangle of ten that fits in; else the whole image."""
  size = jnp.asarray(image.shape[:2])
  area_key, ratio_key, place_key = jax.random.split(key, 3)
  area = jnp.prod(size) * jax.random.uniform(area_key, (10,), minval=least, maxval=1.0)
  log_ratio = jax.random.uniform(ratio_key, (10,), minval=-_LOG_RATIO, maxval=_LOG_RATIO)
  ratio = jnp.exp(jnp.stack([-log_ratio, log_ratio], axis=1))  # of height to width, and inverse
  drawn = jnp.round(jnp.sqrt(area[:, None] * ratio))
  fits = jnp.all((drawn >= 1) & (drawn <= size[None]), axis=1)
  shape = jnp.where(jnp.any(fits), drawn[jnp.argmax(fits)], size)
  start = jnp.floor(jax.random.uniform(place_key, (2,)) * (size - shape + 1))

  def weights(axis):
    """`[N, N]`: how much of each pixel there is in each new one; neighbours share it."""
    count = image.shape[axis]
    place = (jnp.arange(count) + 0.5) * shape[axis] / count - 0.5
    place = start[axis] + jnp.clip(place, 0, shape[axis] - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[:, None] - jnp.arange(count)[None]))

  return jnp.einsum("ia,jb,abc->ijc", weights(0), weights(1), image, precision="highest")


def _turn(key, image, degrees):
  angle = jnp.deg2rad(jax.random.uniform(key, minval=-degrees, maxval=degrees))
  height, width, _ = image.shape
  # Pixels from the centre; the turned image takes its pixel from where it was before.
  y, x = jnp.meshgrid(
    jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij"
  )
  source_y = jnp.cos(angle) * y - jnp.sin(angle) * x + (height - 1) / 2
  source_x = jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2

  def of_channel(channel):
    return ndimage.map_coordinates(channel, [source_y, source_x], order=1, mode="constant")

  return jax.vmap(of_channel, in_axes=-1, out_axes=-1)(image)


def _colour(key, image, strength, max_value):
  factors = jax.random.uniform(key, (3,), minval=1 - strength, maxval=1 + strength)
  brightness, contrast, saturation = factors

  def blend(image, other, factor):
    return jnp.clip(factor * image + (1 - factor) * other, 0, max_value)

  image = blend(image, 0.0, brightness)
  image = blend(image, jnp.mean(_grey(image)), contrast)
  return blend(image, _grey(image), saturation) if image.shape[-1] == 3 else image


def _grey(image):
  """`[H, W, 1]`, the brightness."""
  if image.shape[-1] != 3:
    return image
  return jnp.sum(image * jnp.asarray(_GREY).reshape(1, 1, 3), axis=-1, keepdims=True)
