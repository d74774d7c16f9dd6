"""Optax transformations that are told the task: TAG and stable SGD.

Floor 1 of the house: plain `optax.GradientTransformationExtraArgs` whose only extra argument is
`task_id`. They need nothing else of tagjax and work in any Optax pipeline.
"""

from tagjax.transforms.columns import Columns
from tagjax.transforms.stable_sgd import (
  RestartedTraceState,
  restarted_trace,
  scale_by_task_decay,
  stable_sgd,
)
from tagjax.transforms.tag import ScaleByTagState, scale_by_tag, tag, task_relatedness

__all__ = [
  "Columns",
  "RestartedTraceState",
  "ScaleByTagState",
  "restarted_trace",
  "scale_by_tag",
  "scale_by_task_decay",
  "stable_sgd",
  "tag",
  "task_relatedness",
]
