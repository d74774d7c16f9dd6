"""Finished runs side by side: `tagjax.load_runs("runs/*")`.

runs = tagjax.load_runs("runs/*")
runs.compare()                            # the table, as `python -m tagjax.report.compare`
runs.metrics().to_latex(index=False)      # one row a run; also to_csv
runs.to_frame()                           # every accuracy, in long form
runs["tag"].plot_accuracy_matrix()
runs.filter(scenario="class").plot()
"""

import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tagjax import metrics, report
from tagjax.core.errors import nearest
from tagjax.core.untrusted import plain_text
from tagjax.report.comparison import (
  CompareError,
  check_comparable,
  comparison_rows,
  distinct_names,
  spread,
)
from tagjax.report.grid import Grid
from tagjax.report.results import definition_of
from tagjax.report.run import Run, load
from tagjax.report.tables import html_table, print_rows
from tagjax.storage.json_files import ResultsError
from tagjax.storage.workdir import CHECKPOINTS, CONFIG, LOCK, LOG, RESULTS

_MOST_NAMED = 6
_DIFFERENCE_COLUMNS = [
  "run",
  "reference",
  "metric",
  "seeds",
  "difference",
  "std",
  "ci95",
  "low",
  "high",
  "per_seed",
]


class Runs(Sequence[Run]):
  """Finished runs, in order; each has a name of its own.

  `runs[0]`, `runs["tag"]`, `runs[:3]`, `len(runs)`, `for run in runs`. Runs of one name (the
  method, if no other was given) are told apart by the settings in which they differ, such as `er,
  memory.capacity=10`, else by their folders. A notebook shows the table of `compare`.

  Attributes:
    grids: the grids (`config.sweep`) that were found beside the runs. They are kept apart, as
      their accuracies are those on validation examples: `grid.to_frame()` has a row a point.
    unfinished: the folders that hold no finished run.

  Args:
    runs: the runs.
    grids: see above.
    unfinished: see above.

  >>> sgd = Run({"accuracy_matrix": [[[0.9, None], [0.5, 0.9]]], "config": {"method": "sgd"}})
  >>> runs = Runs([sgd, sgd])
  >>> runs.names
  ['sgd', 'sgd (2)']
  """

  def __init__(
    self,
    runs: Iterable[Run],
    *,
    grids: Iterable[Grid] = (),
    unfinished: Iterable[Path] = (),
  ):
    given = list(runs)
    folders = [run.folder.name if run.folder else "" for run in given]
    names = distinct_names(
      [(run.name, run.results, folder) for run, folder in zip(given, folders, strict=True)]
    )
    self._runs = [run.renamed(name) for run, name in zip(given, names, strict=True)]
    self.grids = tuple(grids)
    self.unfinished = tuple(unfinished)

  @property
  def names(self) -> list[str]:
    """The names of the runs, all different."""
    return [run.name for run in self._runs]

  @property
  def results(self) -> dict[str, Mapping[str, Any]]:
    """`{name: contents of results.json}`."""
    return {run.name: run.results for run in self._runs}

  def __len__(self) -> int:
    return len(self._runs)

  def __iter__(self) -> Iterator[Run]:
    return iter(self._runs)

  def __contains__(self, item: object) -> bool:
    return item in self.names if isinstance(item, str) else item in self._runs

  @overload
  def __getitem__(self, item: int | str) -> Run: ...
  @overload
  def __getitem__(self, item: slice) -> "Runs": ...
  def __getitem__(self, item):
    if isinstance(item, slice):
      return Runs(self._runs[item])
    if isinstance(item, str):
      if item not in self.names:
        raise KeyError(
          f"no run is called {item!r}{nearest(item, self.names)}: there are {', '.join(self.names)}"
        )
      return self._runs[self.names.index(item)]
    return self._runs[item]

  def filter(self, **config: Any) -> "Runs":
    """The runs whose config has these values.

    Args:
      **config: keys of the config and their values; keys with dots as `**{"tag.b": 5.0}`. A
        function of the value that says yes or no may stand for it.

    Raises:
      ResultsError: if no run has such a key.

    >>> sgd, tag = (
    ...   Run({"accuracy_matrix": [[[0.9]]], "config": {"method": name, "epochs": epochs}})
    ...   for name, epochs in (("sgd", 1), ("tag", 5))
    ... )
    >>> Runs([sgd, tag]).filter(epochs=lambda epochs: epochs > 2).names
    ['tag']
    """
    known = {key for run in self._runs for key in run.settings}
    for key in config:
      if self._runs and key not in known:
        raise ResultsError(f"no run has the key config.{key}{nearest(key, known)}")
    return Runs(run for run in self._runs if _fits(run.settings, config))

  def to_frame(self) -> pd.DataFrame:
    """All accuracies of all runs in long form; see `Run.to_frame`."""
    if not self._runs:
      return pd.DataFrame(
        columns=["run", "method", "seed", "task", "task_name", "after_task", "accuracy"]
      )
    return pd.concat([run.to_frame() for run in self._runs], ignore_index=True)

  def metrics(self) -> pd.DataFrame:
    """One row a run: the settings in which the runs differ, and every metric.

    Returns:
      The columns `run`, `method`; `config.KEY` for each key of the config that has several values
      among the runs (missing where a run of an older version does not have it); mean, `_std` and
      `_ci95` of each metric; `seeds`, `seconds`, `commit`, `folder`. Fractions, not percent.
    """
    rows = pd.DataFrame([run.to_row() for run in self._runs])
    differing = [f"config.{key}" for key in self._differing_keys()]
    others = [
      name for name in rows if name not in ("run", "method") and not name.startswith("config.")
    ]
    return rows.reindex(columns=["run", "method", *differing, *others]).infer_objects()

  def _differing_keys(self) -> list[str]:
    """Keys of the config of which two runs that have them hold different values."""
    settings = [run.settings for run in self._runs]
    keys = dict.fromkeys(key for one in settings for key in one if key != "method")
    return [key for key in keys if len({_text(one[key]) for one in settings if key in one}) > 1]

  def differences(
    self,
    reference: int | str = 0,
    metric: str = "average_accuracy",
    *,
    allow_differences: bool = False,
  ) -> pd.DataFrame:
    """How the runs differ from one of them, seed by seed.

    Runs with the same seed start from the same weights and see the same stream, so that what a seed
    does to both falls out of the difference. The interval is `difference ± ci95`, by Student's t
    with n - 1 degrees of freedom over the n seeds that both runs have; one that holds 0 shows no
    difference. It does not correct for the number of runs that are compared.

    Args:
      reference: the run that the others are compared with.
      metric: see `Run.metric_names`.
      allow_differences: compare runs that differ in more than the method.

    Returns:
      The columns `run`, `reference`, `metric`, `seeds` (how many are shared), `difference` (mean),
      `std`, `ci95`, `low`, `high` and `per_seed` (the differences, ascending by seed). Fractions.

    Raises:
      CompareError: if runs differ in more than the method, or share no seed with the reference.
      ResultsError: if a run does not have the metric.
    """
    one = self[reference]
    check_comparable(self.results, "agem", allow_differences)
    rows = []
    for run in self._runs:
      if run is one:
        continue
      values = _paired(run, one, metric)
      summary = metrics.summarise(values)
      rows.append(
        {
          "run": run.name,
          "reference": one.name,
          "metric": metric,
          "seeds": len(values),
          "difference": summary.mean,
          "std": summary.std,
          "ci95": summary.ci95,
          "low": summary.mean - summary.ci95,
          "high": summary.mean + summary.ci95,
          "per_seed": summary.per_seed,
        }
      )
    return pd.DataFrame(rows, columns=_DIFFERENCE_COLUMNS)

  def compare(
    self, *, definition: str | None = None, allow_differences: bool = False
  ) -> pd.DataFrame:
    """Prints the table of `python -m tagjax.report.compare` and returns it as a frame of texts.

    `to_latex(index=False)` and `to_csv(index=False)` of the frame write it as it is printed;
    `metrics` has the numbers.

    Args:
      definition: of forgetting: "agem", "tag" or "diagonal"; that of the runs by default.
      allow_differences: compare runs that differ in more than the method.

    Raises:
      CompareError: if runs differ in more than the method, or in the definition of forgetting.
    """
    if not self._runs:
      raise CompareError("there are no runs to compare")
    definition, differences = check_comparable(self.results, definition, allow_differences)
    rows = comparison_rows(self.results, definition)
    print_rows(rows, f"mean ± std over seeds, {spread(self.results)}")
    for line in differences:
      print(f"note: {line}", file=sys.stderr)
    return pd.DataFrame(rows)

  def plot(self, *, definition: str | None = None) -> Figure:
    """See `tagjax.report.comparison_plots.plot_comparison`."""
    return report.comparison_plots.plot_comparison(self.results, definition=definition)

  def plot_final_accuracy(self) -> Figure:
    """See `tagjax.report.comparison_plots.plot_final_accuracy`."""
    return report.comparison_plots.plot_final_accuracy(self.results)

  def plot_plasticity_stability(self, *, definition: str | None = None) -> Figure:
    """See `tagjax.report.comparison_plots.plot_plasticity_stability`."""
    return report.comparison_plots.plot_plasticity_stability(self.results, definition=definition)

  def plot_learning_curves(self) -> Figure:
    """See `tagjax.report.curve_plots.plot_learning_curves`."""
    return report.curve_plots.plot_learning_curves(self.results)

  def plot_zero_shot(self) -> Figure:
    """See `tagjax.report.curve_plots.plot_zero_shot`."""
    return report.curve_plots.plot_zero_shot(self.results)

  def plot_costs(self) -> Figure:
    """See `tagjax.report.comparison_plots.plot_costs`."""
    return report.comparison_plots.plot_costs(self.results)

  def plot_differences(
    self,
    reference: int | str = 0,
    metric: str = "average_accuracy",
    *,
    allow_differences: bool = False,
  ) -> Figure:
    """`differences` as a plot; see `tagjax.report.comparison_plots.plot_differences`."""
    table = self.differences(reference, metric, allow_differences=allow_differences)
    if table.empty:
      raise CompareError("a difference needs at least two runs")
    rows = table.to_dict("records")
    return report.comparison_plots.plot_differences(
      rows, reference=self[reference].name, metric=metric
    )

  def __repr__(self) -> str:
    lines = [f"  {one!r}," for one in (*self._runs, *self.grids)]
    return "\n".join(["Runs([", *lines, "])"])

  def _repr_html_(self) -> str:
    if not self._runs:
      return html_table([], f"no runs, {len(self.grids)} grids")
    found = {definition_of(run.results) for run in self._runs}
    definition = found.pop() if len(found) == 1 else "agem"
    caption = f"{len(self)} runs; mean ± std over seeds, {spread(self.results)}"
    return html_table(comparison_rows(self.results, definition), caption)


def load_runs(*patterns: str | os.PathLike[str]) -> Runs:
  """Loads finished runs.

  A folder that is not a run itself is searched for runs, as deep as they lie. Folders without a
  finished run are left out and named in one line on stderr; grids go to `Runs.grids`.

  Args:
    *patterns: folders, or patterns of folders such as "runs/*" and "runs/**/tag"; files of results
      under other names, such as "docs/results/cifar10/*.json".

  Raises:
    ResultsError: if a pattern matches nothing, no finished run is found, or a file is broken.

  >>> load_runs("runs/there_is_none")
  Traceback (most recent call last):
  ...
  tagjax.storage.json_files.ResultsError: nothing is at runs/there_is_none: is the path right?
  """
  if not patterns:
    raise ResultsError('load_runs needs at least one folder or pattern, such as "runs/*"')
  finished: dict[Path, Path] = {}
  unfinished: dict[Path, Path] = {}
  for pattern in patterns:
    for path, is_finished in _find(os.path.expanduser(os.fspath(pattern))):
      (finished if is_finished else unfinished).setdefault(path.resolve(), path)
  named = _named(list(unfinished.values()))
  if not finished:
    raise ResultsError(
      f"no finished run in {', '.join(map(str, patterns))}"
      + (f" ({named}): start them again with the same command" if named else ": is that the place?")
    )
  if named:
    print(f"note: {named}", file=sys.stderr)
  loaded = [_load(path) for path in finished.values()]
  return Runs(
    [one for one in loaded if isinstance(one, Run)],
    grids=[one for one in loaded if isinstance(one, Grid)],
    unfinished=unfinished.values(),
  )


def _load(file: Path) -> Run | Grid:
  one = load(file)
  if one.folder is None and not one.config.get("method"):
    one.name = file.stem
  return one


def _named(folders: Sequence[Path]) -> str:
  """One line about the folders without a finished run; empty if there are none."""
  if not folders:
    return ""
  names = ", ".join(plain_text(str(folder)) for folder in folders[:_MOST_NAMED])
  names += ", ..." * (len(folders) > _MOST_NAMED)
  what = "folder holds" if len(folders) == 1 else "folders hold"
  return f"{len(folders)} {what} no finished run: {names}"


def _find(pattern: str) -> Iterator[tuple[Path, bool]]:
  """Results files (True) and folders of runs that have not ended (False)."""
  is_literal = os.path.exists(pattern)
  matches = [pattern] if is_literal else sorted(glob.glob(pattern, recursive=True))
  if not matches:
    what = "nothing matches" if glob.has_magic(pattern) else "nothing is at"
    raise ResultsError(f"{what} {pattern}: is the path right?")
  inside: set[Path] = set()  # folders of runs: what lies in them is theirs
  for match in map(Path, matches):
    if inside.isdisjoint(match.parents):
      if match.is_dir():
        yield from _search(match, inside)
      elif match.name == RESULTS or pattern.endswith(".json"):
        yield match, True


def _search(folder: Path, inside: set[Path]) -> Iterator[tuple[Path, bool]]:
  if (folder / RESULTS).exists():
    inside.add(folder)
    yield folder / RESULTS, True
  elif any((folder / name).exists() for name in (LOCK, CONFIG, LOG, CHECKPOINTS)):
    inside.add(folder)
    yield folder, False
  else:
    for entry in sorted(folder.iterdir()):
      if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
        yield from _search(entry, inside)


def _fits(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
  return all(key in settings and _is(settings[key], value) for key, value in wanted.items())


def _is(value: Any, wanted: Any | Callable[[Any], bool]) -> bool:
  if callable(wanted):
    return bool(wanted(value))
  return _text(value) == _text(wanted)  # (100, 100) and [100, 100] are the same in a config


def _text(value: Any) -> str:
  """A setting as text: equal values have equal texts, 1 and 1.0 too."""
  if isinstance(value, int) and not isinstance(value, bool):
    value = float(value)
  return json.dumps(value, sort_keys=True, default=str)


def _paired(run: Run, reference: Run, metric: str) -> np.ndarray:
  """`run - reference`, for each seed that both have."""
  values, others = (
    dict(zip(one.seeds, one.metric(metric), strict=True)) for one in (run, reference)
  )
  shared = sorted(values.keys() & others.keys())
  if not shared:
    raise CompareError(
      f"{run.name} (seeds {run.seeds}) and {reference.name} (seeds {reference.seeds}) share no "
      "seed: run them with the same config.seed"
    )
  return np.array([values[seed] - others[seed] for seed in shared])
