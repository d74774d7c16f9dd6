"""The form of results.json, which may come from anybody.

Tables and plots take it for granted. What does not have it is refused in one line when it is read.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tagjax.core.untrusted import plain_strings
from tagjax.metrics.matrix import DEFINITIONS
from tagjax.storage.json_files import ResultsError, read_json
from tagjax.storage.workdir import RESULTS

_LARGEST = 1e15
_LONGEST_NAME = 1000
_SUMMARY = ("mean", "std", "ci95")
_METRICS = ("average_accuracy", "forgetting", "learning_accuracy")


def read_results(path: str | os.PathLike[str]) -> tuple[Any, Path]:
  """What a results file holds, without what a terminal or a browser would obey.

  Args:
    path: the file, or the folder that it is in.

  Returns:
    The contents, and the file.

  Raises:
    ResultsError: if the file is missing or broken.
  """
  path = Path(path)
  file = path / RESULTS if path.is_dir() or path.suffix != ".json" else path
  try:
    return plain_strings(read_json(file)), file
  except RecursionError:
    raise ResultsError(f"{file} is nested too deeply: it is not a tagjax results file") from None


def is_grid(results: Any) -> bool:
  """Whether these are the results of a grid."""
  return isinstance(results, Mapping) and "points" in results


def check_run(results: Mapping[str, Any], num_seeds: int, num_tasks: int, where: str) -> None:
  """Checks all of a run's results but the accuracies.

  Args:
    results: the contents of results.json.
    num_seeds: of the accuracy matrices.
    num_tasks: of the accuracy matrices.
    where: what an error calls them.

  Raises:
    ResultsError: naming the first entry that is of another form.
  """
  check = _Checker(results, where)
  check.common()
  check.entry("task_names", _is_none_or(_list_of(_is_name, num_tasks)))
  check.entry("tensor_names", _is_none_or(_list_of(_is_name)))
  check.entry("seeds", lambda value: _is_whole(value) or _list_of(_is_whole, num_seeds)(value))
  check.entry("diverged_seeds", _list_of(_is_whole))
  check.entry("used", _is_none_or(_list_of(_is_name)))
  check.entry("task_relatedness", _is_none_or(_is_array((num_seeds, num_tasks, num_tasks))))
  check.entry("learning_curves", _is_curves((num_seeds, num_tasks)))
  check.entry("peak_accuracies", _is_array((num_seeds, num_tasks)))
  check.counts(num_seeds, num_tasks)
  check.growth(num_seeds, num_tasks)
  if results.get("tuning") is not None:
    check.entry("tuning", lambda value: isinstance(value, Mapping))
    check_grid(results["tuning"], f"tuning of {where}")
  for name in [*results]:
    if name in _METRICS or (isinstance(results[name], Mapping) and "per_seed" in results[name]):
      check.entry(name, _is_summary(num_seeds))


def check_grid(results: Mapping[str, Any], where: str) -> None:
  """Checks the results of a grid or search, see `check_run`."""
  check = _Checker(results, where)
  check.common()
  for key in ("points", "selected_on", "chosen", "at_edge"):
    check.required(key)
  check.entry("selected_on", _is_table({"seeds": _is_whole}))
  check.entry("at_edge", _list_of(_is_name))
  check.entry("points", _list_of(_is_table({"values": _is_settings, "diverged_seeds": _is_list})))
  keys = {tuple(point["values"]) for point in results["points"]}
  if len(keys) != 1:
    check.refuse("points")
  check.entry("chosen", _is_none_or(lambda value: _is_settings(value) and tuple(value) in keys))
  for point in results["points"]:
    if not _is_table(dict.fromkeys(_METRICS, _is_none_or(is_summary)))(point):
      check.refuse("points")
    if not _is_none_or(_is_whole)(point.get("pruned_after")):
      check.refuse("points")


class _Checker:
  """Names the entry that is of another form."""

  def __init__(self, results: Mapping[str, Any], where: str):
    self._results, self._where = results, where

  def common(self) -> None:
    """What runs and grids have in common."""
    names = dict.fromkeys(("method", "benchmark", "model"), _is_none_or(_is_name))
    config = {**names, "seed": _is_none_or(_is_whole)}
    self.entry("config", _is_none_or(lambda value: _is_settings(value) and _has(value, config)))
    area = _is_table({"beta": _is_whole})
    definitions = {
      "forgetting": lambda value: value in DEFINITIONS,
      "ddof": lambda value: _is_whole(value) and value < 10,
      "learning_curve_area": area,
      "continuum": _is_whole,
      "top_k": _is_whole,
    }
    self.entry("definitions", lambda value: isinstance(value, Mapping) and _has(value, definitions))
    self.entry("seconds", _is_none_or(is_numbers))
    self.entry("bytes", _is_none_or(is_numbers))
    self.entry("command", lambda value: isinstance(value, str))
    origin = {
      "commit": _is_none_or(_is_name),
      "packages": _is_none_or(_is_settings),
      "devices": _is_none_or(_is_settings),
      "python": _is_none_or(_is_name),
    }
    self.entry(
      "provenance", _is_none_or(lambda value: isinstance(value, Mapping) and _has(value, origin))
    )

  def counts(self, num_seeds: int, num_tasks: int) -> None:
    """What evaluations have counted besides the accuracy matrix."""
    by_time = (num_seeds, num_tasks)
    self.entry("test_sizes", _list_of(lambda value: _is_whole(value) and value > 0, num_tasks))
    self.entry("continuum", _is_continuum(by_time))
    self.entry("predicted_tasks", _is_array((*by_time, num_tasks)))
    if "predicted_tasks" in self._results:
      self.required("test_sizes")
    confusion = self._results.get("confusion_matrix")
    if confusion is not None:
      number = len(confusion[0]) if _list_of(_is_list)(confusion) and confusion else 0
      self.entry("confusion_matrix", _is_array((num_seeds, number, number)))
      classes = _list_of(lambda value: _is_whole(value) and value < number)
      self.entry("task_classes", _list_of(classes, num_tasks))

  def growth(self, num_seeds: int, num_tasks: int) -> None:
    """What the tasks need, and what the method tells of them."""
    by_time, by_task = _is_array((num_seeds, num_tasks)), _is_array((num_tasks,))
    known = {"parameters": by_time, "bytes": by_time, "step_flops": by_task}
    known |= {"evaluation_flops": by_task, "allocated_parameters": _is_whole}
    known |= {"allocated_bytes": _is_whole}
    self.entry(
      "growth",
      lambda value: (
        isinstance(value, Mapping)
        and (not value or {*known} - {"step_flops", "evaluation_flops"} <= value.keys() <= {*known})
        and _has(value, known)
      ),
    )
    self.entry("outcomes", _is_outcomes((num_seeds, num_tasks)))

  def entry(self, key: str, is_right: Callable[[Any], bool]) -> None:
    """Refuses the entry if it is there and not right."""
    if key in self._results and not is_right(self._results[key]):
      self.refuse(key)

  def required(self, key: str) -> None:
    """Refuses results without the entry."""
    if key not in self._results:
      raise ResultsError(
        f"{self._where} hold no {key!r}: they are not what tagjax writes; run it again"
      )

  def refuse(self, key: str) -> None:
    """Names the entry."""
    raise ResultsError(
      f"{key} in {self._where} is {self._results[key]!r:.60}, which is not what tagjax writes: "
      "restore a copy, or run it again"
    )


def _has(values: Mapping[str, Any], checks: Mapping[str, Callable[[Any], bool]]) -> bool:
  return all(check(values[key]) for key, check in checks.items() if key in values)


def _is_table(checks: Mapping[str, Callable[[Any], bool]]) -> Callable[[Any], bool]:
  """An object that has all of these keys."""
  return lambda value: (
    isinstance(value, Mapping) and checks.keys() <= value.keys() and _has(value, checks)
  )


def _is_none_or(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
  return lambda value: value is None or check(value)


def _list_of(check: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
  return lambda value: (
    _is_list(value) and length in (None, len(value)) and all(check(item) for item in value)
  )


def _is_list(value: Any) -> bool:
  return isinstance(value, list | tuple)


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and -_LARGEST < value < _LARGEST


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_name(value: Any) -> bool:
  return isinstance(value, str) and len(value) <= _LONGEST_NAME


def is_numbers(value: Any) -> bool:
  """Whether this is an object of numbers."""
  return isinstance(value, Mapping) and all(_is_number(item) for item in value.values())


def _is_settings(value: Any) -> bool:
  """Settings by their names, in sections or not; none is a number without end."""
  return isinstance(value, Mapping) and all(map(_is_setting, _leaves(value)))


def _is_setting(value: Any) -> bool:
  return not isinstance(value, int) or -_LARGEST < value < _LARGEST


def _leaves(value: Any) -> Iterable[Any]:
  inner = value.values() if isinstance(value, Mapping) else value if _is_list(value) else None
  if inner is None:
    yield value
  else:
    for item in inner:
      yield from _leaves(item)


def is_summary(value: Any) -> bool:
  """Whether this is a metric as results have it: mean, spread, and the values of the seeds."""
  return _is_summary()(value)


def _is_summary(num_seeds: int | None = None) -> Callable[[Any], bool]:
  number = _is_none_or(lambda value: _is_number(value) or value != value)  # NaN: in memory
  checks = {**dict.fromkeys(_SUMMARY, number), "per_seed": _values_of(number, num_seeds)}
  return _is_table(checks)


_BY_LENGTH = ("accuracy", "task_accuracy", "task_aware_accuracy", "top_k_accuracy")
_BY_TIME = ("plain_accuracy", "plain_task_aware_accuracy")


def _is_continuum(by_time: tuple[int, int]) -> Callable[[Any], bool]:
  """See `tagjax.report.continuum.Continuum`."""
  lengths = _list_of(lambda value: _is_whole(value) and value > 0)

  def check(value: Any) -> bool:
    if not _is_table({"lengths": lengths})(value) or not value["lengths"]:
      return False
    arrays = dict.fromkeys(_BY_LENGTH, _is_array((*by_time, len(value["lengths"]))))
    arrays |= dict.fromkeys(_BY_TIME, _is_array(by_time))
    has_all = {"accuracy", "plain_accuracy"} <= value.keys() <= {"lengths", *arrays}
    return has_all and _has(value, arrays)

  return check


def _is_curves(shape: tuple[int, int]) -> Callable[[Any], bool]:
  """Learning curves: of each seed and task as many points, each a fraction or None."""

  def check(value: Any) -> bool:
    try:
      curves = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
      return False
    is_right = np.isnan(curves) | ((curves >= 0) & (curves <= 1))
    return curves.ndim == 3 and curves.shape[:2] == shape and curves.size > 0 and is_right.all()

  return check


def _values_of(number: Callable[[Any], bool], length: int | None) -> Callable[[Any], bool]:
  """A list, or in memory an array."""
  lists = _list_of(number, length)
  return lambda value: lists(value.tolist() if isinstance(value, np.ndarray) else value)


def _is_array(shape: tuple[int, ...]) -> Callable[[Any], bool]:
  def check(value: Any) -> bool:
    try:
      return np.asarray(value, np.float64).shape == shape
    except (TypeError, ValueError, OverflowError):
      return False

  return check


def _is_outcomes(by_time: tuple[int, int]) -> Callable[[Any], bool]:
  """By name an array after each task, or None; those of a name have the same shape."""

  def check(value: Any) -> bool:
    if not isinstance(value, Mapping) or not all(map(_is_name, value)):
      return False
    return all(_has_one_shape(rows, by_time) for rows in value.values())

  return check


def _has_one_shape(rows: Any, by_time: tuple[int, int]) -> bool:
  if not _list_of(_list_of(lambda one: True, by_time[1]), by_time[0])(rows):
    return False
  try:
    told = [np.asarray(one, np.float64) for seed in rows for one in seed if one is not None]
  except (TypeError, ValueError, OverflowError):
    return False
  return len({one.shape for one in told}) <= 1
