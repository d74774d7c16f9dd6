"""A finished run as an object: arrays, pandas frames, plots."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagjax import metrics, report
from tagjax.report import form
from tagjax.report.comparison import commit_of, flat_config
from tagjax.report.continuum import Continuum, array_of, continuum_of
from tagjax.report.grid import Grid
from tagjax.report.growth import Growth, growth_of, outcomes_of
from tagjax.report.metrics_log import diagnostics, monitored, read_log, training_curve
from tagjax.report.results import definition_of
from tagjax.report.tables import html_table, mean_and_std, metric_rows, seeds_text
from tagjax.storage.json_files import ResultsError, read_json, write_atomic, write_json_atomic
from tagjax.storage.workdir import LOG, RESULTS

if TYPE_CHECKING:
  import pandas as pd
  from matplotlib.figure import Figure

Results = Mapping[str, Any]


class Run:
  """A finished run: what results.json holds, as arrays, frames and plots.

  A notebook shows it as the table of its metrics. Accuracies are fractions; S counts the seeds, T
  the tasks. Tasks and times count from 0 in arrays and frames (as `task_id` does), from 1 in plots.

  Attributes:
    results: the contents of results.json.
    folder: the run's folder; None for a run in memory.
    name: what tells it from other runs: the method, if no other name was given.

  Args:
    results: the contents of results.json; only `accuracy_matrix` must be there.
    folder: the run's folder, which holds metrics.jsonl.
    name: see above.

  Raises:
    ResultsError: if `results` are not those of a run.

  >>> run = Run({"accuracy_matrix": [[[0.9, None], [0.7, 0.8]]], "config": {"method": "sgd"}})
  >>> run.name, run.average_accuracy, run.seeds
  ('sgd', array([0.75]), [0])
  >>> print(run.to_frame()[["task", "after_task", "accuracy"]].to_csv(index=False))
  task,after_task,accuracy
  0,0,0.9
  0,1,0.7
  1,1,0.8
  <BLANKLINE>
  """

  def __init__(
    self,
    results: Results,
    folder: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
  ):
    check_results(results, "the results")
    self.results = results
    self.folder = None if folder is None else Path(folder)
    self.name = name or _method(results) or (self.folder.name if self.folder else "run")

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> Run:
    """Reads a run from its folder, or from a results file.

    Raises:
      ResultsError: if there is no results.json, or it is not that of a finished run.
    """
    loaded = load(path)
    if isinstance(loaded, Grid):
      raise ResultsError(
        f"{path} holds a grid (config.sweep): run what it chose, or read it with Grid.load"
      )
    return loaded

  def renamed(self, name: str) -> Run:
    """The same run under another name."""
    other = copy.copy(self)
    other.name = name
    return other

  # What the run is.

  @property
  def config(self) -> dict[str, Any]:
    """The config, with a dictionary for each section; empty if the results hold none."""
    return dict(self.results.get("config") or {})

  @property
  def settings(self) -> dict[str, Any]:
    """The config by keys with dots, such as `tag.b`, as on the command line."""
    return flat_config(self.results)

  @property
  def method(self) -> str:
    """The method, as in the config; the run's name if it is not known."""
    return _method(self.results) or self.name

  @property
  def seeds(self) -> list[int]:
    """The seeds, in the order of the first axis of the arrays."""
    first, count = int(self.config.get("seed") or 0), len(self.accuracy)
    seeds = self.results.get("seeds")
    return list(seeds) if isinstance(seeds, list) else list(range(first, first + count))

  @property
  def diverged_seeds(self) -> list[int]:
    """The seeds whose loss stopped being finite; nothing else of the run counts them.

    `results["runs"]` tells where. A run of `tagjax.fit` has none: there it is an error.
    """
    return list(self.results.get("diverged_seeds", ()))

  @property
  def num_tasks(self) -> int:
    """The number of tasks, T."""
    return self.accuracy.shape[-1]

  @property
  def task_names(self) -> list[str]:
    """The names of the tasks; `task 1`, `task 2`, ... if the results hold none."""
    names = self.results.get("task_names")
    return list(names) if names else [f"task {task + 1}" for task in range(self.num_tasks)]

  @property
  def tuning(self) -> Grid | None:
    """The grid that chose its values on tasks of its own; None for a run without such tasks."""
    results = self.results.get("tuning")
    if results is None:
      return None
    return Grid(results, None if self.folder is None else self.folder / "tuning", name=self.name)

  # Arrays.

  @property
  def accuracy(self) -> np.ndarray:
    """The accuracy matrices, float64 `[S, T, T]`: after task t (row), on task u (column).

    NaN where not evaluated.
    """
    return metrics.as_accuracy_matrix(self.results["accuracy_matrix"])

  @property
  def average_accuracy(self) -> np.ndarray:
    """Mean accuracy over all tasks at the end, `[S]`; see `tagjax.metrics.average_accuracy`."""
    return metrics.average_accuracy(self.accuracy)

  @property
  def forgetting(self) -> np.ndarray:
    """Forgetting at the end, `[S]`, in the run's definition; see `tagjax.metrics.forgetting`."""
    return metrics.forgetting(self.accuracy, definition_of(self.results))

  @property
  def learning_accuracy(self) -> np.ndarray:
    """Mean accuracy of each task right after learning it, `[S]`."""
    return metrics.learning_accuracy(self.accuracy)

  @property
  def backward_transfer(self) -> np.ndarray:
    """Mean gain of the earlier tasks since they were learned, `[S]`."""
    return metrics.backward_transfer(self.accuracy)

  @property
  def metric_names(self) -> list[str]:
    """The metrics that the run has; `metric` gives the values of each."""
    known = ["average_accuracy", "forgetting", "learning_accuracy", "backward_transfer"]
    stored = [
      name
      for name, value in self.results.items()
      if isinstance(value, Mapping) and "per_seed" in value
    ]
    return list(dict.fromkeys([*known, *stored]))

  def metric(self, name: str) -> np.ndarray:
    """The values of a metric, float64 `[S]`; NaN where undefined.

    Args:
      name: one of `metric_names`, such as "forward_transfer".

    Raises:
      ResultsError: if the run has no such metric.
    """
    stored = self.results.get(name)
    if isinstance(stored, Mapping) and "per_seed" in stored:
      return np.asarray(stored["per_seed"], np.float64)
    if name not in self.metric_names:
      raise ResultsError(f"{self.name} has no metric {name!r}: has {', '.join(self.metric_names)}")
    return getattr(self, name)

  @property
  def task_relatedness(self) -> np.ndarray | None:
    """TAG's weights, float64 `[S, T, T]`: while training task t, of the earlier task u.

    Means over parameter tensors and the last epoch of each task; None for other methods.
    """
    weights = self.results.get("task_relatedness")
    return None if weights is None else np.asarray(weights, np.float64)

  @property
  def learning_curves(self) -> np.ndarray | None:
    """Accuracy on each task after 0, 1, ... of its first minibatches, float64 `[S, T, b]`.

    `learning_curves[..., 0]` is zero-shot accuracy. NaN after a task's last minibatch; None unless
    the run was asked for it, by `learning_curve_batches`.
    """
    return array_of(self.results, "learning_curves")

  @property
  def continuum(self) -> Continuum | None:
    """Accuracies where test images arrive in runs of one task, arrays `[S, T, P]`.

    None unless the run was asked to measure them, by `continuum`, `continuum_lengths`, `top_k` or
    `confusion_matrix`.
    """
    return continuum_of(self.results)

  @property
  def predicted_tasks(self) -> np.ndarray | None:
    """How often classes of each task were predicted, float64 `[S, T, T]`: after task t, of task u.

    Counts of test images of the tasks so far; None where not measured.
    """
    return array_of(self.results, "predicted_tasks")

  @property
  def recency_bias(self) -> np.ndarray | None:
    """See `tagjax.metrics.recency_bias`, `[S, T]`; None where not measured."""
    predicted = self.predicted_tasks
    return (
      None if predicted is None else metrics.recency_bias(predicted, self.results["test_sizes"])
    )

  @property
  def confusion_matrix(self) -> np.ndarray | None:
    """Test images of each class (row) by predicted class, float64 `[S, K, K]`, of the final model.

    None unless the run was asked for it.
    """
    return array_of(self.results, "confusion_matrix")

  @property
  def growth(self) -> Growth | None:
    """Parameters, bytes and operations by number of tasks, arrays `[S, T]` and `[T]`.

    None in results of older versions.
    """
    return growth_of(self.results)

  @property
  def outcomes(self) -> dict[str, np.ndarray]:
    """What the method tells of each task that has ended, by name, float64 `[S, T, ...]`.

    Such as LASEM's `shared_layers`, 1 where the task shares a layer.
    """
    return outcomes_of(self.results)

  # Frames.

  def to_frame(self) -> pd.DataFrame:
    """All accuracies in long form, one row for each seed, task and time.

    Returns:
      The columns `run` (its name), `method`, `seed`, `task`, `task_name`, `after_task` and
      `accuracy` (a fraction). What was not evaluated has no row. `to_csv` and `to_latex` write it.
    """
    accuracy = self.accuracy
    seed, after, task = np.nonzero(~np.isnan(accuracy))
    order = np.lexsort((after, task, seed))
    seed, after, task = seed[order], after[order], task[order]
    import pandas as pd  # a third of a second, which a run has no use for

    return pd.DataFrame(
      {
        "run": self.name,
        "method": self.method,
        "seed": np.asarray(self.seeds)[seed],
        "task": task,
        "task_name": np.asarray(self.task_names, dtype=object)[task],
        "after_task": after,
        "accuracy": accuracy[seed, after, task],
      }
    )

  def metrics(self) -> pd.DataFrame:
    """One row a metric: `mean`, `std`, `ci95` (half the 95 % interval), a column a seed."""
    ddof = self.results.get("definitions", {}).get("ddof", 1)
    rows = {}
    for name in self.metric_names:
      summary = metrics.summarise(self.metric(name), ddof)
      seeds = {f"seed {seed}": value for seed, value in zip(self.seeds, summary.per_seed)}  # noqa: B905
      rows[name] = {"mean": summary.mean, "std": summary.std, "ci95": summary.ci95, **seeds}
    import pandas as pd  # a third of a second, which a run has no use for

    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")

  def to_row(self) -> pd.Series:
    """The run as one row: every metric, where it came from, every key of its config.

    Returns:
      The entries `run`, `method`; of each metric the mean under its own name, and `_std`, `_ci95`;
      `seeds` and `diverged_seeds` (how many), `seconds`, `commit`, `folder`; and `config.KEY` for
      each key.
    """
    entries: dict[str, Any] = {"run": self.name, "method": self.method}
    for name, values in self.metrics()[["mean", "std", "ci95"]].iterrows():
      entries |= {name + end: values[key] for end, key in _SUMMARY.items()}
    entries |= {
      "seeds": len(self.accuracy),
      "diverged_seeds": len(self.diverged_seeds),
      "seconds": (self.results.get("seconds") or {}).get("total", np.nan),
      "commit": commit_of(self.results),
      "folder": str(self.folder) if self.folder else "",
    }
    entries |= {f"config.{key}": value for key, value in self.settings.items()}
    import pandas as pd  # a third of a second, which a run has no use for

    return pd.Series(entries, dtype=object)

  def log(self) -> pd.DataFrame:
    """metrics.jsonl, one row a line; what a line does not hold is missing.

    Raises:
      ResultsError: if the run has no folder, or its folder no log.
    """
    import pandas as pd  # a third of a second, which a run has no use for

    return pd.DataFrame(self._log_rows())

  def training_curve(self) -> pd.DataFrame:
    """Loss and accuracy while training; see `tagjax.report.metrics_log.training_curve`."""
    return training_curve(self._log_rows())

  def diagnostics(self, name: str = "task_relatedness") -> pd.DataFrame:
    """A diagnostic of the method by parameter tensor, in long form.

    See `tagjax.report.metrics_log.diagnostics`. Tensors have the names that the results give as
    `tensor_names`, else numbers.
    """
    return diagnostics(self._log_rows(), name, self.results.get("tensor_names"))

  def monitored(self, name: str = "posterior") -> pd.DataFrame:
    """What the method tells from step to step; see `tagjax.report.metrics_log.monitored`."""
    return monitored(self._log_rows(), name)

  def _log_rows(self) -> list[dict[str, Any]]:
    if self.folder is None:
      raise ResultsError(
        f"the run {self.name} is in memory and has no {LOG}: train it with a workdir"
      )
    return read_log(self.folder / LOG)

  # Plots.

  def plot_accuracy_matrix(self) -> Figure:
    """See `tagjax.report.plots.plot_accuracy_matrix`."""
    return report.plots.plot_accuracy_matrix(self.results)

  def plot_accuracy_over_time(self) -> Figure:
    """See `tagjax.report.plots.plot_accuracy_over_time`."""
    return report.plots.plot_accuracy_over_time(self.results)

  def plot_forgetting(self) -> Figure:
    """See `tagjax.report.plots.plot_forgetting`."""
    return report.plots.plot_forgetting(self.results)

  def plot_task_relatedness(self) -> Figure:
    """See `tagjax.report.plots.plot_task_relatedness`."""
    return report.plots.plot_task_relatedness(self.results)

  def plot_learning_curve(self) -> Figure:
    """See `tagjax.report.curve_plots.plot_learning_curves`."""
    return report.curve_plots.plot_learning_curves({self.name: self.results})

  def plot_zero_shot(self) -> Figure:
    """See `tagjax.report.curve_plots.plot_zero_shot`."""
    return report.curve_plots.plot_zero_shot({self.name: self.results})

  def plot_continuum(self) -> Figure:
    """See `tagjax.report.class_plots.plot_continuum`."""
    return report.class_plots.plot_continuum(self.results)

  def plot_confusion_matrix(self) -> Figure:
    """See `tagjax.report.class_plots.plot_confusion_matrix`."""
    return report.class_plots.plot_confusion_matrix(self.results)

  def plot_recency_bias(self) -> Figure:
    """See `tagjax.report.class_plots.plot_recency_bias`."""
    return report.class_plots.plot_recency_bias(self.results)

  def plot_growth(self) -> Figure:
    """See `tagjax.report.growth_plots.plot_growth`."""
    return report.growth_plots.plot_growth(self.results)

  def plot_monitored(self, name: str = "posterior") -> Figure:
    """See `tagjax.report.growth_plots.plot_monitored`."""
    return report.growth_plots.plot_monitored(self.results, self.monitored(name), name)

  def plot_loss(self) -> Figure:
    """See `tagjax.report.log_plots.plot_loss`."""
    return report.log_plots.plot_loss(self.results, self.training_curve())

  def plot_layer_weights(self) -> Figure:
    """See `tagjax.report.log_plots.plot_layer_weights`."""
    return report.log_plots.plot_layer_weights(self.results, self.diagnostics())

  def save(self, path: str | os.PathLike[str]) -> Path:
    """Writes results.json, the plots and, if there is one, the log into a folder.

    Args:
      path: the folder, created if missing.

    Returns:
      The folder. `Run.load` reads it.

    Raises:
      ResultsError: if the folder holds the results of another run.
    """
    target = Path(path)
    there = target / RESULTS
    if there.exists() and read_json(there) != dict(self.results):
      raise ResultsError(f"{target} holds the results of another run: choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    report.plots.save_all(self.results, target)
    log = self.folder / LOG if self.folder else None
    if log and log.exists():
      if log.resolve() != (target / LOG).resolve():
        write_atomic(target / LOG, [log.read_bytes()])
      self.plot_loss().savefig(target / "loss.png")
      if not self.diagnostics().empty:
        self.plot_layer_weights().savefig(target / "layer_weights.png")
      if not self.monitored().empty:
        self.plot_monitored().savefig(target / "posterior.png")
    write_json_atomic(there, dict(self.results))  # last: its presence says that all is there
    return target

  def __repr__(self) -> str:
    tasks = self.num_tasks
    figures = ", ".join(
      f"{title} {mean_and_std(*metrics.summarise(values)[:2])} %"
      for title, values in (
        ("average accuracy", self.average_accuracy),
        ("forgetting", self.forgetting),
      )
    )
    text = seeds_text(self.results)
    count = f"{text} seed{'s' if text != '1' else ''}, {tasks} task{'s' if tasks > 1 else ''}"
    where = f", {self.folder}" if self.folder else ""
    return f"Run({self.name}: {figures}; {count}{where})"

  def _repr_html_(self) -> str:
    return html_table(metric_rows(_with_metrics(self)), repr(self))


_SUMMARY = {"": "mean", "_std": "std", "_ci95": "ci95"}


def load(path: str | os.PathLike[str]) -> Run | Grid:
  """Reads a finished run or grid from its folder, or from a results file of any name.

  Raises:
    ResultsError: if the file is missing, broken, or not one of tagjax.
  """
  results, file = form.read_results(path)
  folder = file.parent if file.name == RESULTS else None
  if form.is_grid(results):
    return Grid(results, folder)
  for key in ("accuracy_matrix", "definitions", "config", "seconds"):
    if not isinstance(results, dict) or key not in results:
      raise ResultsError(f"{file} holds no {key!r}: it is not a tagjax results file; run it again")
  check_results(results, f"the results in {file}")
  return Run(results, folder)


def check_results(results: Any, where: str) -> None:
  """Checks that these are the results of a finished run.

  Args:
    results: the contents of results.json.
    where: what an error calls them.

  Raises:
    ResultsError: if they are not.
  """
  if form.is_grid(results):
    raise ResultsError(
      f"{where} are those of a grid (config.sweep): use Grid, or run what it chose"
    )
  if not isinstance(results, Mapping) or "accuracy_matrix" not in results:
    raise ResultsError(f"{where} hold no 'accuracy_matrix': they are not those of a run")
  try:
    matrices = metrics.as_accuracy_matrix(results["accuracy_matrix"])
  except ValueError as error:
    raise ResultsError(f"accuracy_matrix in {where} cannot be used: {error}") from error
  if matrices.ndim != 3 or np.isnan(matrices[:, -1]).any() or not len(matrices):
    raise ResultsError(f"accuracy_matrix in {where} lacks seeds or tasks: run it again")
  form.check_run(results, len(matrices), matrices.shape[-1], where)


def _with_metrics(run: Run) -> Results:
  """The results with a summary of every metric, for those that hold the matrices only."""
  ddof = run.results.get("definitions", {}).get("ddof", 1)
  computed = {
    name: metrics.summarise(run.metric(name), ddof)._asdict() for name in run.metric_names
  }
  return {**run.results, **computed}


def _method(results: Results) -> str:
  return str((results.get("config") or {}).get("method") or "")
