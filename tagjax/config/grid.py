"""Grids of settings: the points that `config.sweep` spans, and which of them share programs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tagjax.config.defaults import base_config
from tagjax.config.registry import TRACEABLE, method_names
from tagjax.core.errors import ConfigError, nearest

Point = dict[str, Any]
"""A value for each key of the grid."""

_NOT_SWEPT = frozenset(
  {
    "benchmark",
    "scenario",
    "num_tasks",
    "first_task",
    "end_task",
    "classes",
    "class_order",
    "classes_per_task",
    "task_order",
    "blurry_fraction",
    "train_fraction",
    "label_noise",
    "image_folders",
    "image_size",
    "image_resize",
    "test_fraction",
    "data_seed",
    "data_dir",
    "input",
    "validation_fraction",
    "evaluate_on",
    "train_examples_per_task",
    "test_examples_per_task",
    "data_parallel",
    "seeds",
    "seed_axis",
    "seeds_together",
    "seed",
    "eval_batch_size",
    "evaluate_future_tasks",
    "learning_curve_batches",
    "forgetting",
    "checkpoint_every",
    "keep_checkpoints",
    "chunk_steps",
    "plots",
    "sweep",
    "sweep_tasks",
  }
)

_MEMORIES = ("er", "er_ace", "der", "derpp", "agem", "gem")
_USED_BY = {
  "tag": ("tag", "tag_rmsprop", "tag_adagrad", "tag_adam"),
  "er": ("er", "er_ace"),
  "der": ("der", "derpp"),
  "der.label_strength": ("derpp",),
  "memory": _MEMORIES,
  **{name: (name,) for name in ("stable_sgd", "ewc", "mas", "mas_local", "si", "rwalk", "lwf")},
  "gem": ("gem",),
}
"""Section or key of the config -> the methods that read it; what is not here, all do."""


def flat_items(config: ConfigDict) -> dict[str, Any]:
  """The config's values by keys with dots; the grid itself is one value."""
  flat = {}
  for name, value in config.items():
    nested = isinstance(value, ConfigDict)
    flat |= {f"{name}.{inner}": value[inner] for inner in value} if nested else {name: value}
  return flat


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


def grid_points(sweep: Mapping[str, Sequence[Any]]) -> list[Point]:
  """All points of the grid; the last key varies fastest.

  >>> grid_points({"learning_rate": [0.1, 0.2], "tag.b": [1.0]})
  [{'learning_rate': 0.1, 'tag.b': 1.0}, {'learning_rate': 0.2, 'tag.b': 1.0}]
  """
  return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]


def groups_of(points: Sequence[Point]) -> list[Group]:
  """Puts the points that differ only in inputs of the programs together.

  >>> groups = groups_of(grid_points({"epochs": [1, 2], "learning_rate": [0.1, 0.2]}))
  >>> [(group.settings, group.points) for group in groups]
  [({'epochs': 1}, [0, 1]), ({'epochs': 2}, [2, 3])]
  """
  groups: list[Group] = []
  for place, point in enumerate(points):
    settings = {key: value for key, value in point.items() if key not in TRACEABLE}
    group = next((group for group in groups if group.settings == settings), None)
    if group is None:
      group = Group(settings, [], [])
      groups.append(group)
    group.points.append(place)
    group.hyper.append({key: value for key, value in point.items() if key in TRACEABLE})
  return groups


def check_sweep(config: ConfigDict) -> None:
  """Refuses a grid of unknown or unused keys, or without values.

  Raises:
    ConfigError: one line that names the key.
  """
  sweep = config.sweep
  if not isinstance(sweep, Mapping):
    raise ConfigError(
      f"config.sweep={sweep!r}: must name keys and their values, such as "
      "{'learning_rate': [0.1, 0.01], 'tag.b': [3, 5]}"
    )
  known = set(flat_items(config)) - _NOT_SWEPT
  for key, values in sweep.items():
    if key not in known:
      raise ConfigError(f"config.sweep: no grid over {key!r}{nearest(key, known)}")
    if not isinstance(values, list | tuple) or not values:
      raise ConfigError(f"config.sweep: {key}={values!r} must be a list of values, at least one")
    if any(value in values[:place] for place, value in enumerate(values)):
      raise ConfigError(f"config.sweep: {key}={list(values)} names a value twice")
  methods = sweep.get("method", [config.method])
  for key in sweep:
    _check_used(key, methods)
  if config.validation_fraction == 0:
    raise ConfigError(
      "config.sweep chooses on validation examples: set config.validation_fraction, say to 0.1"
    )


def _check_used(key: str, methods: Sequence[str]) -> None:
  users = _USED_BY.get(key) or _USED_BY.get(key.split(".")[0])
  used = users is None or any(name in users for method in methods for name in method_names(method))
  if not used:
    raise ConfigError(
      f"config.sweep: {key} changes nothing in config.method={methods[0]!r}; it is read by "
      f"{', '.join(users)}"
    )


def at_point(config: ConfigDict, point: Point) -> ConfigDict:
  """A copy of `config`, without its grid, that holds the values of `point`.

  Raises:
    ConfigError: if a value is of the wrong type.
  """
  result = base_config()  # ConfigDict's own copies refuse the grid, whose keys have dots
  values = {key: value for key, value in flat_items(config).items() if not key.startswith("sweep")}
  for key, value in (values | point).items():
    try:
      result.update_from_flattened_dict({key: tuple(value) if isinstance(value, list) else value})
    except (TypeError, ValueError) as error:
      raise ConfigError(f"config.sweep: {key}={value!r} is of the wrong type: {error}") from error
  return result
