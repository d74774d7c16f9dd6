"""Plots of several runs, as Matplotlib figures; see `tagjax.report.plots` for those of one run.

Every function takes `{name: what results.json holds}`. Intervals are 95 % confidence intervals of
the mean over seeds, by Student's t. With two or three seeds they may be wider than what the metric
can be; they are drawn as far as it can go, and cut off at the edge of the axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagjax import metrics
from tagjax.report.comparison import COSTS, relative_costs
from tagjax.report.drawing import (
  BAND_OPACITY,
  COLORS,
  INK,
  cut_interval,
  heat_map,
  legend_beside,
  line_with_band,
  new_plot,
  series_look,
  set_title,
  style,
  style_task_axis,
  task_labels,
)
from tagjax.report.plots import accuracy_matrices
from tagjax.report.results import definition_of

Results = Mapping[str, Any]

# In the definition "tag" gains count as zero.
_LEAST_FORGETTING = {"agem": -100.0, "agem-ref": -100.0, "tag": 0.0, "diagonal": -100.0}
_MOST_COST_LETTERS = 44
"""Of names of one width side by side; longer ones stand upright."""


def plot_comparison(results: Mapping[str, Results], *, definition: str | None = None) -> Figure:
  """Methods side by side: average accuracy along the stream, and forgetting at its end.

  Lines and bars are means over seeds, bands and error bars 95 % confidence intervals. Of more
  than eight methods no line has a band.

  Args:
    results: name of the method -> its results.
    definition: of forgetting; that of the first results by default.

  Raises:
    ValueError: if there are no results.
  """
  _check(results, "plot_comparison")
  definition = definition or definition_of(next(iter(results.values())))
  is_crowded = len(results) > len(COLORS)
  figure = new_plot(11.0 if is_crowded else 9.6, _height(results) if is_crowded else 4.0)
  left, right = figure.subplots(1, 2, width_ratios=(3, 2))
  longest = 1
  for index, (name, one) in enumerate(results.items()):
    matrices = accuracy_matrices(one)
    num_tasks = matrices.shape[-1]
    longest = max(longest, num_tasks)
    averages = 100 * np.stack(
      [metrics.average_accuracy(matrices, after=task) for task in range(num_tasks)], axis=1
    )
    line_with_band(
      left,
      np.arange(num_tasks) + 1,
      averages,
      label=name,
      half_width=_interval(averages),
      opacity=0 if is_crowded else BAND_OPACITY,
      **series_look(index),
    )
  style_task_axis(left, longest)
  left.set(xlabel="after training task", ylabel="average accuracy of the tasks so far (%)")
  if is_crowded:
    legend_beside(left)
  else:
    left.legend(frameon=False)
  _forgetting_bars(right, results, definition)
  intervals = "; error bars: 95 % confidence interval" if is_crowded else " and 95 % interval"
  set_title(figure, _title(results, f"mean{intervals}"))
  return figure


def plot_final_accuracy(results: Mapping[str, Results]) -> Figure:
  """Accuracy on each task (column) at the end of the stream, by run (row); mean over seeds.

  Raises:
    ValueError: if there are no results.
  """
  _check(results, "plot_final_accuracy")
  means = [100 * accuracy_matrices(one)[:, -1].mean(axis=0) for one in results.values()]
  longest = max(len(mean) for mean in means)
  values = np.full((len(means), longest), np.nan)
  for row, mean in zip(values, means, strict=True):
    row[: len(mean)] = mean
  figure = new_plot(3.4 + 0.5 * longest, 2.0 + 0.34 * len(means))
  axes = figure.add_subplot()
  low = min(90.0, 10 * np.floor(np.nanmin(values) / 10))
  heat_map(figure, axes, values, "accuracy (%)", decimals=0, limits=(low, 100), font_size=8)
  axes.set_aspect("auto")
  names = [_task_labels(one, longest) for one in results.values()]
  # Where the runs name their tasks otherwise, as with another order of classes, numbers alone.
  labels = names[0] if all(name == names[0] for name in names) else _task_labels({}, longest)
  axes.set_xticks(range(longest), labels, rotation=90 if len(max(labels, key=len)) > 3 else 0)
  axes.set_yticks(range(len(means)), list(results))
  axes.tick_params(length=0)
  axes.set(xlabel="task")
  set_title(figure, _title(results, "mean accuracy at the end"))
  return figure


def plot_plasticity_stability(
  results: Mapping[str, Results], *, definition: str | None = None
) -> Figure:
  """What was learned against what was forgotten: a point a run, with 95 % intervals.

  To the right: learning accuracy, how well each task was learned (plasticity). Upwards: less
  forgetting (stability).

  Args:
    results: name of the run -> its results.
    definition: of forgetting; that of the first results by default.

  Raises:
    ValueError: if there are no results.
  """
  _check(results, "plot_plasticity_stability")
  definition = definition or definition_of(next(iter(results.values())))
  figure = new_plot(6.4, _height(results))
  axes = figure.add_subplot()
  seen = []
  for index, (name, one) in enumerate(results.items()):
    matrices = accuracy_matrices(one)
    learned = 100 * metrics.learning_accuracy(matrices)
    lost = 100 * metrics.forgetting(matrices, definition)
    look = series_look(index) | {"linestyle": "none"}
    x, x_error = _with_error(learned, 0.0)
    y, y_error = _with_error(lost, _LEAST_FORGETTING[definition])
    axes.errorbar(x, y, y_error, x_error, label=name, capsize=3, elinewidth=0.8, **look)
    seen.append(np.stack([learned, lost]))
  every = np.concatenate(seen, axis=1)
  axes.set_xlim(*_limits(every[0], 0.0))
  axes.set_ylim(*reversed(_limits(every[1], _LEAST_FORGETTING[definition])))
  axes.set(
    xlabel="learning accuracy (%): plasticity →",
    ylabel=f"stability →\nforgetting (points; {definition}; upside down)",
  )
  style(axes)
  legend_beside(axes)
  set_title(figure, _title(results, "mean and 95 % interval"))
  return figure


def plot_costs(results: Mapping[str, Results]) -> Figure:
  """Training time and memory of each run, as multiples of plain SGD's: two bars a run.

  Args:
    results: name of the run -> its results; see `tagjax.report.comparison.relative_costs`.

  Raises:
    ValueError: if plain SGD is not among the runs, or one of them does not know what it took.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019 (the bars of time and
    memory).
  """
  costs = relative_costs(results)
  if not costs:
    raise ValueError("costs are told as multiples of plain SGD's: a run of sgd must be among them")
  figure = new_plot(max(4.8, 1.8 + 0.6 * len(costs)), _height(results))
  axes = figure.add_subplot()
  places = np.arange(len(costs))
  for offset, (key, title) in zip((-0.2, 0.2), COSTS.items(), strict=True):
    values = [own[key] for own in costs.values()]
    bars = axes.bar(places + offset, values, 0.38, color=COLORS[offset > 0], label=title)
    axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
  fits = len(costs) * max(map(len, costs)) <= _MOST_COST_LETTERS
  axes.set_xticks(places, list(costs), rotation=0 if fits else 90)
  axes.set_ylabel("multiples of plain SGD's")
  axes.legend(frameon=False)
  style(axes)
  set_title(figure, _title(results, "training time and memory of a seed"))
  return figure


def plot_differences(
  differences: Sequence[Mapping[str, Any]], *, reference: str, metric: str
) -> Figure:
  """Differences between runs with the same seeds: a dot a seed, the mean and its 95 % interval.

  Args:
    differences: for each run its `run` (name), `difference`, `ci95` and `per_seed`, as fractions;
      see `tagjax.report.runs.Runs.differences`.
    reference: the run that they are differences to.
    metric: the name of the metric.
  """
  figure = new_plot(6.4, 1.6 + 0.36 * len(differences))
  axes = figure.add_subplot()
  every = [100 * np.asarray(row["per_seed"], np.float64) for row in differences]
  for place, (row, values) in enumerate(zip(differences, every, strict=True)):
    axes.plot(values, np.full(len(values), place), ".", color=COLORS[5], markersize=6)
    mean, error = 100 * row["difference"], 100 * row["ci95"]
    shown = None if np.isnan(error) else error
    axes.errorbar(mean, place, xerr=shown, fmt="o", color=COLORS[0], capsize=4, zorder=3)
  axes.axvline(0, color=INK, linewidth=0.8)
  axes.set_yticks(range(len(differences)), [row["run"] for row in differences])
  axes.set_ylim(len(differences) - 0.4, -0.6)
  axes.set_xlim(*_limits(np.concatenate([*every, [0.0]]), -100.0))
  axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
  axes.set_axisbelow(True)
  axes.spines[["top", "right", "left"]].set_visible(False)
  axes.set_xlabel(f"{metric.replace('_', ' ')}, difference in points")
  title = f"difference to {reference}, seed by seed: mean and 95 % interval"
  set_title(figure, title)
  return figure


def _check(results: Mapping[str, Results], function: str) -> None:
  if not results:
    raise ValueError(f"{function} needs the results of at least one method")


def _height(results: Mapping[str, Results]) -> float:
  """Inches for a legend of all names, and for names that stand upright below the bars."""
  return max(4.6, 1.0 + 0.22 * len(results))


def _title(results: Mapping[str, Results], what: str) -> str:
  """Benchmark, number of seeds, and what is shown of several seeds."""
  names = {(one.get("config") or {}).get("benchmark", "comparison") for one in results.values()}
  seeds = sorted({len(one["accuracy_matrix"]) for one in results.values()})
  count = " or ".join(str(number) for number in seeds)
  described = "1 seed" if seeds == [1] else f"{count} seeds, {what}"
  return f"{' and '.join(sorted(map(str, names)))}: {described}"


def _task_labels(results: Results, num_tasks: int) -> list[str]:
  names = results.get("task_names") or []
  return task_labels(results if len(names) == num_tasks else {}, range(num_tasks))


def _interval(values: np.ndarray) -> np.ndarray | None:
  """Half the width of the 95 % confidence interval of each column's mean; None for one seed."""
  if len(values) < 2:
    return None
  return np.array([metrics.summarise(column).ci95 for column in values.T])


def _with_error(percents: np.ndarray, low: float) -> tuple[float, list | None]:
  """Mean over seeds, and how far its interval reaches down and up within `[low, 100]`."""
  summary = metrics.summarise(percents)
  if np.isnan(summary.ci95):
    return summary.mean, None
  below, above = cut_interval(np.float64(summary.mean), np.float64(summary.ci95), low, 100.0)
  return summary.mean, [[below], [above]]


def _limits(percents: np.ndarray, low: float) -> tuple[float, float]:
  """Limits of an axis around the seeds' values, some room beside them, within `[low, 100]`."""
  known = percents[~np.isnan(percents)]
  if not known.size:
    return low, 100.0
  room = max(0.3, 0.15 * (known.max() - known.min()))
  return max(low - 1, known.min() - room), min(101.0, known.max() + room)


def _forgetting_bars(axes: Axes, results: Mapping[str, Results], definition: str) -> None:
  every = [100 * metrics.forgetting(accuracy_matrices(one), definition) for one in results.values()]
  least = _LEAST_FORGETTING[definition]
  for index, values in enumerate(every):
    mean, error = _with_error(values, least)
    if not np.isnan(mean):
      look = {"color": series_look(index)["color"], "ecolor": INK, "capsize": 4}
      axes.bar(index, mean, 0.65, yerr=error, **look)
  rotation = 0 if len(every) <= 4 else 20 if len(every) <= len(COLORS) else 90
  axes.set_xticks(range(len(every)), list(results), rotation=rotation)
  axes.set_xlim(-0.6, len(every) - 0.4)
  axes.set_ylim(*_limits(np.concatenate([*every, [0.0]]), least))
  axes.set_ylabel(f"forgetting (points; definition: {definition})")
  axes.axhline(0, color=INK, linewidth=0.8)
  style(axes)
