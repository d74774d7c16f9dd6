"""Rotated benchmarks: every task shows the same images, turned by another fixed angle."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, holdout
from tagjax.benchmarks.stream import Stream
from tagjax.benchmarks.transformed import make_transformed

if TYPE_CHECKING:
  from scipy import sparse

_ROWS_AT_ONCE = 4096


def make_rotated(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "domain",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Each task turns all images, training, validation and test, by its own angle.

  The angle of task t is drawn uniformly (with `selection.data_seed`) from the t-th of T equal
  parts of 0 to 180 degrees, counter-clockwise, as in GEM.

  Differs from the reference code: that of GEM turns with nearest-neighbour interpolation; here it
  is linear, as in TAG's code (whose angles follow a table of their own).

  Args:
    dataset: the data set.
    name: name of the stream.
    num_tasks: T.
    scenario: `"domain"` (one output a class), or `"task"`, `"class"` (outputs of their own for
      each task).
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if the selection cannot be met.

  References:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017.
  """
  transforms = [
    (f"{angle:.1f} degrees", functools.partial(rotate_images, angle=angle))
    for angle in rotation_angles(num_tasks, selection.data_seed)
  ]
  return make_transformed(dataset, transforms, name=name, scenario=scenario, selection=selection)


def rotation_angles(num_tasks: int, data_seed: int) -> list[float]:
  """One angle a task in degrees, from T equal parts of [0, 180)."""
  part = 180.0 / num_tasks
  draws = (checks.generator(data_seed, "rotation", t).random() for t in range(num_tasks))
  return [part * (task_id + draw) for task_id, draw in enumerate(draws)]


def rotate_images(image: np.ndarray, angle: float) -> np.ndarray:
  """Turns images by `angle` degrees about their centres, keeping their size.

  Linear interpolation, 0 where the turned image leaves the frame empty: for every image what
  `scipy.ndimage.rotate(image, angle, reshape=False, order=1)` gives.

  Args:
    image: uint8 `[N, H, W]` or `[N, H, W, C]`.
    angle: degrees, counter-clockwise.

  Returns:
    The turned images, of the same shape and dtype.
  """
  height, width = image.shape[1:3]
  operator = _rotation_operator(height, width, angle)
  turned = np.empty_like(image)
  # Slices bound the floating point copy; a column of the operator's argument is a channel.
  for start in range(0, len(image), _ROWS_AT_ONCE):
    part = image[start : start + _ROWS_AT_ONCE]
    pixels = np.moveaxis(part.reshape(len(part), height * width, -1), 1, 0)
    values = operator @ pixels.reshape(height * width, -1).astype(np.float64)
    values = np.moveaxis(values.reshape(pixels.shape), 0, 1).reshape(part.shape)
    turned[start : start + _ROWS_AT_ONCE] = np.floor(values + 0.5)
  return turned


@functools.lru_cache(maxsize=64)
def _rotation_operator(height: int, width: int, angle: float) -> "sparse.csr_array":
  """The rotation as a sparse matrix `[H W, H W]`: interpolation is linear in the pixels.

  SciPy turns one plane at a time, 60,000 calls for MNIST; this needs one call a pixel, and then
  one product with four numbers a row.
  """
  from scipy import ndimage, sparse  # an eighth of a second, which other streams have no use for

  pixels = np.eye(height * width).reshape(-1, height, width)
  turned = ndimage.rotate(pixels, angle, axes=(2, 1), reshape=False, order=1)
  return sparse.csr_array(turned.reshape(height * width, -1).T)
