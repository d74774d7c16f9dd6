"""Figures of a run, from its accuracy matrix.

The accuracy matrix `a` has one row and one column a task: `a[k, j]` is the test accuracy on task j
after training task k, a fraction in [0, 1], NaN where it was not evaluated (above the diagonal, as
a rule). All functions take `[..., T, T]`, so that the matrices of several seeds can be handed over
at once, compute in float64, and give a float for one matrix and an array `[...]` for several.

An entry that a figure needs and that was not evaluated makes the figure NaN: a mean over what
happens to be there would be another figure under the same name. In the equations tasks count from
1 to T; in the code `after` and all indices count from 0.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from tagjax.metrics.fractions import as_accuracy_matrix, as_fractions

Definition = Literal["agem", "agem-ref", "tag", "diagonal"]

DEFINITIONS = get_args(Definition)
"""The definitions of forgetting, see `forgetting`."""


def average_accuracy(matrix: ArrayLike, after: int | None = None) -> float | np.ndarray:
  r"""Mean accuracy over all tasks learned so far, `A_k = (1/k) sum_{j<=k} a[k, j]`.

  Tasks count equally, whatever the sizes of their test sets.

  Args:
    matrix: `[..., T, T]` accuracy matrix.
    after: index (from 0) of the task after which to look; the last task by default.

  Returns:
    The average accuracy, `[...]`.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, or `after` no task of it.

  References:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017 (ACC).

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> round(average_accuracy(matrix), 6)
  0.766667
  >>> round(average_accuracy(matrix, after=1), 6)
  0.8
  """
  learned = _learned(matrix, after)
  return _mean(learned[..., -1, :])


def forgetting_per_task(
  matrix: ArrayLike, definition: str = "agem", after: int | None = None
) -> np.ndarray:
  """Accuracy that each earlier task has lost, `[..., k]` for the k tasks before task `after`.

  Args and Raises as for `forgetting`, whose value is the mean of these.

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> [round(float(loss), 6) for loss in forgetting_per_task(matrix)]
  [0.05, -0.05]
  """
  if definition not in DEFINITIONS:
    raise ValueError(f"definition is {definition!r}, must be one of {', '.join(DEFINITIONS)}")
  learned = _learned(matrix, after)
  earlier = learned[..., :-1]
  if definition == "diagonal":
    before = np.diagonal(learned, axis1=-2, axis2=-1)[..., :-1]
  else:
    # What a task scored before it was learned (zero-shot) is nothing that could be forgotten.
    is_known = np.tri(*earlier.shape[-2:], dtype=bool)
    known = earlier if definition == "agem-ref" else np.where(is_known, earlier, np.nan)
    rows = known if definition == "tag" else known[..., :-1, :]
    before = np.fmax.reduce(rows, axis=-2, initial=np.nan)
  return before - earlier[..., -1, :]


def forgetting(
  matrix: ArrayLike, definition: str = "agem", after: int | None = None
) -> float | np.ndarray:
  r"""Mean accuracy lost on earlier tasks, `F_k = (1/(k-1)) sum_{j<k} (before_j - a[k, j])`.

  The definitions differ in what the last accuracy is compared with:

  - `"agem"`: `before_j = max_{l=j..k-1} a[l, j]`, the best so far. In [-1, 1]: negative when later
    tasks have helped.
  - `"agem-ref"`: `before_j = max_{l=1..k-1} a[l, j]`, as A-GEM's paper and code write it: over
    times before task j was learned as well. The same, unless tasks to come were evaluated and one
    of them did better than ever since.
  - `"tag"`: `before_j = max_{l=j..k} a[l, j]`, the present time included. Never negative, as gains
    count as zero: it is the mean of `max(f_j, 0)` over the terms `f_j` of `"agem"`. For comparing
    with TAG's tables.
  - `"diagonal"`: `before_j = a[j, j]`, right after learning. The negative of `backward_transfer`.

  The maxima pass over what was not evaluated and, but for `"agem-ref"`, over times before the task
  was learned.

  Args:
    matrix: `[..., T, T]` accuracy matrix.
    definition: `"agem"`, `"agem-ref"`, `"tag"` or `"diagonal"`; say which beside any figure.
    after: index (from 0) of the task after which to look; the last task by default.

  Returns:
    The forgetting, `[...]`; NaN if only one task has been learned.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, `definition` unknown, or `after` no task of it.

  References:
    Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, and "Efficient Lifelong
    Learning with A-GEM", ICLR 2019 (`"agem"`); Malviya, Ravindran and Chandar, "TAG: Task-based
    Accumulated Gradients for Lifelong Learning", CoLLAs 2022, from whose code `"tag"` is taken.

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> [round(forgetting(matrix, name), 6) + 0.0 for name in ("agem", "tag", "diagonal")]
  [0.0, 0.025, 0.0]
  """
  return _mean(forgetting_per_task(matrix, definition, after))


def worst_case_forgetting(
  matrix: ArrayLike, after: int | None = None, definition: str = "agem"
) -> float | np.ndarray:
  """Forgetting of the task that lost most, `max_{j<k} f_j`.

  Args:
    matrix: `[..., T, T]` accuracy matrix.
    after: index (from 0) of the task after which to look; the last task by default.
    definition: of each task's forgetting, see `forgetting`.

  Returns:
    The largest loss, `[...]`; NaN if only one task has been learned.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, or `after` no task of it.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019.

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> round(worst_case_forgetting(matrix), 6)
  0.05
  """
  losses = forgetting_per_task(matrix, definition, after)
  # `initial` would hide a NaN of a task that was not evaluated: only for no task at all.
  return _plain(losses.max(axis=-1) if losses.shape[-1] else np.full(losses.shape[:-1], np.nan))


def learning_accuracy(matrix: ArrayLike) -> float | np.ndarray:
  r"""Mean accuracy of each task right after learning it, `LA = (1/T) sum_j a[j, j]`.

  Args:
    matrix: `[..., T, T]` accuracy matrix.

  Returns:
    The learning accuracy, `[...]`.

  Raises:
    ValueError: if `matrix` is no accuracy matrix.

  References:
    Riemer et al., "Learning to Learn without Forgetting by Maximizing Transfer and Minimizing
    Interference", ICLR 2019.

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> round(learning_accuracy(matrix), 6)
  0.766667
  """
  return _mean(np.diagonal(as_accuracy_matrix(matrix), axis1=-2, axis2=-1))


def backward_transfer(matrix: ArrayLike) -> float | np.ndarray:
  r"""Mean gain of the earlier tasks since they were learned; negative if they were forgotten.

  `BWT = (1/(T-1)) sum_{j<T} (a[T, j] - a[j, j])`. With it,
  `average_accuracy = learning_accuracy + BWT (T-1)/T`.

  Differs from the reference code: that of GEM divides by T.

  Args:
    matrix: `[..., T, T]` accuracy matrix.

  Returns:
    The backward transfer, `[...]`, in [-1, 1]; NaN for a single task.

  Raises:
    ValueError: if `matrix` is no accuracy matrix.

  References:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017.

  >>> round(backward_transfer([[0.9, None], [0.7, 0.8]]), 6)
  -0.2
  """
  a = as_accuracy_matrix(matrix)
  return _mean((a[..., -1, :] - np.diagonal(a, axis1=-2, axis2=-1))[..., :-1])


def forward_transfer(
  matrix: ArrayLike, baseline: ArrayLike | Sequence[float]
) -> float | np.ndarray:
  r"""Mean head start that the tasks before it give to a task, against the untrained network.

  `FWT = (1/(T-1)) sum_{j=2..T} (a[j-1, j] - r_j)`. It needs evaluations of tasks not yet learned,
  above the diagonal of the matrix.

  Differs from the reference code: that of GEM divides by T.

  Args:
    matrix: `[..., T, T]` accuracy matrix, with `a[j-1, j]` evaluated.
    baseline: `[..., T]`, the accuracies r of the untrained network, fractions; that of the first
      task is not used.

  Returns:
    The forward transfer, `[...]`, in [-1, 1]; NaN for a single task.

  Raises:
    ValueError: if `matrix` is no accuracy matrix, or `baseline` does not fit it.

  References:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017.

  >>> round(forward_transfer([[0.9, 0.4], [0.7, 0.8]], baseline=[0.1, 0.1]), 6)
  0.3
  """
  a = as_accuracy_matrix(matrix)
  untrained = as_fractions("baseline", baseline)
  if untrained.shape not in (a.shape[:-1], a.shape[-1:]):
    raise ValueError(
      f"baseline has shape {untrained.shape}, but a matrix of shape {a.shape} needs one accuracy "
      f"a task: {a.shape[:-1]} or {a.shape[-1:]}"
    )
  return _mean(np.diagonal(a, offset=1, axis1=-2, axis2=-1) - untrained[..., 1:])


def _learned(matrix: ArrayLike, after: int | None) -> np.ndarray:
  """Rows and columns up to task `after`: what happened until then."""
  a = as_accuracy_matrix(matrix)
  num_tasks = a.shape[-1]
  if after is None:
    return a
  is_index = isinstance(after, int | np.integer) and not isinstance(after, bool)
  if not is_index or not 0 <= after < num_tasks:
    raise ValueError(f"after is {after!r}, must be the index of a task, 0 to {num_tasks - 1}")
  return a[..., : after + 1, : after + 1]


def _mean(values: np.ndarray) -> float | np.ndarray:
  """Mean over the last axis, NaN if it is empty (which NumPy would warn of)."""
  if values.shape[-1] == 0:
    return _plain(np.full(values.shape[:-1], np.nan))
  return _plain(values.mean(axis=-1))


def _plain(values: np.ndarray) -> float | np.ndarray:
  return float(values) if np.ndim(values) == 0 else values
