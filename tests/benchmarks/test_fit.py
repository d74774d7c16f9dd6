"""Images brought to one size, as Pillow does it."""

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.benchmarks import fit, lazy


@pytest.mark.parametrize("size", [16, 28, 32, 45])
@pytest.mark.parametrize("shape", [(28, 28), (20, 33)])
def test_equals_pillow_up_to_one_level(shape, size):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (3, *shape, 3)).astype(np.uint8)
  fitted = fit.fit_images(image, size)
  assert fitted.dtype == np.uint8
  for one, mine in zip(image, fitted, strict=True):
    theirs = Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR)
    assert abs(np.asarray(theirs).astype(int) - mine).max() <= 1


def test_grey_becomes_three_equal_channels():
  image = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype(np.uint8)
  np.testing.assert_array_equal(fit.fit_images(image, 28), np.repeat(image, 3, axis=3))
  assert fit.fit_images(image[:0], 32).shape == (0, 32, 32, 3)
  large = fit.fit_images(image, 32)
  np.testing.assert_array_equal(large[..., 0], large[..., 2])


def test_white_stays_white():
  white = np.full((1, 28, 28, 1), 255, np.uint8)
  assert (fit.fit_images(white, 224) == 255).all()
  assert (fit.fit_images(white, 9) == 255).all()


def test_more_images_than_are_resized_at_once(monkeypatch):
  monkeypatch.setattr(fit, "_ROWS_AT_ONCE", 2)
  image = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
  expected = np.concatenate([fit.fit_images(image[row : row + 1], 12) for row in range(5)])
  np.testing.assert_array_equal(fit.fit_images(image, 12), expected)


def test_what_is_lazy_stays_lazy():
  image = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
  rows = np.array([5, 0, 3])
  pool = datasets.Examples(lazy.ChosenImages(image, np.arange(6)), np.zeros(6, np.int32))
  fitted, transform = fit.fit_pool(pool, 12)
  assert transform is None
  assert lazy.is_lazy(fitted.image)
  assert (fitted.image.shape, len(fitted.image)) == ((6, 12, 12, 3), 6)
  np.testing.assert_array_equal(fitted.image[rows], fit.fit_images(image[rows], 12))
  ready = datasets.Examples(image.repeat(3, axis=3), pool.label)
  assert fit.fit_pool(ready, 8) == (ready, None)
