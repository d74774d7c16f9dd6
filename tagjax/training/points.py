"""The points of a grid: counted, made, put into groups, and the best of them chosen."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tagjax.core.errors import ConfigError
from tagjax.training.options import RunOptions

_MOST_POINTS = 10_000

Point = dict[str, Any]
"""A value for each key of the grid."""


class Group(NamedTuple):
  """Points that the same compiled programs can train side by side.

  Attributes:
    settings: values that are constants of the programs, the same for all of these points.
    points: their places in the grid.
    hyper: for each of them the values that are inputs of the programs.
  """

  settings: Point
  points: list[int]
  hyper: list[Point]


def with_fixed(
  method_of: Callable[[Mapping[str, Any]], Any], fixed: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Any]:
  """`method_of` at a point: a function of those values that are not `fixed` there.

  >>> with_fixed(dict, {"width": 3})({"rate": 0.1})
  {'width': 3, 'rate': 0.1}
  """

  def method(hyper: Mapping[str, Any]) -> Any:
    return method_of({**fixed, **hyper})

  method.__module__ = method_of.__module__  # whose code a checkpoint is of, see `fingerprint`
  return method


def split_grid(grid: Mapping[str, Sequence[Any]]) -> tuple[set[str], set[str]]:
  """The keys of a grid of `sweep` that change the run, and those that are inputs of its programs.

  >>> split_grid({"epochs": [1, 2], "rate": [0.1, 0.2], "width": [3]})
  ({'epochs'}, {'rate'})
  """
  of_run = {key for key in grid if key in RunOptions.__dataclass_fields__}
  traced = {
    key
    for key, values in grid.items()
    if key not in of_run and all(isinstance(value, float) for value in values)
  }
  return of_run, traced


def check_grid(grid: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
  """Refuses a grid without keys, without values, or with a value twice.

  Raises:
    ConfigError: one line that names the key.
  """
  if not isinstance(grid, Mapping) or not grid:
    raise ConfigError(f"grid={grid!r}: must name keys and their values, such as {{'lr': [0.1]}}")
  for key, values in grid.items():
    if not isinstance(values, list | tuple) or not values:
      raise ConfigError(f"grid: {key}={values!r} must be a list of values, at least one")
    if any(value in values[:place] for place, value in enumerate(values)):
      raise ConfigError(f"grid: {key}={list(values)} names a value twice")
  return grid


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
  """All points of the grid; the last key varies fastest.

  Raises:
    ConfigError: see `check_size`.

  >>> grid_points({"learning_rate": [0.1, 0.2], "tag.b": [1.0]})
  [{'learning_rate': 0.1, 'tag.b': 1.0}, {'learning_rate': 0.2, 'tag.b': 1.0}]
  """
  check_size(grid)
  return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def check_size(grid: Mapping[str, Sequence[Any]]) -> None:
  """Counts the points before they are made.

  Raises:
    ConfigError: if there are more than 10,000.
  """
  if (count := math.prod(map(len, grid.values()))) > _MOST_POINTS:
    raise ConfigError(
      f"the grid has {count} points, must have at most {_MOST_POINTS}: a search takes a sample"
    )


def groups_of(points: Sequence[Point], traced: Collection[str]) -> list[Group]:
  """Puts the points that differ only in inputs of the programs together.

  >>> points = grid_points({"epochs": [1, 2], "learning_rate": [0.1, 0.2]})
  >>> [(group.settings, group.points) for group in groups_of(points, {"learning_rate"})]
  [({'epochs': 1}, [0, 1]), ({'epochs': 2}, [2, 3])]
  """
  groups: list[Group] = []
  for place, point in enumerate(points):
    settings = {key: value for key, value in point.items() if key not in traced}
    group = next((group for group in groups if group.settings == settings), None)
    if group is None:
      group = Group(settings, [], [])
      groups.append(group)
    group.points.append(place)
    group.hyper.append({key: value for key, value in point.items() if key in traced})
  return groups


def choose(grid: Mapping[str, Sequence[Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
  """The point of the highest mean average accuracy, the first of equals.

  Returns:
    `chosen` and `at_edge`, see `train_grid`.

  >>> rows = [{"values": {"epochs": n}, "average_accuracy": {"mean": n / 10}} for n in (1, 2)]
  >>> choose({"epochs": [1, 2]}, rows)
  {'chosen': {'epochs': 2}, 'at_edge': ['epochs']}
  """
  ended = [row for row in rows if row["average_accuracy"] is not None]
  if not ended:
    return {"chosen": None, "at_edge": []}
  best = max(ended, key=lambda row: row["average_accuracy"]["mean"])["values"]
  numeric = {
    key: values
    for key, values in grid.items()
    if len(values) > 1 and all(isinstance(value, int | float) for value in values)
  }
  edges = [key for key, values in numeric.items() if best[key] in (min(values), max(values))]
  return {"chosen": best, "at_edge": edges}
