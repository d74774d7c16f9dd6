"""A finished grid or search as an object: its points, and the choice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagjax import report
from tagjax.report import form
from tagjax.report.tables import html_table, sweep_rows
from tagjax.storage.json_files import ResultsError
from tagjax.storage.workdir import RESULTS

if TYPE_CHECKING:
  import pandas as pd
  from matplotlib.figure import Figure

Results = Mapping[str, Any]


class Grid:
  """A finished grid (`config.sweep`) or search (`config.search`): its points, and the choice.

  A notebook shows it as the table of its points. Its results are summaries on validation
  examples; there are no accuracy matrices.

  Attributes:
    results: the contents of results.json.
    folder: the grid's folder; None for a grid in memory.
    name: the method, if no other name was given.

  Args:
    results: the contents of results.json, with `points` and `chosen`.
    folder: the grid's folder.
    name: see above.

  Raises:
    ResultsError: if `results` are not those of a grid.
  """

  def __init__(
    self,
    results: Results,
    folder: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
  ):
    if not form.is_grid(results):
      raise ResultsError("the results hold no 'points': they are not those of a grid; use Run")
    form.check_grid(results, f"the results in {folder}" if folder else "the results")
    self.results = results
    self.folder = None if folder is None else Path(folder)
    self.name = (
      name
      or str((results.get("config") or {}).get("method") or "")
      or (self.folder.name if self.folder else "grid")
    )

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> Grid:
    """Reads a grid from its folder, or from a results file.

    Raises:
      ResultsError: if there is no results.json, or it is not that of a finished grid.
    """
    results, file = form.read_results(path)
    if isinstance(results, Mapping) and "accuracy_matrix" in results:
      raise ResultsError(f"{path} holds a single run, not a grid: read it with Run.load")
    return cls(results, file.parent if file.name == RESULTS else None)

  @property
  def config(self) -> dict[str, Any]:
    """The config that all points share, with `sweep`."""
    return dict(self.results.get("config") or {})

  @property
  def chosen(self) -> dict[str, Any] | None:
    """The values of the best point; None if all points diverged."""
    return self.results.get("chosen")

  @property
  def at_edge(self) -> list[str]:
    """The keys whose chosen value is at an end of what was tried."""
    return list(self.results.get("at_edge") or [])

  def to_frame(self) -> pd.DataFrame:
    """One row a point.

    Returns:
      The columns `grid` (its name), the swept keys, mean, `_std` and `_ci95` of each metric (NaN
      where the point diverged or was given up), `diverged_seeds` (how many), of a search
      `pruned_after` (the tasks after which the point was given up, else NaN), and `chosen`.
    """
    rows = []
    for point in self.results["points"]:
      row: dict[str, Any] = {"grid": self.name, **point["values"]}
      for name in [key for key in point if key not in _NO_METRIC]:
        summary = point[name] or {}
        row |= {name + end: _number(summary.get(key)) for end, key in _SUMMARY.items()}
      row["diverged_seeds"] = len(point.get("diverged_seeds", []))
      if "pruned_after" in point:
        row["pruned_after"] = _number(point["pruned_after"])
      row["chosen"] = point["values"] == self.chosen
      rows.append(row)
    import pandas as pd  # a third of a second, which a run has no use for

    return pd.DataFrame(rows)

  def plot(self) -> Figure:
    """See `plot_points` in `tagjax.report.plots`."""
    return report.plots.plot_points(self.results)

  def __repr__(self) -> str:
    where = f", {self.folder}" if self.folder else ""
    chosen = ", ".join(f"{key}={value}" for key, value in (self.chosen or {}).items())
    best = f"chosen {chosen}" if chosen else "every point diverged"
    return f"Grid({self.name}: {len(self.results['points'])} points, {best}{where})"

  def _repr_html_(self) -> str:
    return html_table(sweep_rows(self.results), repr(self))


_SUMMARY = {"": "mean", "_std": "std", "_ci95": "ci95"}
_NO_METRIC = ("values", "diverged_seeds", "pruned_after")


def _number(value: float | None) -> float:
  return np.nan if value is None else value
