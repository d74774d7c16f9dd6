"""What the plots have in common: the figure, colours, axes, lines with bands, heat maps."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from tagjax.storage.json_files import write_atomic

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's palette, the strongest first; yellow, too pale for a line, is left out."""

MARKERS = "osD^vPX*"
LINE_STYLES = ("-", "--", ":", "-.")
INK = "#333333"
BAND_OPACITY = 0.15
# Dark to light, in the order of the tasks; without the end that white paper swallows.
TASK_COLORS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.92, 256)))
DPI = 150
_SHOWN_DPI = 100
_LONGEST_TASK_NAME = 22
_MOST_TASK_NAMES = 12
_TICKS = sorted(base * 10.0**power for base in (1, 2, 5) for power in range(-9, 10))


class Plot(Figure):
  """A Matplotlib figure that a notebook shows as an image; it needs no display and no `pyplot`.

  A bare `Figure` is printed as text by a kernel in which `%matplotlib inline` has not run.
  """

  def savefig(self, fname: Any, **options: Any) -> None:
    """As Matplotlib's; a file is never half written, and a link is replaced, not followed."""
    if not isinstance(fname, str | os.PathLike):
      super().savefig(fname, **options)
      return
    content = io.BytesIO()
    kind = options.pop("format", None) or Path(fname).suffix.removeprefix(".") or "png"
    super().savefig(content, format=kind, **options)
    write_atomic(fname, [content.getvalue()])

  def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
    """The image, and the size in pixels at which it is shown."""
    file = io.BytesIO()
    self.savefig(file, format="png")
    width, height = (round(_SHOWN_DPI * inches) for inches in self.get_size_inches())
    return file.getvalue(), {"width": width, "height": height}


def new_plot(width: float, height: float) -> Plot:
  """An empty figure of this size in inches."""
  return Plot(figsize=(width, height), layout="constrained", dpi=DPI)


def series_look(index: int) -> dict[str, Any]:
  """Colour, marker and style of the line of series `index`; all different for 32 series.

  The palette has eight colours. The next eight series have lighter ones and broken lines.

  >>> series_look(0)["color"], series_look(8)["color"], series_look(8)["linestyle"]
  ('#0072B2', '#66aad1', '--')
  """
  lap, place = divmod(index, len(COLORS))
  color = COLORS[place]
  if lap % len(LINE_STYLES):
    ends = {1: (1.0, 0.4), 2: (0.0, 0.35), 3: (1.0, 0.65)}  # light, dark, very light
    end, share = ends[lap % len(LINE_STYLES)]
    color = to_hex([(1 - share) * part + share * end for part in to_rgb(color)])
  return {
    "color": color,
    "marker": MARKERS[(place + lap) % len(MARKERS)],
    "linestyle": LINE_STYLES[lap % len(LINE_STYLES)],
  }


def set_title(figure: Figure, title: str) -> None:
  """Sets the title of the figure, and makes the figure as wide as it needs.

  Matplotlib cuts off a title that is wider than its figure.
  """
  text = figure.suptitle(title)
  beyond = text.get_window_extent().width + 12 - figure.bbox.width
  if beyond > 0:
    figure.set_figwidth(figure.get_figwidth() + beyond / figure.dpi)


def run_title(results: Mapping[str, Any]) -> str:
  """The first line of a run's titles."""
  config = results.get("config", {})
  return f"{config.get('method', 'method')} on {config.get('benchmark', 'benchmark')}"


def over_seeds(values: np.ndarray, words: str) -> str:
  """`words` and the number of seeds; of one seed only that."""
  return f"{words}{len(values)} seeds" if len(values) > 1 else ", 1 seed"


def task_labels(results: Mapping[str, Any], tasks: Iterable[int]) -> list[str]:
  """Numbers of the tasks (from 1), with their names where there is room for all of them.

  Args:
    results: `task_names` are used, if there are any.
    tasks: indices of the tasks, from 0.

  >>> task_labels({"task_names": ["cats", "dogs"]}, [0, 1]), task_labels({}, [0, 1])
  (['1: cats', '2: dogs'], ['1', '2'])
  """
  names = results.get("task_names") or []
  has_room = len(names) <= _MOST_TASK_NAMES
  if not names or not has_room or max(map(len, names)) > _LONGEST_TASK_NAME:
    return [str(task + 1) for task in tasks]
  return [f"{task + 1}: {names[task]}" for task in tasks]


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
  figure = new_plot(side + 1.0, side + 0.2)
  return figure, figure.add_subplot()


def heat_map(
  figure: Figure,
  axes: Axes,
  values: np.ndarray,
  label: str,
  *,
  decimals: int | None,
  limits: tuple[float, float] | None = None,
  font_size: float | None = None,
) -> None:
  """A matrix with its values written in, unless `decimals` is None; empty where not evaluated."""
  known = values[~np.isnan(values)]
  low, high = limits or ((known.min(), known.max()) if known.size else (0.0, 1.0))
  if high - low < 1e-9:
    low, high = low - 0.5, high + 0.5
  image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=low, vmax=high)
  if decimals is not None:
    _write_values(axes, image, values, decimals, font_size)
  figure.colorbar(image, ax=axes, label=label, shrink=0.8)


def weight_map(
  figure: Figure,
  axes: Axes,
  values: np.ndarray,
  label: str,
  *,
  decimals: int | None,
  **options: Any,
) -> None:
  """A matrix of positive weights: logarithmic colours, white at 1, red above and blue below.

  Args:
    figure: takes the scale of colours.
    axes: takes the matrix.
    values: the weights; NaN stays empty.
    label: beside the scale of colours.
    decimals: of the values written in; None: none are written.
    **options: of `imshow`.
  """
  positive = np.where(values > 0, values, np.nan)
  known = np.log(positive[~np.isnan(positive)])
  # At least a factor of 2: else weights that hardly differ from 1 look like extremes.
  greatest = float(np.exp(np.abs(known).max(initial=np.log(2.0))))
  image = axes.imshow(
    np.ma.masked_invalid(positive), cmap="RdBu_r", norm=LogNorm(1 / greatest, greatest), **options
  )
  if decimals is not None:
    _write_values(axes, image, positive, decimals)
  axes.spines[:].set_visible(False)
  bar = figure.colorbar(image, ax=axes, label=label, shrink=0.8)
  ticks = [tick for tick in _TICKS if 1 / greatest <= tick * (1 + 1e-9) <= greatest * (1 + 2e-9)]
  every = -(-len(ticks) // 9)
  middle = ticks.index(1.0)
  shown = [tick for place, tick in enumerate(ticks) if (place - middle) % every == 0]
  bar.ax.yaxis.set_major_locator(FixedLocator(shown))
  bar.ax.yaxis.set_major_formatter("{x:g}")
  bar.ax.yaxis.set_minor_locator(NullLocator())
  bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _write_values(
  axes: Axes, image: Any, values: np.ndarray, decimals: int, font_size: float | None = None
) -> None:
  size = font_size or float(np.clip(11 - 0.22 * max(values.shape), 5.5, 9))
  for (row, column), value in np.ndenumerate(values):
    if not np.isnan(value):
      red, green, blue, _ = image.to_rgba(value)
      is_dark = 0.30 * red + 0.59 * green + 0.11 * blue < 0.5
      axes.text(column, row, f"{value:.{decimals}f}", ha="center", va="center", fontsize=size,
                color="white" if is_dark else "black")  # fmt: skip
  axes.spines[:].set_visible(False)


def label_tasks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
  """Writes the labels of the tasks beside a heat map."""
  long = max((len(label) for label in columns), default=0) > 3
  axes.set_xticks(np.arange(len(columns)), columns, rotation=90 if long else 0)
  axes.set_yticks(np.arange(len(rows)), rows)
  axes.tick_params(length=0)


def say(axes: Axes, text: str) -> None:
  """Text in the place of a plot that there is nothing for."""
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
  """The mean of `values` `[S, n]`, in percent, with a band cut to what is possible, 0 to 100.

  The band is of `half_width`, the std over seeds by default; an `opacity` of 0 leaves it out.
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
  below, above = cut_interval(mean, width, 0.0, 100.0)
  if len(times) > 1:
    axes.fill_between(times, mean - below, mean + above, color=color, alpha=opacity, linewidth=0)
  else:
    axes.errorbar(times, mean, [below, above], color=color, capsize=3)


def cut_interval(
  mean: np.ndarray, half_width: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
  """How far `mean ± half_width` reaches down and up within `[low, high]`.

  The interval of few seeds may be wider than what the metric can be.

  >>> [float(reach) for reach in cut_interval(np.float64(90.0), np.float64(40.0), 0.0, 100.0)]
  [40.0, 10.0]
  """
  below, above = np.maximum(mean - half_width, low), np.minimum(mean + half_width, high)
  return np.maximum(mean - below, 0.0), np.maximum(above - mean, 0.0)


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
