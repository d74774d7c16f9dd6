"""Optax transformations: TAG, stable SGD, and what stands before and after an optimizer.

Plain Optax transformations whose only extra argument, where they are told the task, is `task_id`;
what counts epochs also takes `epoch_step`, and counts by itself without. They work in any Optax
pipeline.
"""

from tagjax.transforms.clip import clip
from tagjax.transforms.columns import Columns
from tagjax.transforms.current_task import OnlyCurrentTaskState, only_current_task
from tagjax.transforms.freeze import freeze, parameter_names
from tagjax.transforms.optax_schedules import optax_schedules
from tagjax.transforms.optimizers import optax_optimizers
from tagjax.transforms.radam import ScaleByRadamState, radam, scale_by_radam
from tagjax.transforms.schedules import (
  Progress,
  TaskSchedule,
  TaskScheduleState,
  scale_by_task_schedule,
)
from tagjax.transforms.stable_sgd import (
  RestartedTraceState,
  restarted_trace,
  scale_by_task_decay,
  stable_sgd,
)
from tagjax.transforms.tag import ScaleByTagState, scale_by_tag, tag, task_relatedness
from tagjax.transforms.weight_decay import weight_decay
from tagjax.transforms.with_task import with_task

__all__ = [
  "Columns",
  "OnlyCurrentTaskState",
  "Progress",
  "RestartedTraceState",
  "ScaleByRadamState",
  "ScaleByTagState",
  "TaskSchedule",
  "TaskScheduleState",
  "clip",
  "freeze",
  "only_current_task",
  "optax_optimizers",
  "optax_schedules",
  "parameter_names",
  "radam",
  "restarted_trace",
  "scale_by_radam",
  "scale_by_tag",
  "scale_by_task_decay",
  "scale_by_task_schedule",
  "stable_sgd",
  "tag",
  "task_relatedness",
  "weight_decay",
  "with_task",
]
