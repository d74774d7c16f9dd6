"""Plots of a run, as Matplotlib figures; no global state, no display needed.

Every function takes what results.json holds (see `tagjax.report.results.summarise`; `config`
with `method` and `benchmark` names the run in the titles). Tasks count from 1 on the axes, with
their names where there is room. The colours are told apart by colour-blind readers and in grey.
Each is a `tagjax.report.drawing.Plot`, which a notebook shows as an image.
"""

import os
from collections.abc import Callable, Iterable, Mapping
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
from tagjax.report import class_plots, curve_plots, growth_plots
from tagjax.report.drawing import (
  BAND_OPACITY,
  COLORS,
  INK,
  TASK_COLORS,
  heat_map,
  label_tasks,
  legend_beside,
  limit_from_data,
  line_with_band,
  mean_over_seeds,
  new_plot,
  over_seeds,
  run_title,
  say,
  set_title,
  square_figure,
  std,
  style,
  style_task_axis,
  task_labels,
  weight_map,
)
from tagjax.report.growth import growth_of
from tagjax.report.results import definition_of
from tagjax.report.tables import value_text

Results = Mapping[str, Any]
_PANELS = 3  # side by side


def plot_accuracy_matrix(results: Results) -> Figure:
  """Accuracy on every task (column) after training every task (row), mean over seeds."""
  matrices = accuracy_matrices(results)
  title = f"{run_title(results)}\naccuracy (%){over_seeds(matrices, ', mean of ')}"
  figure, axes = square_figure(matrices.shape[-1])
  mean = 100 * mean_over_seeds(matrices)
  # From a round number on, not from 0: else a run that forgets little is all of one colour.
  low = min(90.0, 10 * np.floor(np.nanmin(mean, initial=90) / 10))
  heat_map(figure, axes, mean, "accuracy (%)", decimals=0, limits=(low, 100))
  tasks = range(len(mean))
  label_tasks(axes, task_labels({}, tasks), task_labels(results, tasks))
  axes.set(xlabel="evaluated on task", ylabel="after training task")
  set_title(figure, title)
  return figure


def plot_accuracy_over_time(results: Results) -> Figure:
  """Accuracy on each task from when it was learned on: a line a task, with the std over seeds."""
  matrices = 100 * accuracy_matrices(results)
  num_tasks = matrices.shape[-1]
  figure = new_plot(7.2, 4.2)
  axes = figure.add_subplot()
  colors = TASK_COLORS(np.linspace(0, 1, num_tasks))
  is_crowded = num_tasks > 10
  labels = [
    label if ":" in label else f"task {label}" for label in task_labels(results, range(num_tasks))
  ]
  for task in range(num_tasks):
    times, values = np.arange(task, num_tasks) + 1, matrices[:, task:, task]
    line_with_band(
      axes,
      times,
      values,
      colors[task],
      label=None if is_crowded else labels[task],
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
  limit_from_data(axes, matrices)
  if is_crowded:
    axes.legend(loc="lower left", frameon=False)
    scale = ScalarMappable(Normalize(1, num_tasks), TASK_COLORS)
    figure.colorbar(scale, ax=axes, label="evaluated on task", ticks=MaxNLocator(integer=True))
  else:
    legend_beside(axes)
  over = over_seeds(matrices, ", mean ± std of ")
  set_title(figure, f"{run_title(results)}\naccuracy on each task{over}")
  return figure


def plot_forgetting(results: Results) -> Figure:
  """Forgetting of each task at the end: a bar a task with the std over seeds, a dot a seed."""
  matrices = accuracy_matrices(results)
  definition = definition_of(results)
  num_tasks = matrices.shape[-1]
  figure = new_plot(max(4.8, 1.6 + 0.42 * num_tasks), 3.8)
  axes = figure.add_subplot()
  over = over_seeds(matrices, ", mean ± std of ")
  title = f"{run_title(results)}\nforgetting at the end{over}"
  axes.set(xlabel="task", ylabel=f"forgetting (points; definition: {definition})")
  if num_tasks == 1:
    set_title(figure, title)
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
  labels = task_labels(results, range(num_tasks - 1))
  if ":" in labels[0]:
    axes.set_xticks(tasks, labels, rotation=90)
  axes.axhline(0, color=INK, linewidth=0.8)
  set_title(figure, title)
  return figure


def plot_task_relatedness(results: Results) -> Figure:
  """TAG's alphas: how related an earlier task (column) is to the one being learned (row).

  Means over the parameter tensors, the last epoch of the task and the seeds. The colours are
  logarithmic: white is 1 (unrelated), red above (the directions oppose each other, the steps get
  smaller), blue below (they agree).

  Raises:
    ValueError: if the results hold none, as the method is not TAG.
  """
  if results.get("task_relatedness") is None:
    raise ValueError("the results hold no task_relatedness: only TAG computes it")
  alphas = np.asarray(results["task_relatedness"], np.float64)
  over = over_seeds(alphas, " and ")
  title = f"{run_title(results)}\ntask relatedness, mean over tensors{over}"
  num_tasks = alphas.shape[-1]
  figure, axes = square_figure(max(num_tasks - 1, 1))
  axes.set(xlabel="earlier task", ylabel="while training task")
  if num_tasks == 1:
    set_title(figure, title)
    say(axes, "one task: no earlier one")
    return figure
  # Without the diagonal, exp(-b) by definition, which would take up the whole scale of colours.
  mean = mean_over_seeds(alphas)[1:, :-1]
  earlier = np.where(np.tri(num_tasks - 1, dtype=bool), mean, np.nan)
  weight_map(figure, axes, earlier, r"$\alpha$, weight of the earlier task", decimals=2)
  columns, rows = range(num_tasks - 1), range(1, num_tasks)
  label_tasks(axes, task_labels(results, columns), task_labels(results, rows))
  set_title(figure, title)
  return figure


def plot_sweep(results: Results) -> Figure:
  """Average accuracy over the grid's first two keys; over further ones, that of the best value.

  The chosen point is framed.

  Args:
    results: what results.json of a grid holds, see `tagjax.training.sweep.run`.
  """
  sweep = {key: values for key, values in results["config"]["sweep"].items() if len(values) > 1}
  rows, columns = [None, None, *sweep][-2:] if len(sweep) < 2 else list(sweep)[:2]
  grid, chosen = _sweep_grid(results, sweep, rows, columns)
  figure = new_plot(2.4 + 0.8 * grid.shape[1], 2.0 + 0.5 * grid.shape[0])
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
  seeds = results.get("selected_on", {}).get("seeds", 1)
  over = f", mean of {seeds} seeds" if seeds > 1 else ", 1 seed"
  framed = "\n(framed: chosen)" if chosen else ""
  set_title(
    figure,
    f"{run_title(results)}\naverage accuracy (%) on validation examples{over}{best}{framed}",
  )
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


def plot_search(results: Results) -> Figure:
  """Average accuracy of each point that ended over the values of each key; the choice is ringed.

  Args:
    results: what results.json of a search holds, see `tagjax.training.search.train_search`.
  """
  ended = [point for point in results["points"] if point["average_accuracy"]]
  space = results["config"]["search"]
  rows, columns = -(-len(space) // _PANELS), min(len(space), _PANELS)
  figure = new_plot(0.6 + 2.9 * columns, 0.9 + 2.5 * rows)
  panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
  for number, (axes, key) in enumerate(zip(panels.flat, space, strict=False)):
    _draw_key(axes, key, space[key], ended, results["chosen"])
    if number % columns == 0:
      axes.set_ylabel("average accuracy (%)")
  for axes in panels.flat[len(space) :]:
    axes.set_axis_off()
  seeds = results["selected_on"]["seeds"]
  over = f", mean of {seeds} seeds" if seeds > 1 else ", 1 seed"
  ringed = "\n(ringed: chosen)" if results["chosen"] else ""
  left_out = len(results["points"]) - len(ended)
  others = f"; {left_out} diverged or were given up" if left_out else ""
  set_title(
    figure,
    f"{run_title(results)}\n{len(ended)} points on validation examples{over}{others}{ringed}",
  )
  return figure


def _draw_key(
  axes: Axes,
  key: str,
  own: str | list[Any],
  ended: list[Mapping[str, Any]],
  chosen: Mapping[str, Any] | None,
) -> None:
  style(axes)
  axes.set_xlabel(key)
  if isinstance(own, list):
    axes.set_xticks(range(len(own)), [value_text(value) for value in own])
    axes.set_xlim(-0.5, len(own) - 0.5)
    places = [own.index(_plain(point["values"][key])) for point in ended]
  else:
    if own.endswith("log"):
      axes.set_xscale("log")
    places = [point["values"][key] for point in ended]
  means = [100 * point["average_accuracy"]["mean"] for point in ended]
  axes.scatter(places, means, s=18, color=COLORS[0], alpha=0.7, linewidth=0)
  if chosen is not None:
    best = int(np.argmax(means))  # the first of equals, as the choice is
    axes.scatter(places[best], means[best], s=90, facecolor="none", edgecolor=INK, linewidth=1.5)


def _plain(value: Any) -> Any:
  """A value as JSON has it: results that come from memory have tuples."""
  return list(value) if isinstance(value, tuple) else value


def plot_points(results: Results) -> Figure:
  """`plot_search` of a search, `plot_sweep` of a grid."""
  return plot_search(results) if results["config"].get("search") else plot_sweep(results)


def plots_of(results: Results) -> dict[str, Callable[[Results], Figure]]:
  """What draws the plots of a run, a grid or a search, by the names of their files."""
  if "points" in results:
    plots = {"search" if results["config"].get("search") else "sweep": plot_points}
  else:
    plots = {
      "accuracy_matrix": plot_accuracy_matrix,
      "accuracy_over_time": plot_accuracy_over_time,
      "forgetting": plot_forgetting,
    }
  if results.get("task_relatedness") is not None:
    plots["task_relatedness"] = plot_task_relatedness
  if (grown := growth_of(results)) is not None and grown.grows:
    plots["growth"] = growth_plots.plot_growth
  return plots | curve_plots.plots_of(results) | class_plots.plots_of(results)


def save_all(
  results: Results, directory: str | os.PathLike, names: Iterable[str] | None = None
) -> list[Path]:
  """Writes the plots as PNG into `directory`, all or those of these names; returns their paths."""
  plots, paths = plots_of(results), []
  for name in plots if names is None else names:
    path = Path(directory) / f"{name}.png"
    plots[name](results).savefig(path)
    paths.append(path)
  return paths


def accuracy_matrices(results: Results) -> np.ndarray:
  """The accuracy matrices `[S, T, T]`, float64."""
  return np.atleast_3d(metrics.as_accuracy_matrix(results["accuracy_matrix"]))
