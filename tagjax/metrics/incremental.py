"""Figures of class-incremental learning: over all test images of the classes seen so far.

Tasks count by their numbers of test images, unlike in `tagjax.metrics.matrix`, where each task
counts the same. All functions take leading axes, so that the arrays of several seeds can be handed
over at once, and compute in float64. What was not evaluated makes a figure NaN.
"""

import numpy as np
from numpy.typing import ArrayLike

from tagjax.metrics.fractions import as_accuracy_matrix


def incremental_accuracy(matrix: ArrayLike, sizes: ArrayLike) -> np.ndarray:
  r"""Accuracy over all test images of the tasks so far, after each task.

  `I_k = sum_{j<=k} n_j a[k, j] / sum_{j<=k} n_j`, with n_j the test images of task j.

  Args:
    matrix: `[..., T, T]` accuracy matrix, see `tagjax.metrics.matrix`.
    sizes: `[T]`, test images of each task.

  Returns:
    `[..., T]`, after each task.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, or `sizes` are not the positive sizes of T tasks.

  >>> incremental_accuracy([[0.9, None], [0.3, 0.8]], sizes=[300, 100]).round(6).tolist()
  [0.9, 0.425]
  """
  a = as_accuracy_matrix(matrix)
  n = _as_sizes(sizes, a.shape[-1])
  seen = np.where(np.tri(len(n), dtype=bool), a * n, 0.0)
  return seen.sum(axis=-1) / np.cumsum(n)


def average_incremental_accuracy(matrix: ArrayLike, sizes: ArrayLike) -> float | np.ndarray:
  r"""Mean of `incremental_accuracy` over the tasks, `(1/T) sum_k I_k`.

  The curves of class-incremental papers in one figure: how well all classes seen so far are told
  apart, on average along the stream.

  Args and Raises as for `incremental_accuracy`.

  Returns:
    The figure, `[...]`; NaN if there was no evaluation after some task.

  References:
    Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017.

  >>> round(average_incremental_accuracy([[0.9, None], [0.3, 0.8]], sizes=[300, 100]), 6)
  0.6625
  """
  mean = incremental_accuracy(matrix, sizes).mean(axis=-1)
  return float(mean) if mean.ndim == 0 else mean


def recency_bias(predicted_tasks: ArrayLike, sizes: ArrayLike) -> np.ndarray:
  r"""How much more often the last task's classes are predicted than they come, after each task.

  `R_k = p[k, k] / sum_j p[k, j] - n_k / sum_{j<=k} n_j`, with p[k, j] the test images of the tasks
  so far whose predicted class is one of task j, after training task k, and n_j the test images of
  task j. 0: as often as they come. A learner that calls everything new reaches
  `1 - n_k / sum_{j<=k} n_j`.

  Args:
    predicted_tasks: `[..., T, T]`, the counts p.
    sizes: `[T]`, the sizes n.

  Returns:
    `[..., T]`, after each task; in [-1, 1], 0 after the first task.

  Raises:
    ValueError: if the counts are not square, or `sizes` are not the positive sizes of T tasks.

  References:
    Wu et al., "Large Scale Incremental Learning" (BiC), CVPR 2019, on the bias itself.

  >>> recency_bias([[100, 0], [20, 180]], sizes=[100, 100]).round(6).tolist()
  [0.0, 0.4]
  """
  p = np.asarray(predicted_tasks, np.float64)
  if p.ndim < 2 or p.shape[-1] != p.shape[-2]:
    raise ValueError(f"predicted_tasks has shape {p.shape}, must be [..., T, T]")
  n = _as_sizes(sizes, p.shape[-1])
  share = np.diagonal(p, axis1=-2, axis2=-1) / p.sum(axis=-1)
  return share - n / np.cumsum(n)


def _as_sizes(sizes: ArrayLike, num_tasks: int) -> np.ndarray:
  n = np.asarray(sizes, np.float64)
  if n.shape != (num_tasks,) or not (n > 0).all():
    raise ValueError(
      f"sizes is {np.asarray(sizes).tolist()}, must be a positive number of test images of each of "
      f"the {num_tasks} tasks"
    )
  return n
