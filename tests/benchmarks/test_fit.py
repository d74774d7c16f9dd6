"""Images brought to one size, as Pillow does it."""

import numpy as np
import pytest
from PIL import Image

from tagjax.benchmarks import fit, lazy

from .conftest import make_dataset


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
  dataset = make_dataset(num_classes=2, shape=(8, 8, 1))
  train = dataset.train._replace(image=lazy.ChosenImages(dataset.train.image, np.arange(24)))
  fitted, transform = fit.fit_dataset(dataset._replace(train=train), 12)
  assert transform is None
  for mine, theirs in ((fitted.train, dataset.train), (fitted.test, dataset.test)):
    rows = np.array([5, 0, 3])
    assert lazy.is_lazy(mine.image)
    assert mine.image.shape == (len(theirs.label), 12, 12, 3)
    assert len(mine.image) == len(theirs.label)
    np.testing.assert_array_equal(mine.image[rows], fit.fit_images(theirs.image[rows], 12))


def test_what_has_the_size_stays_as_it_is():
  dataset = make_dataset(shape=(8, 8, 3))
  assert fit.fit_dataset(dataset, 8) == (dataset, None)
