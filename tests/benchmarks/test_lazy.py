"""Lazy images read like the arrays that they stand for."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import lazy

IMAGE = np.arange(20 * 2 * 3, dtype=np.uint8).reshape(20, 2, 3)


class Counted:
  """An array that is none, and counts the rows that are read."""

  def __init__(self, image):
    self.shape, self.dtype, self.read = image.shape, image.dtype, 0
    self._image = image

  def __len__(self):
    return len(self._image)

  def __getitem__(self, rows):
    self.read += len(rows)
    return self._image[rows]


def test_chosen_rows_are_read_when_asked_for():
  image, rows = Counted(IMAGE), np.array([3, 17, 4, 4])
  pool = datasets.Examples(image, np.zeros(20, np.int32))
  chosen = lazy.choose(pool, rows, lambda image: 255 - image)
  assert (chosen.shape, len(chosen), chosen.dtype, image.read) == ((4, 2, 3), 4, np.uint8, 0)
  np.testing.assert_array_equal(chosen[np.array([1, 0])], 255 - IMAGE[[17, 3]])
  assert image.read == 2


def test_arrays_are_made_at_once():
  pool = datasets.Examples(IMAGE, np.zeros(20, np.int32))
  chosen = lazy.choose(pool, np.array([5, 1]), None)
  assert isinstance(chosen, np.ndarray)
  np.testing.assert_array_equal(chosen, IMAGE[[5, 1]])


@pytest.mark.parametrize("sizes", [(5, 8, 7), (1, 0, 19), (20,)])
def test_joined_parts_are_their_concatenation(sizes):
  parts = np.split(IMAGE, np.cumsum(sizes)[:-1])
  joined = lazy.join([Counted(part) for part in parts[:-1]] + [parts[-1]])
  rows = np.random.default_rng(0).permutation(20)[:13]
  expected = np.concatenate(parts)
  if len(sizes) > 1:
    assert lazy.is_lazy(joined)
  assert (len(joined), joined.shape, joined.dtype) == (20, IMAGE.shape, np.uint8)
  np.testing.assert_array_equal(joined[rows], expected[rows])
  assert joined[rows[:0]].shape == (0, 2, 3)


def test_arrays_are_joined_to_an_array():
  joined = lazy.join([IMAGE[:3], IMAGE[3:]])
  assert isinstance(joined, np.ndarray)
  np.testing.assert_array_equal(joined, IMAGE)
