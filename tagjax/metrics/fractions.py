"""Accuracies as arrays: checked, in float64, None and NaN where not evaluated."""

import numpy as np
from numpy.typing import ArrayLike


def as_accuracy_matrix(matrix: ArrayLike) -> np.ndarray:
  """The accuracy matrix as float64 `[..., T, T]`, checked; None becomes NaN.

  Raises:
    ValueError: if it is not square, has no task, or holds values that are not fractions.

  >>> as_accuracy_matrix([[1, None], [0.5, 1]])
  array([[1. , nan],
         [0.5, 1. ]])
  """
  values = as_fractions("matrix", matrix)
  if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] == 0:
    raise ValueError(
      f"matrix has shape {values.shape}, must be square, [..., T, T] with one row and one column "
      "a task"
    )
  return values


def as_fractions(argument: str, values: ArrayLike) -> np.ndarray:
  """Values as float64, NaN or in [0, 1]; `argument` is the name that the error says.

  Raises:
    ValueError: if they are no numbers, or lie outside.
  """
  try:
    array = np.asarray(values, dtype=np.float64)
  except (TypeError, ValueError, OverflowError) as error:
    raise ValueError(f"{argument} is no array of numbers: {error}") from None
  # A mean taken in float32 may exceed 1 by its rounding; percent exceed it by more.
  tolerance = 1e-6
  wrong = array[(array < -tolerance) | (array > 1 + tolerance)]
  if wrong.size:
    raise ValueError(
      f"{argument} holds {wrong.flat[0]:g}, must hold fractions in [0, 1]: divide percent by 100"
    )
  return array
