"""Images that are read and made when asked for, because all of them would not fit into memory.

What they stand for reads like an array: `shape`, `dtype`, `len`, and `[rows]` with an array of row
numbers, which gives uint8 `[n, ...]`. `decode.Records` and `kept_images.KeptImages` of
`tagjax.datasets` are of that kind.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tagjax import datasets


def is_lazy(image) -> bool:
  """Whether images are made when asked for, in place of an array (in memory or mapped)."""
  return not isinstance(image, np.ndarray)


class ChosenImages:
  """Some rows of other images, transformed.

  Attributes:
    shape: `[N, ...]`.
    dtype: that of the others.
  """

  def __init__(self, image, rows: np.ndarray, transform: Callable | None = None):
    """Stands for `transform(image[rows])`.

    Args:
      image: the others.
      rows: int `[N]`.
      transform: images -> images of the same shape, row by row; None: as they are.
    """
    self.shape = (len(rows), *image.shape[1:])
    self.dtype = image.dtype
    self._image, self._rows, self._transform = image, rows, transform

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    image = self._image[self._rows[rows]]
    return image if self._transform is None else self._transform(image)


class JoinedImages:
  """Several images one after another, each an array or lazy.

  Attributes:
    shape: `[N, ...]`.
    dtype: that of all of them.
  """

  def __init__(self, parts: Sequence):
    """Stands for `np.concatenate(parts)`."""
    self._parts = tuple(parts)
    self._ends = np.cumsum([len(part) for part in parts])
    self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
    self.dtype = parts[0].dtype

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows)
    result = np.empty((len(rows), *self.shape[1:]), self.dtype)
    of_part = np.searchsorted(self._ends, rows, side="right")
    for number in np.unique(of_part):
      places = np.flatnonzero(of_part == number)
      start = self._ends[number] - len(self._parts[number])
      result[places] = self._parts[number][rows[places] - start]
    return result


def join(parts: Sequence):
  """The images of `parts` one after another: an array, or lazy where one of them is."""
  return JoinedImages(parts) if any(is_lazy(part) for part in parts) else np.concatenate(parts)


def choose(pool: datasets.Examples, rows: np.ndarray, transform: Callable | None):
  """`transform(pool.image[rows])`, made now of an array, and later of what is lazy."""
  chosen = ChosenImages(pool.image, rows, transform)
  return chosen if is_lazy(pool.image) else chosen[np.arange(len(rows))]
