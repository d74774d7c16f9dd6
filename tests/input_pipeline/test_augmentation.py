"""Augmented images against NumPy and SciPy; off by default; a function of the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tagjax.input_pipeline.augmentation import Augmentation, augment, check_augmentable

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 7, 9, 3)).astype(np.uint8)

JITTED = jax.jit(augment, static_argnums=(2, 3))


def changed(image=IMAGE, seed=0, max_value=255, **options):
  ours = JITTED(jax.random.key(seed), jnp.asarray(image), Augmentation(**options), max_value)
  assert (ours.shape, ours.dtype) == (image.shape, jnp.float32)
  return np.asarray(ours)


def test_nothing_by_default():
  assert not Augmentation()
  np.testing.assert_array_equal(changed(), IMAGE)


@pytest.mark.parametrize(
  "options",
  [{"crop": 2}, {"flip": True}, {"rotation": 20.0}, {"colour": 0.3}, {"resized_crop": 0.2}],
)
def test_each_image_is_changed_in_its_own_way_by_the_key(options):
  assert Augmentation(**options)
  same = np.repeat(IMAGE[:1], 12, axis=0)
  ours = changed(same, **options)
  assert len(np.unique(ours.reshape(12, -1), axis=0)) > 1
  np.testing.assert_array_equal(ours, changed(same, **options))
  assert not np.array_equal(ours, changed(same, seed=1, **options))


def test_a_crop_is_a_part_of_the_image_with_its_margin():
  padded = np.pad(IMAGE, ((0, 0), (2, 2), (2, 2), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 9), axis=(1, 2))
  windows = np.moveaxis(windows, 3, -1).reshape(12, 25, 7, 9, 3)
  places = set()
  for seed in range(8):
    for one, parts in zip(changed(crop=2, seed=seed), windows, strict=True):
      fits = [place for place, part in enumerate(parts) if np.array_equal(part, one)]
      assert len(fits) == 1
      places.update(fits)
  assert len(places) > 20  # of the 25 that there are, in 96 draws


def test_a_resized_crop_is_a_rectangle_that_pillow_brings_to_size():
  """Of an image whose rows and columns tell where a pixel comes from."""
  height, width = 24, 30
  rows, columns = np.meshgrid(np.arange(height) * 8.0, np.arange(width) * 8.0, indexing="ij")
  image = np.stack([rows, columns, rows + columns], axis=-1)[None]
  shares = []
  for ours in changed(np.repeat(image, 40, axis=0), resized_crop=0.3):
    (top, left), (bottom, right) = ours[0, 0, :2] / 8, ours[-1, -1, :2] / 8
    box = [round(float(edge)) for edge in (left, top, right + 1, bottom + 1)]
    for channel in range(3):
      plane = Image.fromarray(image[0, ..., channel].astype(np.float32)).crop(box)
      expected = plane.resize((width, height), Image.Resampling.BILINEAR)
      np.testing.assert_allclose(ours[..., channel], expected, atol=1e-3)
    high, wide = box[3] - box[1], box[2] - box[0]
    assert 0.7 < wide / high < 1.4
    shares.append(high * wide / (height * width))
  assert 0.27 < min(shares) < 0.5
  assert max(shares) > 0.75


def test_every_second_image_is_mirrored():
  mirrored = 0
  for seed in range(8):
    for one, image in zip(changed(flip=True, seed=seed), IMAGE, strict=True):
      is_mirrored = np.array_equal(one, image[:, ::-1])
      assert is_mirrored or np.array_equal(one, image)
      mirrored += is_mirrored
  assert 30 < mirrored < 66  # of 96; beyond four standard deviations


def test_a_turned_image_is_that_of_scipy():
  ours = changed(IMAGE[:3], rotation=30.0)
  angles = np.linspace(-30, 30, 2401)
  for one, image in zip(ours, IMAGE[:3].astype(float), strict=True):
    # The angle is not told: the nearest one of a fine grid must explain the image.
    errors = [
      np.abs(ndimage.rotate(image, angle, (0, 1), reshape=False, order=1)[2:5, 2:7] - one[2:5, 2:7])
      for angle in angles
    ]
    assert min(error.max() for error in errors) < 1.0


def test_no_angle_is_no_turn():
  np.testing.assert_allclose(changed(rotation=1e-6), IMAGE, atol=1e-3)


def test_colours_follow_their_definition():
  ours = changed(colour=0.4)
  keys = jax.random.split(jax.random.key(0), 12)
  for key, image, one in zip(keys, IMAGE.astype(float), ours, strict=True):
    factors = jax.random.uniform(jax.random.split(key, 4)[3], (3,), minval=0.6, maxval=1.4)
    brightness, contrast, saturation = np.asarray(factors, float)
    image = np.clip(brightness * image, 0, 255)
    image = np.clip(
      contrast * image + (1 - contrast) * (image @ [0.299, 0.587, 0.114]).mean(), 0, 255
    )
    grey = (image @ [0.299, 0.587, 0.114])[..., None]
    image = np.clip(saturation * image + (1 - saturation) * grey, 0, 255)
    np.testing.assert_allclose(one, image, atol=1e-2)


def test_grey_images_and_other_ranges():
  image = (IMAGE[..., :1] % 17).astype(np.uint8)
  ours = changed(image, crop=1, flip=True, rotation=10.0, colour=0.5, max_value=16)
  assert ours.min() >= 0
  assert ours.max() <= 16
  assert not np.array_equal(ours, image)


@pytest.mark.parametrize(("shape", "dtype"), [((8,), np.float32), ((4, 4, 1), np.int32)])
def test_what_is_no_image_is_not_augmented(shape, dtype):
  check_augmentable(Augmentation(), shape, np.dtype(dtype))
  with pytest.raises(ValueError, match=r"is for images \[H, W, C\], and the stream has"):
    check_augmentable(Augmentation(flip=True), shape, np.dtype(dtype))
