"""Optax transformations that are told the task: TAG, stable SGD, one optimizer state a task.

Floor 1 of the house: plain `optax.GradientTransformationExtraArgs` whose only extra argument is
`task_id`. They need nothing else of tagjax and work in any Optax pipeline.
"""

from tagjax.transforms.columns import Columns
from tagjax.transforms.current_task import OnlyCurrentTaskState, only_current_task
from tagjax.transforms.stable_sgd import (
  RestartedTraceState,
  restarted_trace,
  scale_by_task_decay,
  stable_sgd,
)
from tagjax.transforms.tag import ScaleByTagState, scale_by_tag, tag, task_relatedness

__all__ = [
  "Columns",
  "OnlyCurrentTaskState",
  "RestartedTraceState",
  "ScaleByTagState",
  "only_current_task",
  "restarted_trace",
  "scale_by_tag",
  "scale_by_task_decay",
  "stable_sgd",
  "tag",
  "task_relatedness",
]
