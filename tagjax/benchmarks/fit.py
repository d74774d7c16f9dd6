"""Images of several data sets brought to one size and to three channels."""

import functools

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import lazy
from tagjax.datasets import loader

_ROWS_AT_ONCE = 4096


class FittedImages:
  """Lazy images that are brought to a size when they are asked for.

  Attributes:
    shape: `[N, size, size, 3]`.
    dtype: uint8.
  """

  def __init__(self, image, size: int):
    """Stands for `fit_images(image, size)`."""
    self.shape, self.dtype = (len(image), size, size, 3), image.dtype
    self._image, self._size = image, size

  def __len__(self) -> int:
    return len(self._image)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    return fit_images(self._image[rows], self._size)


def fit_dataset(
  dataset: datasets.Dataset, size: int, input: str = "auto"
) -> tuple[datasets.Dataset, functools.partial | None]:
  """Brings the images of a data set to `[size, size, 3]`.

  Args:
    dataset: the data set; its images may be lazy.
    size: height and width.
    input: `"auto"`: images that are large then (`loader.LARGE_BYTES`) become lazy, as those of
      32 x 32 do at 224 x 224; `"memory"`: they do not.

  Returns:
    The data set, and the transform that brings its images to the size. None if they have it, or
    are lazy and do it by themselves: a transform of lazy images must keep their shape.
  """
  pools = (dataset.train, dataset.test)
  if all(pool.image.shape[1:] == (size, size, 3) for pool in pools):
    return dataset, None
  num_bytes = 3 * size * size * sum(len(pool.label) for pool in pools)
  is_large = input == "auto" and num_bytes > loader.LARGE_BYTES
  if is_large or any(lazy.is_lazy(pool.image) for pool in pools):
    train, test = (pool._replace(image=FittedImages(pool.image, size)) for pool in pools)
    return dataset._replace(train=train, test=test), None
  return dataset, functools.partial(fit_images, size=size)


def fit_images(image: np.ndarray, size: int) -> np.ndarray:
  """Grey images become three equal channels; other sizes are resized without regard to proportions.

  Bilinear, and where the image shrinks averaged over what a new pixel covers, as Pillow's
  `Image.resize` with `BILINEAR` does. That rounds twice, after the columns and after the rows, and
  this once: the two differ by one level at most.

  Args:
    image: uint8 `[N, H, W, C]`, C 1 or 3.
    size: height and width of the result.

  Returns:
    uint8 `[N, size, size, 3]`.

  >>> fit_images(np.full((2, 28, 28, 1), 7, np.uint8), size=32).shape
  (2, 32, 32, 3)
  """
  height, width, channels = image.shape[1:]
  fitted = np.empty((len(image), size, size, channels), np.uint8)
  if (height, width) == (size, size):
    fitted[:] = image
  else:
    rows, columns = _resampling(height, size), _resampling(width, size)
    # Slices bound the floating point copy.
    for start in range(0, len(image), _ROWS_AT_ONCE):
      part = image[start : start + _ROWS_AT_ONCE].astype(np.float32)
      part = np.moveaxis(part, 3, 1)
      values = rows @ part @ columns.T
      fitted[start : start + _ROWS_AT_ONCE] = np.floor(np.moveaxis(values, 1, 3) + 0.5)
  return np.repeat(fitted, 3, axis=3) if channels == 1 else fitted


@functools.lru_cache(maxsize=32)
def _resampling(old: int, new: int) -> np.ndarray:
  """float32 `[new, old]`: the weights of the old pixels in each new one; each row sums to 1."""
  scale = old / new
  reach = max(scale, 1.0)  # a shrinking image is averaged, a growing one interpolated
  centre = (np.arange(new)[:, np.newaxis] + 0.5) * scale
  distance = np.abs(np.arange(old) + 0.5 - centre)
  weight = np.maximum(0, 1 - distance / reach)
  return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
