"""Plots of how tasks begin: the first minibatches, and what is known before any.

Both take `{name: what results.json holds}`, of one run or several; see
`tagjax.report.results.summarise` for `learning_curves`. Lines are means over seeds, bands one
standard deviation; of more than eight runs no line has a band.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tagjax import metrics
from tagjax.report.drawing import (
  BAND_OPACITY,
  COLORS,
  legend_beside,
  line_with_band,
  new_plot,
  series_look,
  set_title,
  style,
  style_task_axis,
)
from tagjax.storage.json_files import ResultsError

Results = Mapping[str, Any]


def plot_learning_curves(results: Mapping[str, Results]) -> Figure:
  """Accuracy on a task after its first minibatches, averaged over the tasks: Z_b over b.

  Args:
    results: name of the run -> its results.

  Raises:
    ResultsError: if there are none, or one holds no learning curves.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019 (the figures of the
    learning curve area).
  """
  shots = {
    name: metrics.average_learning_curve(curves) for name, curves in _curves(results).items()
  }
  figure, axes = _lines(shots, first=0)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  axes.set(xlabel="minibatches of the task, b", ylabel="mean accuracy on the task then (%)")
  style(axes)
  set_title(figure, _title(results, "the first minibatches, mean over tasks"))
  return figure


def plot_zero_shot(results: Mapping[str, Results]) -> Figure:
  """Accuracy on each task before its first minibatch, along the stream.

  Args:
    results: name of the run -> its results.

  Raises:
    ResultsError: see `plot_learning_curves`.
  """
  first = {name: curves[..., 0] for name, curves in _curves(results).items()}
  figure, axes = _lines(first, first=1)
  style_task_axis(axes, max(values.shape[1] for values in first.values()))
  axes.set(xlabel="task", ylabel="accuracy before its first minibatch (%)")
  set_title(figure, _title(results, "zero-shot accuracy"))
  return figure


def plots_of(results: Results) -> dict[str, Any]:
  """Name -> function of those plots that the results of a run allow."""
  curves = results.get("learning_curves")
  if not curves:
    return {}
  plots = {"zero_shot": _of_one(plot_zero_shot)}
  if len(curves[0][0]) > 1:
    plots["learning_curve"] = _of_one(plot_learning_curves)
  return plots


def _of_one(plot: Any) -> Any:
  return lambda results: plot({(results.get("config") or {}).get("method") or "run": results})


def _curves(results: Mapping[str, Results]) -> dict[str, np.ndarray]:
  """The learning curves `[S, T, b]` of each run."""
  if not results:
    raise ResultsError("a plot of learning curves needs the results of at least one run")
  without = [name for name, one in results.items() if not one.get("learning_curves")]
  if without:
    raise ResultsError(
      f"the results of {', '.join(without)} hold no learning curves: set learning_curve_batches, "
      "to 0 for zero-shot accuracy alone"
    )
  return {name: np.asarray(one["learning_curves"], np.float64) for name, one in results.items()}


def _lines(values: Mapping[str, np.ndarray], *, first: int) -> tuple[Figure, Axes]:
  """A line for each run: `[S, n]` over `first`, `first + 1`, ...."""
  figure = new_plot(6.4 if len(values) == 1 else 8.0, max(4.0, 1.0 + 0.22 * len(values)))
  axes = figure.add_subplot()
  opacity = BAND_OPACITY if len(values) <= len(COLORS) else 0
  for index, (name, own) in enumerate(values.items()):
    places = first + np.arange(own.shape[1])
    line_with_band(axes, places, 100 * own, label=name, opacity=opacity, **series_look(index))
  if len(values) > 1:
    legend_beside(axes)
  return figure, axes


def _title(results: Mapping[str, Results], what: str) -> str:
  benchmarks = {str((one.get("config") or {}).get("benchmark", "runs")) for one in results.values()}
  seeds = sorted({len(one["learning_curves"]) for one in results.values()})
  count = " or ".join(map(str, seeds))
  over = "1 seed" if seeds == [1] else f"mean ± std of {count} seeds"
  names = f"{next(iter(results))} on " if len(results) == 1 else ""
  return f"{names}{' and '.join(sorted(benchmarks))}\n{what}, {over}"
