"""Pictures of a run, as Matplotlib figures; no global state, no display needed.

Every function takes what results.json holds (see `tagjax.report.results.summarise`; `config`
with `method` and `benchmark` names the run in the titles). Tasks count from 1 on the axes. The
colours are told apart by colour-blind readers and in grey.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from tagjax import metrics
from tagjax.report.drawing import (
  BAND_OPACITY,
  COLORS,
  DPI,
  INK,
  MARKERS,
  TASK_COLORS,
  heat_map,
  label_tasks,
  legend_beside,
  limit_from_data,
  line_with_band,
  mean_over_seeds,
  say,
  square_figure,
  std,
  style,
  style_task_axis,
)
from tagjax.report.tables import value_text

Results = Mapping[str, Any]


def plot_accuracy_matrix(results: Results) -> Figure:
  """Accuracy on every task (column) after training every task (row), mean over seeds."""
  matrices = _matrices(results)
  title = f"{_name(results)}\naccuracy (%){_over_seeds(matrices, ', mean of ')}"
  figure, axes = square_figure(matrices.shape[-1])
  mean = 100 * mean_over_seeds(matrices)
  # From a round number on, not from 0: else a run that forgets little is all of one colour.
  low = min(90.0, 10 * np.floor(np.nanmin(mean, initial=90) / 10))
  heat_map(figure, axes, mean, "accuracy (%)", decimals=0, limits=(low, 100))
  label_tasks(axes, range(1, len(mean) + 1), range(1, len(mean) + 1))
  axes.set(title=title, xlabel="evaluated on task", ylabel="after training task")
  return figure


def plot_accuracy_over_time(results: Results) -> Figure:
  """Accuracy on each task from when it was learned on: a line a task, with the std over seeds."""
  matrices = 100 * _matrices(results)
  num_tasks = matrices.shape[-1]
  figure = Figure(figsize=(7.2, 4.2), layout="constrained", dpi=DPI)
  axes = figure.add_subplot()
  colors = TASK_COLORS(np.linspace(0, 1, num_tasks))
  is_crowded = num_tasks > 10
  for task in range(num_tasks):
    times, values = np.arange(task, num_tasks) + 1, matrices[:, task:, task]
    line_with_band(
      axes,
      times,
      values,
      colors[task],
      label=None if is_crowded else f"task {task + 1}",
      marker="" if is_crowded and task < num_tasks - 1 else "o",
      opacity=0.06 if is_crowded else BAND_OPACITY,
    )
  average = np.stack(
    [metrics.average_accuracy(matrices / 100, after=task) for task in range(num_tasks)], axis=1
  )
  axes.plot(
    np.arange(num_tasks) + 1,
    100 * mean_over_seeds(average),
    color="black",
    linestyle="--",
    linewidth=2,
    marker="o" if num_tasks == 1 else None,
    label="average so far",
    zorder=5,
  )
  style_task_axis(axes, num_tasks)
  axes.set(xlabel="after training task", ylabel="accuracy (%)")
  axes.set_title(
    f"{_name(results)}\naccuracy on each task{_over_seeds(matrices, ', mean ± std of ')}"
  )
  limit_from_data(axes, matrices)
  if is_crowded:
    axes.legend(loc="lower left", frameon=False)
    scale = ScalarMappable(Normalize(1, num_tasks), TASK_COLORS)
    figure.colorbar(scale, ax=axes, label="evaluated on task", ticks=MaxNLocator(integer=True))
  else:
    legend_beside(axes)
  return figure


def plot_forgetting(results: Results) -> Figure:
  """Forgetting of each task at the end: a bar a task with the std over seeds, a dot a seed."""
  matrices = _matrices(results)
  definition = _definition(results)
  num_tasks = matrices.shape[-1]
  figure = Figure(figsize=(max(4.8, 1.6 + 0.42 * num_tasks), 3.8), layout="constrained", dpi=DPI)
  axes = figure.add_subplot()
  axes.set_title(
    f"{_name(results)}\nforgetting at the end{_over_seeds(matrices, ', mean ± std of ')}"
  )
  axes.set(xlabel="task", ylabel=f"forgetting (points; definition: {definition})")
  if num_tasks == 1:
    say(axes, "one task: nothing to forget")
    return figure
  values = 100 * metrics.forgetting_per_task(matrices, definition)
  tasks = np.arange(num_tasks - 1) + 1
  axes.bar(
    tasks, values.mean(axis=0), 0.7, yerr=std(values), color=COLORS[5], ecolor=INK, capsize=3
  )
  if len(values) > 1:
    offsets = np.linspace(-0.18, 0.18, len(values))
    for offset, row in zip(offsets, values, strict=True):
      axes.plot(tasks + offset, row, ".", color=COLORS[0], markersize=6, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3)  # fmt: skip
  axes.axhline(values.mean(), color=COLORS[1], linestyle="--", linewidth=1.5)
  axes.annotate(
    f"mean {values.mean():.1f}",
    (1, values.mean()),
    xycoords=("axes fraction", "data"),
    xytext=(4, 0),
    textcoords="offset points",
    color=COLORS[1],
    va="center",
    annotation_clip=False,
  )
  style_task_axis(axes, num_tasks - 1)
  axes.axhline(0, color=INK, linewidth=0.8)
  return figure


def plot_task_relatedness(results: Results) -> Figure:
  """TAG's alphas: how related an earlier task (column) is to the one being learned (row).

  Raises:
    ValueError: if the results hold none, as the method is not TAG.
  """
  if results.get("task_relatedness") is None:
    raise ValueError("the results hold no task_relatedness: only TAG computes it")
  alphas = np.asarray(results["task_relatedness"], np.float64)
  title = f"{_name(results)}\ntask relatedness{_over_seeds(alphas, ', mean of ')}"
  num_tasks = alphas.shape[-1]
  figure, axes = square_figure(max(num_tasks - 1, 1))
  axes.set(title=title, xlabel="earlier task", ylabel="while training task")
  if num_tasks == 1:
    say(axes, "one task: no earlier one")
    return figure
  # Without the diagonal, exp(-b) by definition, which would take up the whole scale of colours.
  mean = mean_over_seeds(alphas)[1:, :-1]
  earlier = np.where(np.tri(num_tasks - 1, dtype=bool), mean, np.nan)
  heat_map(figure, axes, earlier, r"$\alpha$, weight of the earlier task", decimals=2)
  label_tasks(axes, range(1, num_tasks), range(2, num_tasks + 1))
  return figure


def plot_comparison(results: Mapping[str, Results], *, definition: str | None = None) -> Figure:
  """Methods side by side: average accuracy along the stream, and forgetting at its end.

  Lines and bars are means over seeds, bands and error bars 95 % confidence intervals. Of more
  methods than there are colours, the later ones have broken lines, and none has a band.

  Args:
    results: name of the method -> its results.
    definition: of forgetting; that of the first results by default.

  Raises:
    ValueError: if there are no results.
  """
  if not results:
    raise ValueError("plot_comparison needs the results of at least one method")
  first = next(iter(results.values()))
  definition = definition or _definition(first)
  is_crowded = len(results) > len(COLORS)
  size = (11.0, 4.6) if is_crowded else (9.6, 4.0)
  figure = Figure(figsize=size, layout="constrained", dpi=DPI)
  left, right = figure.subplots(1, 2, width_ratios=(3, 2))
  bars = []
  longest = 1
  for index, (name, one) in enumerate(results.items()):
    matrices = _matrices(one)
    num_tasks = matrices.shape[-1]
    longest = max(longest, num_tasks)
    averages = 100 * np.stack(
      [metrics.average_accuracy(matrices, after=task) for task in range(num_tasks)], axis=1
    )
    lap, place = divmod(index, len(COLORS))
    color = COLORS[place]
    line_with_band(
      left,
      np.arange(num_tasks) + 1,
      averages,
      color,
      label=name,
      half_width=_interval(averages),
      marker=MARKERS[(place + lap) % len(MARKERS)],
      linestyle="--" if lap else "-",
      opacity=0 if is_crowded else BAND_OPACITY,
    )
    bars.append((name, 100 * metrics.forgetting(matrices, definition), color))
  style_task_axis(left, longest)
  left.set(xlabel="after training task", ylabel="average accuracy of the tasks so far (%)")
  if is_crowded:
    legend_beside(left)
  else:
    left.legend(frameon=False)
  _forgetting_bars(right, bars, definition)
  config = first.get("config", {})
  seeds = sorted({len(one["accuracy_matrix"]) for one in results.values()})
  count = " or ".join(str(number) for number in seeds)
  spread = "" if seeds == [1] else ", mean and 95 % confidence interval"
  plural = "" if seeds == [1] else "s"
  figure.suptitle(f"{config.get('benchmark', 'comparison')}: {count} seed{plural}{spread}")
  return figure


def plot_sweep(results: Results) -> Figure:
  """Average accuracy over the grid's first two keys; over further ones, that of the best value.

  Args:
    results: what results.json of a grid holds, see `tagjax.training.sweep.run`.
  """
  sweep = {key: values for key, values in results["config"]["sweep"].items() if len(values) > 1}
  rows, columns = [None, None, *sweep][-2:] if len(sweep) < 2 else list(sweep)[:2]
  grid, chosen = _sweep_grid(results, sweep, rows, columns)
  figure = Figure(
    figsize=(2.4 + 0.8 * grid.shape[1], 2.0 + 0.5 * grid.shape[0]), layout="constrained", dpi=DPI
  )
  axes = figure.add_subplot()
  heat_map(figure, axes, 100 * grid, "average accuracy (%)", decimals=1)
  for axis, key in ((axes.xaxis, columns), (axes.yaxis, rows)):
    labels = [value_text(value) for value in sweep[key]] if key else []
    axis.set_ticks(range(len(labels)), labels)
    axis.set_label_text(key or "")
  if chosen:
    axes.add_patch(Rectangle((chosen[1] - 0.5, chosen[0] - 0.5), 1, 1, fill=False, linewidth=2.5))
  others = [key for key in sweep if key not in (columns, rows)]
  best = f"\nat the best {', '.join(others)}" if others else ""
  axes.set_title(f"{_name(results)}\naverage accuracy (%) on validation examples{best}")
  return figure


def _sweep_grid(results: Results, sweep: Mapping, rows: str | None, columns: str | None):
  """The best mean for each pair of values, NaN where all diverged; and the place of the choice."""
  heights, widths = (sweep[key] if key else [None] for key in (rows, columns))
  grid = np.full((len(heights), len(widths)), np.nan)

  def place(values: Mapping) -> tuple[int, int]:
    return heights.index(values.get(rows)), widths.index(values.get(columns))

  for point in results["points"]:
    if point["average_accuracy"] is not None:
      where = place(point["values"])
      grid[where] = np.fmax(grid[where], point["average_accuracy"]["mean"])
  return grid, place(results["chosen"]) if results["chosen"] else None


def save_all(results: Results, directory: str | os.PathLike) -> list[Path]:
  """Writes the pictures that the results allow as PNG into `directory`; returns their paths."""
  plots = {
    "accuracy_matrix": plot_accuracy_matrix,
    "accuracy_over_time": plot_accuracy_over_time,
    "forgetting": plot_forgetting,
  }
  if results.get("task_relatedness") is not None:
    plots["task_relatedness"] = plot_task_relatedness
  paths = []
  for name, plot in plots.items():
    path = Path(directory) / f"{name}.png"
    plot(results).savefig(path)
    paths.append(path)
  return paths


def _matrices(results: Results) -> np.ndarray:
  return np.atleast_3d(metrics.as_accuracy_matrix(results["accuracy_matrix"]))


def _definition(results: Results) -> str:
  return results.get("definitions", {}).get("forgetting", "agem")


def _name(results: Results) -> str:
  config = results.get("config", {})
  return f"{config.get('method', 'method')} on {config.get('benchmark', 'benchmark')}"


def _over_seeds(values: np.ndarray, words: str) -> str:
  return f"{words}{len(values)} seeds" if len(values) > 1 else ", 1 seed"


def _interval(values: np.ndarray) -> np.ndarray | None:
  """Half the width of the 95 % confidence interval of each column's mean; None for one seed."""
  if len(values) < 2:
    return None
  return np.array([metrics.summarise(column).ci95 for column in values.T])


def _forgetting_bars(axes: Axes, bars: list[tuple[str, np.ndarray, str]], definition: str) -> None:
  for index, (_, values, color) in enumerate(bars):
    summary = metrics.summarise(values)
    if np.isnan(summary.mean):
      continue
    error = None if np.isnan(summary.ci95) else summary.ci95
    axes.bar(index, summary.mean, 0.65, yerr=error, color=color, ecolor=INK, capsize=4)
  rotation = 0 if len(bars) <= 4 else 20 if len(bars) <= len(COLORS) else 90
  axes.set_xticks(range(len(bars)), [name for name, _, _ in bars], rotation=rotation)
  axes.set_xlim(-0.6, len(bars) - 0.4)
  axes.set_ylabel(f"forgetting (points; definition: {definition})")
  axes.axhline(0, color=INK, linewidth=0.8)
  style(axes)
