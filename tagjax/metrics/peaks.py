"""Figures of each task's best epoch, which validation examples have chosen."""

import numpy as np
from numpy.typing import ArrayLike

from tagjax.metrics.fractions import as_accuracy_matrix, as_fractions


def final_to_peak(matrix: ArrayLike, peaks: ArrayLike) -> float | np.ndarray:
  r"""Accuracy at the end over the peak accuracy, mean over the tasks: `(1/T) sum_j a[T, j] / p_j`.

  The peak accuracy `p_j` is that on the test examples of task j after the epoch, while the task was
  learned, in which its validation examples gave the most. 1: nothing of it is lost; more than 1 is
  possible.

  Args:
    matrix: `[..., T, T]` accuracy matrix, see `tagjax.metrics.matrix`.
    peaks: `[..., T]`, fractions.

  Returns:
    The ratio, `[...]`; a float for one run. NaN if a value was not evaluated or a peak is 0.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, or `peaks` are not fractions for its tasks.

  References:
    Lee, Behpour and Eaton, "Sharing Less is More", ICML 2021, which compares the two.

  >>> round(final_to_peak([[0.8, None], [0.6, 0.9]], peaks=[0.8, 0.9]), 6)
  0.875
  """
  final, p = as_accuracy_matrix(matrix)[..., -1, :], as_fractions("peaks", peaks)
  if final.shape != p.shape:
    raise ValueError(
      f"peaks has shape {p.shape}, must be {final.shape}: a value for each task of the matrix"
    )
  ratios = np.divide(final, p, out=np.full_like(final, np.nan), where=p > 0).mean(axis=-1)
  return float(ratios) if ratios.ndim == 0 else ratios
