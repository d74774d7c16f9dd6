"""Tables of a run: on the terminal with rich, in files as Markdown. All in percent."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tagjax import metrics
from tagjax.core.untrusted import plain_text
from tagjax.report.growth import growth_of, outcomes_of

Row = Mapping[str, str]
"""A row of a table: column -> text. All rows of a table have the same columns."""

_FIGURES = (
  ("average_accuracy", "average accuracy"),
  ("forgetting", "forgetting"),
  ("worst_case_forgetting", "worst-case forgetting"),
  ("learning_accuracy", "learning accuracy"),
  ("backward_transfer", "backward transfer"),
  ("forward_transfer", "forward transfer"),
)

PEAK_FIGURES = (("peak_accuracy", "peak accuracy"), ("final_to_peak", "final / peak"))
"""Of runs that record the best epoch of each task."""

CURVE_FIGURES = (
  ("zero_shot_accuracy", "zero-shot accuracy"),
  ("learning_curve_area", "learning curve area"),
  ("learning_curve_area_trapezoid", "the same by trapezoids"),
)
"""Of runs that record how tasks begin."""

INCREMENTAL_FIGURES = (
  ("average_incremental_accuracy", "average incremental accuracy"),
  ("task_accuracy", "task accuracy"),
  ("task_aware_accuracy", "task-aware accuracy"),
  ("plain_accuracy", "plain accuracy"),
  ("top_k_accuracy", "top-k accuracy"),
  ("recency_bias", "recency bias"),
  ("plain_task_aware_accuracy", "plain task-aware accuracy"),
)
"""Of class-incremental runs, and of those that were asked to measure them."""


def metric_rows(results: Mapping[str, Any]) -> list[Row]:
  """One row a metric: mean, standard deviation, 95 % confidence interval, value of each seed."""
  definitions = results.get("definitions", {})
  spread = f"std (ddof {definitions.get('ddof', 1)})"
  rows = []
  for name, title in (*_FIGURES, *PEAK_FIGURES, *CURVE_FIGURES, *INCREMENTAL_FIGURES):
    if name not in results:
      continue
    figure = results[name]
    rows.append(
      {
        "metric (%)": _with_definition(title, name, definitions),
        "mean": percent(figure["mean"]),
        spread: percent(figure["std"]),
        "95 % CI": f"± {percent(figure['ci95'])}",
        "per seed": "  ".join(percent(value) for value in figure["per_seed"]),
      }
    )
  return rows


def task_rows(results: Mapping[str, Any]) -> list[Row]:
  """One row a task: accuracy right after learning it and at the end, mean ± std over seeds.

  The peak accuracy stands beside them where it is recorded.
  """
  matrices = np.asarray(results["accuracy_matrix"], np.float64)
  ddof = results.get("definitions", {}).get("ddof", 1)
  names = results.get("task_names") or [""] * matrices.shape[-1]
  rows = []
  peaks = results.get("peak_accuracies")
  for task, name in enumerate(names):
    peak = {}
    if peaks is not None:
      of_task = np.asarray(peaks, np.float64)[:, task]
      peak = {"peak (%)": mean_and_std(*metrics.summarise(of_task, ddof=ddof)[:2])}
    learned = metrics.summarise(matrices[:, task, task], ddof=ddof)
    final = metrics.summarise(matrices[:, -1, task], ddof=ddof)
    rows.append(
      {
        "task": f"{task + 1}  {name}".strip(),
        **peak,
        "learned (%)": mean_and_std(learned.mean, learned.std),
        "final (%)": mean_and_std(final.mean, final.std),
        "change": percent(final.mean - learned.mean, sign=True),
      }
    )
  return rows


def growth_rows(results: Mapping[str, Any]) -> list[Row]:
  """One row a task, of a network that grows: what is in use after it, and what the method tells.

  Such as the layers that LASEM shares. Means over seeds; no row where there is nothing to tell.
  """
  grown, outcomes = growth_of(results), outcomes_of(results)
  columns: dict[str, list[str]] = {}
  tasks = range(np.shape(results["accuracy_matrix"])[-1])
  if grown is not None and grown.grows:
    columns["parameters"] = [count_text(grown.parameters[:, task]) for task in tasks]
    columns["bytes"] = [count_text(grown.bytes[:, task]) for task in tasks]
  for title, values in outcomes.items():
    columns[title.replace("_", " ")] = [_mean_text(values[:, task]) for task in tasks]
  if not columns:
    return []
  names = results.get("task_names") or [""] * len(tasks)
  titles = [f"{task + 1}  {name}".strip() for task, name in enumerate(names)]
  return [
    {"task": title, **dict(zip(columns, values, strict=True))}
    for title, *values in zip(titles, *columns.values(), strict=True)
  ]


def count_text(values: np.ndarray) -> str:
  """A mean number of parameters or bytes, with commas; a dash for what is unknown.

  >>> count_text(np.array([1200.0, 1201.0])), count_text(np.array([np.nan]))
  ('1,200', '–')
  """
  known = values[~np.isnan(values)]
  return f"{int(known.mean()):,}" if len(known) else "–"  # noqa: RUF001


def _mean_text(values: np.ndarray) -> str:
  """The mean over seeds of a figure, of any shape."""
  known = values[~np.isnan(values.reshape(len(values), -1)).any(axis=1)]
  mean = known.mean(axis=0) if len(known) else np.full(1, np.nan)
  texts = [f"{value:.3g}" for value in np.atleast_1d(mean).ravel().tolist()]
  return " ".join(texts) if len(known) else "–"  # noqa: RUF001


def seeds_text(results: Mapping[str, Any]) -> str:
  """How many seeds the figures are of; of those that diverged, none is.

  >>> matrix = [[0.9, None], [0.7, 0.8]]
  >>> seeds_text({"accuracy_matrix": [matrix]})
  '1'
  >>> seeds_text({"accuracy_matrix": [matrix], "diverged_seeds": [2, 4]})
  '1 of 3'
  """
  ended, lost = len(results["accuracy_matrix"]), len(results.get("diverged_seeds", ()))
  return f"{ended} of {ended + lost}" if lost else str(ended)


def run_table(results: Mapping[str, Any]) -> Table:
  """The end-of-run table: every metric over the seeds."""
  seeds = seeds_text(results)
  title = f"{_name(results)}, {seeds} seed{'s' if seeds != '1' else ''}"
  return rich_table(metric_rows(results), title)


def task_table(results: Mapping[str, Any]) -> Table:
  """The accuracy of each task."""
  return rich_table(task_rows(results), "accuracy of each task")


def print_run(results: Mapping[str, Any], console: Console | None = None) -> None:
  """Prints the tables, on stdout by default.

  Before them come the points that were chosen from, after them growth where there is some.
  """
  console = console or Console()
  if "tuning" in results:
    print_sweep(results["tuning"], console, is_judged=True)
  console.print(run_table(results))
  console.print(task_table(results))
  if rows := growth_rows(results):
    console.print(rich_table(rows, "in use after each task"))


def sweep_rows(results: Mapping[str, Any]) -> list[Row]:
  """One row a point of a grid or search, the best first: values and figures, mean ± std."""
  points = results["points"]
  order = sorted(points, key=lambda point: -_mean(point))
  rows = []
  for point in order:
    values = {key: value_text(value) for key, value in point["values"].items()}
    figures = {
      f"{title} (%)": mean_and_std(point[name]["mean"], point[name]["std"]) if point[name] else "–"  # noqa: RUF001
      for name, title in _FIGURES
      if name in ("average_accuracy", "forgetting", "learning_accuracy")
    }
    rows.append({**values, **figures, "": _note(point)})
  return rows


def _note(point: Mapping[str, Any]) -> str:
  if point["diverged_seeds"]:
    return f"diverged with seed {', '.join(map(str, point['diverged_seeds']))}"
  return f"given up after task {point['pruned_after']}" if point.get("pruned_after") else ""


def value_text(value: Any) -> str:
  """A setting as a user would write it.

  >>> value_text(1e10), value_text(0.00025), value_text(3), value_text((100, 100))
  ('1e+10', '0.00025', '3', '(100, 100)')
  """
  return f"{value:g}" if isinstance(value, float) else str(value)


def _mean(point: Mapping[str, Any]) -> float:
  return point["average_accuracy"]["mean"] if point["average_accuracy"] else -math.inf


def print_sweep(
  results: Mapping[str, Any], console: Console | None = None, *, is_judged: bool = False
) -> None:
  """Prints the points of a grid or search, the choice and how to run it.

  Args:
    results: what results.json of a grid holds.
    console: where to; None: stdout.
    is_judged: whether the choice has been run already, on other tasks.
  """
  console = console or Console()
  chosen_on = results["selected_on"]
  seeds, tasks = chosen_on["seeds"], chosen_on.get("tasks")
  where = chosen_on.get("split", "validation")
  where += f" of the first {tasks} task{'s' if tasks > 1 else ''}" if tasks else ""
  title = f"{_name(results)}, {where}, {seeds} seed{'s' if seeds > 1 else ''} a point"
  console.print(rich_table(sweep_rows(results), title))
  if results["chosen"] is None:
    console.print("Every point diverged: try smaller learning rates or strengths.")
    return
  flags = " ".join(f"--config.{key}={value}" for key, value in results["chosen"].items())
  console.print(plain_text(f"Chosen: {flags}"), markup=False, soft_wrap=True)
  for key in map(plain_text, results["at_edge"]):
    console.print(f"{key} is at the edge of what was tried: try values beyond it.", markup=False)
  if not is_judged:
    console.print(
      "Nothing is judged yet: run the choice, or let config.tuning.tasks choose by the first tasks "
      "and judge on the others.",
      markup=False,
      soft_wrap=True,
    )


def rich_table(rows: Sequence[Row], title: str | None = None) -> Table:
  """The rows as a rich table; the first column to the left, the others to the right."""
  # Text: what stands in results is no markup.
  heading = None if title is None else Text(plain_text(title), style="bold")
  table = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left")
  for index, column in enumerate(rows[0]):
    name = Text(plain_text(column))
    table.add_column(name, justify="right" if index else "left", overflow="fold")
  for row in rows:
    table.add_row(*(Text(plain_text(text)) for text in row.values()))
  return table


def print_rows(rows: Sequence[Row], title: str) -> None:
  """Prints the rows on stdout; into a file, a pipe or a notebook in whole lines."""
  console = Console()
  # Without a terminal rich folds at 80 columns.
  console.width = console.width if console.is_terminal else 200
  table = rich_table(rows, title)
  words = [
    max(map(len, " ".join([column, *(row[column] for row in rows)]).split()), default=1)
    for column in rows[0]
  ]
  if sum(words) + 2 * len(words) + 2 <= console.width:  # it can break between words only
    table.collapse_padding = (
      table.collapse_padding or sum(words) + 3 * len(words) + 1 > console.width
    )
    for column, width, name in zip(table.columns, words, rows[0], strict=True):
      column.min_width = width
      column.no_wrap = not any(" " in text for text in [name, *(row[name] for row in rows)])
  console.print(table)


def markdown_table(rows: Sequence[Row]) -> str:
  r"""The rows as a Markdown table.

  Raises:
    ValueError: if there is no row, or rows have different columns.

  >>> print(markdown_table([{"method": "tag", "mean": "75.1"}, {"method": "sgd | 2", "mean": "7"}]))
  | method   | mean |
  | :------- | ---: |
  | tag      | 75.1 |
  | sgd \| 2 |    7 |
  """
  if not rows:
    raise ValueError("a table needs at least one row")
  columns = list(rows[0])
  if any(list(row) != columns for row in rows):
    raise ValueError("all rows of a table must have the same columns")
  cells = [[markdown_text(text) for text in line] for line in [columns, *_values(rows)]]
  widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]
  rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
  padded = [
    [text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in pairs]
    for pairs in (enumerate(zip(line, widths, strict=True)) for line in cells)
  ]
  return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def markdown_text(text: str) -> str:
  r"""The text as it is, in Markdown: no table cell, link, picture, code or HTML.

  >>> print(markdown_text("sgd | <b>[a](b)`"))
  sgd \| &lt;b>\[a](b)\`
  """
  escaped = re.sub(r"([\\|`\[])", r"\\\1", plain_text(text))
  return re.sub(r"&(?=[#\w]+;)", "&amp;", escaped).replace("<", "&lt;")


def markdown_code(text: str) -> str:
  """The text as code in Markdown, whatever it is.

  >>> markdown_code("python launch.py"), markdown_code("a`b")
  ('`python launch.py`', '`` a`b ``')
  """
  text = plain_text(text)
  longest = max(map(len, re.findall("`+", text)), default=0)
  return f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}" if longest else f"`{text}`"


def html_table(rows: Sequence[Row], caption: str) -> str:
  """The rows as an HTML table with a line above it, for notebooks."""
  import pandas as pd  # a third of a second, which a run has no use for

  text = html.escape(caption, quote=False)
  return f"<p>{text}</p>" + pd.DataFrame(rows).to_html(index=False, border=0)


def percent(value: float | None, *, sign: bool = False) -> str:
  """A fraction in percent with one decimal place; a dash for what is undefined.

  >>> percent(0.7666), percent(None), percent(-0.0001), percent(0.05, sign=True)
  ('76.7', '–', '0.0', '+5.0')
  """
  if value is None or math.isnan(value):
    return "–"  # noqa: RUF001  (an en dash is meant)
  rounded = round(100 * value, 1) + 0.0  # no "-0.0"
  return f"{rounded:+.1f}" if sign else f"{rounded:.1f}"


def mean_and_std(mean: float | None, std: float | None) -> str:
  """`mean ± std` in percent; the mean alone if there is no spread (one seed).

  >>> mean_and_std(0.751, 0.0123), mean_and_std(0.751, None)
  ('75.1 ± 1.2', '75.1')
  """
  if std is None or math.isnan(std):
    return percent(mean)
  return f"{percent(mean)} ± {percent(std)}"


def _values(rows: Sequence[Row]) -> list[list[str]]:
  return [list(row.values()) for row in rows]


def _name(results: Mapping[str, Any]) -> str:
  config = results.get("config", {})
  return f"{config.get('method', 'method')} on {config.get('benchmark', 'benchmark')}"


def _with_definition(title: str, name: str, definitions: Mapping[str, Any]) -> str:
  if name == "forgetting":
    return f"{title} ({definitions.get('forgetting', 'agem')})"
  if name == "top_k_accuracy" and "top_k" in definitions:
    return f"top-{definitions['top_k']} accuracy"
  if name == "task_accuracy" and definitions.get("continuum", 1) > 1:
    return f"{title} (p {definitions['continuum']})"
  if name == "learning_curve_area" and name in definitions:
    return f"{title} (beta {definitions[name]['beta']})"
  return title
