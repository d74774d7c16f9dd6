"""What the pictures have in common: colours, axes, lines with bands, heat maps."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's palette, the strongest first; yellow, too pale for a line, is left out."""

MARKERS = "osD^vPX*"
INK = "#333333"
BAND_OPACITY = 0.15
# Dark to light, in the order of the tasks; without the end that white paper swallows.
TASK_COLORS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.92, 256)))
DPI = 150


def mean_over_seeds(values: np.ndarray) -> np.ndarray:
  """Mean over the first axis; NaN where no seed has a value."""
  known = ~np.isnan(values)
  total = np.where(known, values, 0).sum(axis=0)
  return np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(0))


def std(values: np.ndarray) -> np.ndarray | None:
  """Sample standard deviation over the first axis; None for one seed."""
  return values.std(axis=0, ddof=1) if len(values) > 1 else None


def square_figure(num_tasks: int) -> tuple[Figure, Axes]:
  """A figure for a heat map of `num_tasks` rows and columns."""
  side = float(np.clip(1.6 + 0.42 * num_tasks, 3.6, 9.0))
  figure = Figure(figsize=(side + 1.0, side + 0.2), layout="constrained", dpi=DPI)
  return figure, figure.add_subplot()


def heat_map(
  figure: Figure,
  axes: Axes,
  values: np.ndarray,
  label: str,
  *,
  decimals: int,
  limits: tuple[float, float] | None = None,
) -> None:
  """A matrix with its values written in; what was not evaluated stays empty."""
  known = values[~np.isnan(values)]
  low, high = limits or ((known.min(), known.max()) if known.size else (0.0, 1.0))
  if high - low < 1e-9:
    low, high = low - 0.5, high + 0.5
  image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=low, vmax=high)
  size = float(np.clip(11 - 0.22 * len(values), 5.5, 9))
  for (row, column), value in np.ndenumerate(values):
    if not np.isnan(value):
      dark = (value - low) / (high - low) < 0.55
      axes.text(column, row, f"{value:.{decimals}f}", ha="center", va="center", fontsize=size,
                color="white" if dark else "black")  # fmt: skip
  axes.spines[:].set_visible(False)
  figure.colorbar(image, ax=axes, label=label, shrink=0.8)


def label_tasks(axes: Axes, columns: range, rows: range) -> None:
  """Writes the numbers of the tasks beside a heat map."""
  axes.set_xticks(np.arange(len(columns)), columns)
  axes.set_yticks(np.arange(len(rows)), rows)
  axes.tick_params(length=0)


def say(axes: Axes, text: str) -> None:
  """Text in the place of a picture that there is nothing for."""
  axes.set(xticks=[], yticks=[])
  axes.text(0.5, 0.5, text, ha="center", transform=axes.transAxes)


def line_with_band(
  axes: Axes,
  times: np.ndarray,
  values: np.ndarray,
  color: Any,
  *,
  label: str | None,
  half_width: np.ndarray | None = None,
  marker: str = "o",
  linestyle: str = "-",
  opacity: float = BAND_OPACITY,
) -> None:
  """The mean of `values` `[S, n]` with a band of `half_width`, the std over seeds by default.

  An `opacity` of 0 leaves the band out.
  """
  mean = mean_over_seeds(values)
  width = std(values) if half_width is None else half_width
  axes.plot(
    times,
    mean,
    color=color,
    linewidth=1.5,
    linestyle=linestyle,
    marker=marker,
    markersize=4,
    label=label,
  )
  if width is None or not opacity:
    return
  if len(times) > 1:
    axes.fill_between(times, mean - width, mean + width, color=color, alpha=opacity, linewidth=0)
  else:
    axes.errorbar(times, mean, width, color=color, capsize=3)


def style_task_axis(axes: Axes, num_tasks: int) -> None:
  """One tick a task, or every second or so of many."""
  step = 1 if num_tasks <= 20 else -(-num_tasks // 20)
  axes.set_xticks(np.arange(1, num_tasks + 1, step))
  axes.set_xlim(0.5, num_tasks + 0.5)
  style(axes)


def style(axes: Axes) -> None:
  """Light lines behind the data, no box around it."""
  axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)


def legend_beside(axes: Axes) -> None:
  """A legend to the right of the axes, where it hides no line."""
  axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)


def limit_from_data(axes: Axes, percents: np.ndarray) -> None:
  """From a round number below the data up to 100 %, never cutting a line off."""
  learned = percents[:, *np.tril_indices(percents.shape[-1])]
  known = learned[~np.isnan(learned)]
  lowest = known.min() if known.size else 0.0
  axes.set_ylim(max(0.0, 10 * np.floor((lowest - 2) / 10)), 101)
