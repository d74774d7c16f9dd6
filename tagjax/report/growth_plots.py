"""Plots of a run that grows: what it needs, beside its accuracy; and how it came to decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagjax import metrics
from tagjax.report.drawing import (
  BAND_OPACITY,
  COLORS,
  INK,
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
from tagjax.report.growth import growth_of, outcomes_of

if TYPE_CHECKING:
  import pandas as pd

Results = Mapping[str, Any]
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_MOST_LINES = 8  # configurations with a line of their own


def plot_growth(results: Results) -> Figure:
  """Accuracy, parameters, bytes and operations over the tasks, mean ± std over seeds.

  Grey lines: what the static shapes allocate from the start.

  Raises:
    ValueError: if the results hold none.
  """
  growth = growth_of(results)
  if growth is None:
    raise ValueError("the results hold no growth: run it again with this version")
  matrices = metrics.as_accuracy_matrix(results["accuracy_matrix"])
  num_tasks = matrices.shape[-1]
  flops = growth.step_flops is not None or growth.evaluation_flops is not None
  figure = new_plot(9.6 if flops else 9.0, 6.4 if flops else 3.4)
  panels = list(figure.subplots(2 if flops else 1, 2 if flops else 3).flat)
  times = np.arange(num_tasks) + 1
  average = [metrics.average_accuracy(matrices, after=task) for task in range(num_tasks)]
  line_with_band(panels[0], times, 100 * np.stack(average, axis=1), COLORS[0], label=None)
  panels[0].set_ylabel("average accuracy so far (%)")
  for axes, values, allocated, label in (
    (panels[1], growth.parameters, growth.allocated_parameters, "parameters in use"),
    (panels[2], growth.bytes, growth.allocated_bytes, "bytes of the state"),
  ):
    scale, unit = _unit(allocated)
    axes.axhline(allocated / scale, color="#999999", linewidth=1.2, label="allocated")
    _line(axes, times, values / scale)
    axes.set(ylabel=f"{label}{f' ({unit})' if unit else ''}", ylim=(0, 1.08 * allocated / scale))
    axes.legend(frameon=False, loc="lower right")
  if flops:
    _draw_flops(panels[3], times, growth.step_flops, growth.evaluation_flops)
  for axes in panels:
    style_task_axis(axes, num_tasks)
    axes.set_xlabel("after training task")
  over = over_seeds(matrices, ", mean ± std of ")
  set_title(figure, f"{run_title(results)}\ngrowth with the tasks{over}")
  return figure


def _line(axes: Axes, times: np.ndarray, values: np.ndarray) -> None:
  mean, width = mean_over_seeds(values), std(values)
  axes.plot(times, mean, color=COLORS[0], linewidth=1.5, marker="o", markersize=4, label="in use")
  if width is not None:
    band = {"color": COLORS[0], "alpha": BAND_OPACITY, "linewidth": 0}
    axes.fill_between(times, mean - width, mean + width, **band)


def _draw_flops(axes: Axes, times: np.ndarray, step, evaluation) -> None:
  known = {"a training step": step, "classifying an image": evaluation}
  for index, (label, values) in enumerate(known.items()):
    if values is not None:
      axes.plot(times, values, color=COLORS[index], marker="os"[index], label=label)
  axes.set(yscale="log", ylabel="floating-point operations")
  axes.legend(frameon=False)


def _unit(largest: float) -> tuple[float, str]:
  return next((unit for unit in _UNITS if largest >= unit[0]), _UNITS[-1])


def plot_monitored(results: Results, monitored: pd.DataFrame, name: str = "posterior") -> Figure:
  """A figure of the method over the steps of each task, a line an entry, mean over seeds.

  A panel a task. The entries that become largest have lines of their own, the others share grey.

  Args:
    results: what results.json holds; for names.
    monitored: see `tagjax.report.metrics_log.monitored`.
    name: of the figure.

  Raises:
    ValueError: if the log holds none.
  """
  if monitored.empty:
    raise ValueError(f"the log holds no {name!r}: the method does not tell it")
  names = _names(results, monitored["entry"].max() + 1)
  mean = monitored.groupby(["task", "step", "entry"])["value"].mean()
  largest = mean.groupby("entry").max().sort_values(ascending=False).index[:_MOST_LINES]
  tasks = sorted(monitored["task"].unique())
  columns = min(len(tasks), 5)
  rows = -(-len(tasks) // columns)
  figure = new_plot(1.6 + 2.3 * columns, 0.9 + 2.3 * rows)
  panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
  for place, task in enumerate(tasks):
    axes = panels[place]
    table = mean[task].unstack("entry")
    others = [entry for entry in table if entry not in largest]
    axes.plot(table.index, table[others], color="#BBBBBB", linewidth=0.8)
    for index, entry in enumerate(largest):
      if entry in table:
        color = COLORS[index % len(COLORS)]
        axes.plot(table.index, table[entry], color=color, linewidth=1.6, label=names[entry])
    axes.set_title(f"task {task + 1}", fontsize=9, color=INK)
    axes.set_xlabel("step")
    style(axes)
  panels[0].set_ylabel(name)
  for axes in panels[len(tasks) :]:
    axes.set_axis_off()
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
  seeds = monitored["seed"].nunique()
  over = f", mean of {seeds} seeds" if seeds > 1 else ", 1 seed"
  set_title(figure, f"{run_title(results)}\n{name} while each task is learned{over}")
  return figure


def _names(results: Results, number: int) -> list[str]:
  """Of configurations: a T for each shared layer, as in `tagjax.core.sharing`; else numbers."""
  shared = outcomes_of(results).get("shared_layers")
  layers = 0 if shared is None else shared.shape[-1]
  if number != 2**layers:
    return [str(entry + 1) for entry in range(number)]
  return [
    "".join("FT"[not entry >> layer & 1] for layer in range(layers)) for entry in range(number)
  ]
