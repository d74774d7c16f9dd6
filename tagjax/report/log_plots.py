"""Plots of a run's log: the loss over steps, TAG's weights for each layer over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagjax.report.drawing import (
  COLORS,
  new_plot,
  run_title,
  say,
  set_title,
  style,
  task_labels,
  weight_map,
)

if TYPE_CHECKING:
  import pandas as pd

Results = Mapping[str, Any]

_MOST_PAIRED_TASKS = 10
_MOST_EARLIER_TICKS = 28
_MOST_TASK_LETTERS = 80


def plot_loss(results: Results, curve: pd.DataFrame) -> Figure:
  """Training loss over the steps of the whole stream: thin a line a seed, thick their mean.

  Args:
    results: what results.json holds; for names.
    curve: see `tagjax.report.metrics_log.training_curve`.
  """
  figure = new_plot(7.2, 3.6)
  axes = figure.add_subplot()
  seeds = curve["seed"].nunique()
  title = f"{run_title(results)}\ntraining loss, {seeds} seed{'s' if seeds != 1 else ''}"
  if curve.empty:
    set_title(figure, title)
    say(axes, "the log holds no loss")
    return figure
  for _, one in curve.groupby("seed"):
    axes.plot(one["total_step"], one["loss"], color=COLORS[5], linewidth=0.7, alpha=0.8)
  mean = curve.groupby("total_step", as_index=False).agg({"loss": "mean", "task": "first"})
  axes.plot(mean["total_step"], mean["loss"], color=COLORS[0], linewidth=1.6)
  _mark_tasks(axes, results, mean)
  axes.set(xlabel="training step", ylabel="loss", ylim=(0, None))
  axes.set_xlim(0, 1.01 * mean["total_step"].max())
  style(axes)
  set_title(figure, title)
  return figure


def _mark_tasks(axes: Axes, results: Results, mean: pd.DataFrame) -> None:
  """A dotted line where each task ends, its label above."""
  ends = mean.groupby((mean["task"] != mean["task"].shift()).cumsum()).agg(
    {"total_step": "last", "task": "first"}
  )
  starts = [0, *ends["total_step"][:-1]]
  labels = task_labels(results, ends["task"])
  if max(map(len, labels)) * len(ends) > _MOST_TASK_LETTERS:
    labels = task_labels({}, ends["task"])
  for start, end, label in zip(starts, ends["total_step"], labels, strict=True):
    axes.axvline(end, color="#999999", linewidth=0.8, linestyle=":")
    if len(ends) <= 20:
      axes.annotate(
        label, ((start + end) / 2, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", fontsize=8, color="#666666",
      )  # fmt: skip


def plot_layer_weights(results: Results, weights: pd.DataFrame) -> Figure:
  """TAG's weight of each earlier task, for each parameter tensor (row) over time (columns).

  Time runs from left to right: a block a task that was trained, in it a column an earlier task. Of
  more than ten tasks a block is one column, the geometric mean over the earlier tasks. Geometric
  means over seeds; logarithmic colours, white at 1 (unrelated): red where the directions oppose
  each other and steps get smaller, blue where they agree.

  Args:
    results: what results.json holds; for names.
    weights: see `tagjax.report.metrics_log.diagnostics`, of "task_relatedness".

  Raises:
    ValueError: if there are no weights: the method is not TAG, or there is a single task.
  """
  if weights.empty:
    raise ValueError("the log holds no weights of TAG: the method is not TAG, or has one task only")
  is_paired = weights["task"].max() < _MOST_PAIRED_TASKS
  by = ["tensor", "task", "other_task"] if is_paired else ["tensor", "task"]
  logs = weights.assign(value=np.log(weights["value"]))
  table = np.exp(logs.groupby(by)["value"].mean()).unstack(by[1:]).sort_index(axis=1)
  names = weights.groupby("tensor")["tensor_name"].first()
  figure = new_plot(
    float(np.clip(3.0 + 0.28 * table.shape[1], 4.6, 14.0)),
    float(np.clip(1.9 + 0.2 * len(table), 3.0, 16.0)),
  )
  axes = figure.add_subplot()
  label = r"$\alpha$, weight of the earlier task"
  weight_map(figure, axes, table.to_numpy(), label, decimals=None, aspect="auto")
  axes.set_yticks(range(len(table)), names[table.index], fontsize=8 if len(table) <= 40 else 6)
  axes.tick_params(length=0)
  tasks = [column[0] if is_paired else column for column in table.columns]
  if is_paired:
    _mark_blocks(axes, tasks, [column[1] for column in table.columns])
  else:
    every = -(-len(tasks) // 20)
    axes.set_xticks(range(len(tasks))[::every], [task + 1 for task in tasks[::every]])
    axes.set_xlabel("while training task")
  seeds = weights["seed"].nunique()
  over = f", mean of {seeds} seeds" if seeds > 1 else ", 1 seed"
  mean = "" if is_paired else ", mean over earlier tasks"
  set_title(figure, f"{run_title(results)}\nweights of earlier tasks by layer{mean}{over}")
  return figure


def _mark_blocks(axes: Axes, tasks: list[int], earlier: list[int]) -> None:
  """Lines between the tasks that were trained, whose numbers stand below those of the earlier."""
  has_room = len(tasks) <= _MOST_EARLIER_TICKS
  if has_room:
    axes.set_xticks(range(len(tasks)), [task + 1 for task in earlier], fontsize=8)
  else:
    axes.set_xticks([])
  places: dict[int, list[int]] = {}
  for place, task in enumerate(tasks):
    places.setdefault(task, []).append(place)
  for block in list(places.values())[:-1]:
    axes.axvline(block[-1] + 0.5, color="black", linewidth=1.2)
  below = axes.secondary_xaxis("bottom")
  below.set_xticks([np.mean(block) for block in places.values()], [task + 1 for task in places])
  below.tick_params(length=0, pad=16 if has_room else 4)
  below.spines[:].set_visible(False)
  below.set_xlabel(
    "above: earlier task; below: while training task"
    if has_room
    else "while training task (within it: earlier tasks)"
  )
