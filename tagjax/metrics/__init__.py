"""Metrics of continual learning, in plain NumPy and float64.

From the accuracy matrix (`tagjax.metrics.matrix`): `average_accuracy`, `forgetting` in three
definitions, `forgetting_per_task`, `worst_case_forgetting`, `learning_accuracy`,
`backward_transfer`, `forward_transfer`. From the first minibatches of each task
(`tagjax.metrics.curves`): `learning_curve_area`. Over seeds (`tagjax.metrics.statistics`):
`summarise`.
"""

from tagjax.metrics.curves import learning_curve_area
from tagjax.metrics.fractions import as_accuracy_matrix
from tagjax.metrics.matrix import (
  average_accuracy,
  backward_transfer,
  forgetting,
  forgetting_per_task,
  forward_transfer,
  learning_accuracy,
  worst_case_forgetting,
)
from tagjax.metrics.statistics import Summary, summarise

__all__ = [
  "Summary",
  "as_accuracy_matrix",
  "average_accuracy",
  "backward_transfer",
  "forgetting",
  "forgetting_per_task",
  "forward_transfer",
  "learning_accuracy",
  "learning_curve_area",
  "summarise",
  "worst_case_forgetting",
]
