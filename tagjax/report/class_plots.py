"""Plots of class-incremental runs: tasks that are found, classes that are confused.

Each needs what the run was asked to measure (`continuum`, `continuum_lengths`, `top_k`,
`confusion_matrix` of `tagjax.training.options.RunOptions`); see `tagjax.report.plots` for the rest.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tagjax import metrics
from tagjax.report.continuum import array_of, continuum_of
from tagjax.report.drawing import (
  COLORS,
  INK,
  heat_map,
  line_with_band,
  mean_over_seeds,
  new_plot,
  over_seeds,
  run_title,
  set_title,
  std,
  style,
  style_task_axis,
)

Results = Mapping[str, Any]
_MOST_LABELLED = 20  # classes whose counts are written into the confusion matrix


def plot_continuum(results: Results) -> Figure:
  """Accuracy and task accuracy at the end over the length p of the runs, mean ± std over seeds.

  Broken lines: the accuracy of the model itself on single images, and where the task is told.

  Raises:
    ValueError: if the results hold none.
  """
  measured = continuum_of(results)
  if measured is None:
    raise ValueError("the results hold no continuum: set continuum_lengths, such as 1,5,20")
  figure = new_plot(6.4, 4.0)
  axes = figure.add_subplot()
  lines = {"accuracy": measured.accuracy, "task accuracy": measured.task_accuracy}
  for index, (label, values) in enumerate(lines.items()):
    if values is not None:
      at_end = 100 * values[:, -1]
      line_with_band(axes, measured.lengths, at_end, COLORS[index], label=label, marker="os"[index])
  levels = {"plain accuracy": measured.plain_accuracy[:, -1]}
  if measured.task_aware_accuracy is not None:
    levels["task-aware accuracy"] = measured.task_aware_accuracy[:, -1, -1]
  for index, (label, values) in enumerate(levels.items()):
    look = {"color": COLORS[2 + index], "linestyle": ("--", ":")[index], "linewidth": 1.5}
    axes.axhline(100 * values.mean(), label=label, **look)
  axes.set_xscale("log")
  axes.set_xticks(measured.lengths, [str(length) for length in measured.lengths])
  axes.xaxis.set_minor_locator(NullLocator())
  axes.set(xlabel="test images of one task in a run, p", ylabel="of all test images (%)")
  axes.set_ylim(0, 101)
  axes.legend(frameon=False, loc="lower right")
  style(axes)
  over = over_seeds(measured.accuracy, ", mean ± std of ")
  set_title(figure, f"{run_title(results)}\nat the end, over the length of runs{over}")
  return figure


def plot_confusion_matrix(results: Results) -> Figure:
  """Of the test images of each class (row) how many are taken for each class (column), in percent.

  Of the final model, all seeds together; lines part the tasks.

  Raises:
    ValueError: if the results hold none.
  """
  counts = array_of(results, "confusion_matrix")
  if counts is None:
    raise ValueError("the results hold no confusion_matrix: set confusion_matrix=True")
  order, ends = _by_task(results, counts.shape[-1])
  total = counts.sum(axis=0)[np.ix_(order, order)]
  images = total.sum(axis=1, keepdims=True)
  percents = 100 * total / np.where(images > 0, images, np.nan)
  number = len(order)
  is_labelled = number <= _MOST_LABELLED
  side = float(np.clip(1.8 + 0.38 * number, 4.0, 8.0))
  figure = new_plot(side + 1.0, side + 0.2)
  axes = figure.add_subplot()
  heat_map(
    figure,
    axes,
    percents,
    "of the images of the class (%)",
    decimals=0 if is_labelled else None,
    limits=(0, 100),
  )
  for end in ends:
    axes.axhline(end - 0.5, color="white", linewidth=1.0)
    axes.axvline(end - 0.5, color="white", linewidth=1.0)
  if is_labelled:
    axes.set_xticks(range(number), order)
    axes.set_yticks(range(number), order)
  axes.set(xlabel="predicted class", ylabel="true class")
  axes.tick_params(length=0)
  over = over_seeds(counts, ", ")
  set_title(figure, f"{run_title(results)}\nconfusion of classes at the end{over}")
  return figure


def plot_recency_bias(results: Results) -> Figure:
  """How often classes of each task are predicted at the end, and the bias after each task.

  Left: a bar a task, with the std over seeds; a line where its share of the test images is. Right:
  by how much the share of the last task's classes exceeds that of its images.

  Raises:
    ValueError: if the results hold none.
  """
  predicted = array_of(results, "predicted_tasks")
  if predicted is None:
    raise ValueError(
      "the results hold no predicted_tasks: set continuum_lengths=(1,), scenario=class"
    )
  sizes = np.asarray(results["test_sizes"], np.float64)
  figure = new_plot(9.0, 3.8)
  left, right = figure.subplots(1, 2)
  _share_bars(left, 100 * predicted[:, -1] / predicted[:, -1].sum(axis=1, keepdims=True), sizes)
  num_tasks = len(sizes)
  times = np.arange(num_tasks) + 1
  bias = 100 * metrics.recency_bias(predicted, sizes)
  right.plot(times, mean_over_seeds(bias), color=COLORS[0], marker="o", linewidth=1.5)
  if (width := std(bias)) is not None:
    mean = mean_over_seeds(bias)
    right.fill_between(times, mean - width, mean + width, color=COLORS[0], alpha=0.15, linewidth=0)
  right.axhline(0, color=INK, linewidth=0.8)
  style_task_axis(right, num_tasks)
  right.set(xlabel="after training task", ylabel="recency bias (points)")
  over = over_seeds(predicted, ", mean ± std of ")
  set_title(figure, f"{run_title(results)}\npredictions by task at the end, recency bias{over}")
  return figure


def _share_bars(axes: Axes, shares: np.ndarray, sizes: np.ndarray) -> None:
  tasks = np.arange(len(sizes)) + 1
  axes.bar(
    tasks, shares.mean(axis=0), 0.7, yerr=std(shares), color=COLORS[5], ecolor=INK, capsize=3
  )
  true = 100 * sizes / sizes.sum()
  axes.hlines(true, tasks - 0.42, tasks + 0.42, color=COLORS[1], linewidth=2, label="test images")
  style_task_axis(axes, len(sizes))
  axes.set(xlabel="task", ylabel="share of the predictions (%)")
  axes.legend(frameon=False)


def _by_task(results: Results, num_outputs: int) -> tuple[list[int], list[int]]:
  """The classes in the order of the tasks that first teach them, and where each task but one ends.

  Classes that no task teaches are left out.
  """
  order: list[int] = []
  ends = []
  for classes in results.get("task_classes") or [range(num_outputs)]:
    new = [one for one in classes if one not in order]
    order += new
    ends.append(len(order))
  return order, [end for end in ends[:-1] if end < len(order)]


def plots_of(results: Results) -> dict[str, Any]:
  """Name -> function of those plots that the results allow."""
  measured = continuum_of(results)
  allowed = {
    "continuum": (plot_continuum, measured is not None and len(measured.lengths) > 1),
    "confusion_matrix": (plot_confusion_matrix, results.get("confusion_matrix") is not None),
    "recency_bias": (plot_recency_bias, len(results.get("predicted_tasks") or []) > 0),
  }
  return {name: plot for name, (plot, is_allowed) in allowed.items() if is_allowed}
