"""Metrics of continual learning, in plain NumPy and float64.

From the accuracy matrix (`tagjax.metrics.matrix`): `average_accuracy`, `forgetting` in four
definitions, `forgetting_per_task`, `worst_case_forgetting`, `learning_accuracy`,
`backward_transfer`, `forward_transfer`. From the first minibatches of each task
(`tagjax.metrics.curves`): `average_learning_curve`, `learning_curve_area`. Of class-incremental
learning (`tagjax.metrics.incremental`): `incremental_accuracy`, `average_incremental_accuracy`,
`recency_bias`. Of the best epochs (`tagjax.metrics.peaks`): `final_to_peak`. Over seeds
(`tagjax.metrics.statistics`): `summarise`.
"""

from tagjax.metrics.curves import average_learning_curve, learning_curve_area
from tagjax.metrics.fractions import as_accuracy_matrix
from tagjax.metrics.incremental import (
  average_incremental_accuracy,
  incremental_accuracy,
  recency_bias,
)
from tagjax.metrics.matrix import (
  average_accuracy,
  backward_transfer,
  forgetting,
  forgetting_per_task,
  forward_transfer,
  learning_accuracy,
  worst_case_forgetting,
)
from tagjax.metrics.peaks import final_to_peak
from tagjax.metrics.statistics import Summary, summarise

__all__ = [
  "Summary",
  "as_accuracy_matrix",
  "average_accuracy",
  "average_incremental_accuracy",
  "average_learning_curve",
  "backward_transfer",
  "final_to_peak",
  "forgetting",
  "forgetting_per_task",
  "forward_transfer",
  "incremental_accuracy",
  "learning_accuracy",
  "learning_curve_area",
  "recency_bias",
  "summarise",
  "worst_case_forgetting",
]
