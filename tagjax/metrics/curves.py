"""Figures of the first minibatches of each task: how fast tasks are learned."""

import numpy as np
from numpy.typing import ArrayLike

from tagjax.metrics.fractions import as_fractions

KINDS = ("mean", "trapezoid")
"""The forms of the learning curve area, see `learning_curve_area`."""


def learning_curve_area(curves: ArrayLike, beta: int, kind: str = "mean") -> float | np.ndarray:
  r"""Area under the average learning curve of the tasks, LCA.

  With `a[k, b, k]` the test accuracy on task k after b of its minibatches, and the average b-shot
  accuracy `Z_b = (1/T) sum_k a[k, b, k]`,

  - `"mean"`, the paper's: `LCA_beta = (1/(beta+1)) sum_{b=0..beta} Z_b`;
  - `"trapezoid"`, the reference code's:
    `LCA_beta = (1/beta) ((Z_0 + Z_beta)/2 + sum_{b=1..beta-1} Z_b)`.

  Published figures may be either. Both are Z_0, the zero-shot accuracy, at beta = 0, and high for
  tasks that are learned at once. A task with fewer than beta minibatches ends in NaN: its last
  value is repeated, as in the reference code.

  Args:
    curves: `[..., T, >= beta + 1]`, accuracy on each task after 0, 1, 2, ... of its minibatches,
      fractions in [0, 1]; the part after beta is not used.
    beta: number of minibatches to look at; 10 in the paper.
    kind: `"mean"` or `"trapezoid"`.

  Returns:
    The area, `[...]`, in [0, 1]; a float for one run. NaN if a value was not evaluated, other than
    at the end of a task's curve.

  Raises:
    ValueError: if the curves are too short or no fractions, `beta` is negative or no integer, or
      `kind` unknown.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019.

  >>> curves = [[0.2, 0.6, 0.7], [0.0, 0.4, 0.9]]
  >>> round(learning_curve_area(curves, beta=2), 6)
  0.466667
  >>> round(learning_curve_area(curves, beta=2, kind="trapezoid"), 6)
  0.475
  """
  if kind not in KINDS:
    raise ValueError(f"kind is {kind!r}, must be one of {', '.join(KINDS)}")
  if isinstance(beta, bool) or not isinstance(beta, int | np.integer) or beta < 0:
    raise ValueError(f"beta is {beta!r}, must be an integer of at least 0")
  shots = _complete(_as_curves(curves, beta)).mean(axis=-2)
  has_width = kind == "trapezoid" and beta > 0
  area = np.trapezoid(shots, axis=-1) / beta if has_width else shots.mean(axis=-1)
  return float(area) if area.ndim == 0 else area


def average_learning_curve(curves: ArrayLike) -> np.ndarray:
  r"""The average b-shot accuracy `Z_b = (1/T) sum_k a[k, b, k]` for each b.

  Args:
    curves: `[..., T, N]`, accuracy on each task after 0, 1, 2, ... of its minibatches; where it has
      fewer they end in NaN, and the last value is repeated.

  Returns:
    `[..., N]`; the first is Z_0, the zero-shot accuracy.

  Raises:
    ValueError: if the curves are no fractions, or empty.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019.

  >>> average_learning_curve([[0.2, 0.6, 0.7], [0.0, 0.4, None]]).round(6).tolist()
  [0.1, 0.5, 0.55]
  """
  return _complete(_as_curves(curves, 0, whole=True)).mean(axis=-2)


def _as_curves(curves: ArrayLike, beta: int, *, whole: bool = False) -> np.ndarray:
  values = as_fractions("curves", curves)
  if values.ndim < 2 or values.shape[-2] == 0 or values.shape[-1] < beta + 1:
    raise ValueError(
      f"curves has shape {values.shape}, but beta={beta} needs [T, at least {beta + 1}]: one "
      "accuracy before the first minibatch and one after each"
    )
  return values if whole else values[..., : beta + 1]


def _complete(curves: np.ndarray) -> np.ndarray:
  """Repeats the last value of each curve over the NaNs at its end."""
  is_known = ~np.isnan(curves)
  length = curves.shape[-1] - np.argmax(is_known[..., ::-1], axis=-1)
  positions = np.minimum(np.arange(curves.shape[-1]), length[..., np.newaxis] - 1)
  return np.take_along_axis(curves, positions, axis=-1)
