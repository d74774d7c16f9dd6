"""What a run has measured of tasks that are found and classes that are confused, as arrays."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Continuum(NamedTuple):
  """Accuracies where test images arrive in runs of p images of one task.

  All are fractions of the test images of the tasks learned so far, float64. S counts the seeds; T
  the tasks, after each of which they were measured; P the lengths. NaN where not measured.

  Attributes:
    lengths: int `[P]`, the lengths p, ascending.
    accuracy: `[S, T, P]`, images that are classified right.
    plain_accuracy: `[S, T]`, the same by the largest output of the model itself among all classes
      seen so far.
    task_accuracy: `[S, T, P]`, images whose predicted class is one of their own task; this and the
      next two are None unless the task is to be found (scenario `"class"`).
    task_aware_accuracy: `[S, T, P]`, images whose own class is the largest among the outputs of
      their own task: the accuracy with knowledge of the task.
    plain_task_aware_accuracy: `[S, T]`, the same of the outputs of the model itself.
    top_k_accuracy: `[S, T, P]`, images whose class is among the k largest outputs; None if it was
      not asked for.
  """

  lengths: np.ndarray
  accuracy: np.ndarray
  plain_accuracy: np.ndarray
  task_accuracy: np.ndarray | None = None
  task_aware_accuracy: np.ndarray | None = None
  plain_task_aware_accuracy: np.ndarray | None = None
  top_k_accuracy: np.ndarray | None = None


def continuum_of(results: Mapping[str, Any]) -> Continuum | None:
  """These accuracies of a run; None if it has measured none.

  >>> continuum_of({}) is None
  True
  """
  stored = results.get("continuum")
  if stored is None:
    return None
  arrays = {
    name: np.asarray(values, np.float64) for name, values in stored.items() if name != "lengths"
  }
  return Continuum(np.asarray(stored["lengths"]), **arrays)


def array_of(results: Mapping[str, Any], name: str) -> np.ndarray | None:
  """An entry of the results as float64, NaN where not measured; None if there is none."""
  values = results.get(name)
  return None if values is None else np.asarray(values, np.float64)
