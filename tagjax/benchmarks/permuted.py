"""Permuted benchmarks: every task shows the same images, their pixels in another fixed order."""

import functools

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, holdout
from tagjax.benchmarks.stream import Stream
from tagjax.benchmarks.transformed import make_transformed


def make_permuted(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "domain",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Each task permutes the pixels of all images, training, validation and test, in its own way.

  Task 0 leaves them as they are, as in TAG's code; the permutation of task t > 0 is drawn
  uniformly with `selection.data_seed` and t, so a longer stream begins with the tasks of a shorter
  one. Pixels of the flattened image are permuted, channels included.

  Args:
    dataset: the data set.
    name: name of the stream.
    num_tasks: T.
    scenario: `"domain"` (one output a class), or `"task"`, `"class"` (outputs of their own for
      each task, as in TAG's code).
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if the selection cannot be met.

  References:
    Goodfellow et al., "An Empirical Investigation of Catastrophic Forgetting in Gradient-Based
    Neural Networks", 2013; Kirkpatrick et al., "Overcoming catastrophic forgetting in neural
    networks", PNAS 2017.
  """
  num_pixels = int(np.prod(dataset.train.image.shape[1:]))
  transforms = [("identity", None)]
  for task_id in range(1, num_tasks):
    order = checks.generator(selection.data_seed, "permutation", task_id).permutation(num_pixels)
    transforms.append((f"permutation {task_id}", functools.partial(permute_pixels, order=order)))
  return make_transformed(dataset, transforms, name=name, scenario=scenario, selection=selection)


def permute_pixels(image: np.ndarray, order: np.ndarray) -> np.ndarray:
  """Pixel i of the flattened result is pixel `order[i]` of the flattened image.

  >>> permute_pixels(np.array([[[1, 2], [3, 4]]]), order=np.array([3, 2, 1, 0]))
  array([[[4, 3],
          [2, 1]]])
  """
  return np.take(image.reshape(len(image), len(order)), order, axis=1).reshape(image.shape)
