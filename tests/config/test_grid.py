"""The points of a grid, and grids that are refused."""

import pytest

from tagjax.config.defaults import base_config
from tagjax.config.grid import Group, at_point, flat_items, grid_points, groups_of
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError


def grid(sweep, **changes):
  config = base_config()
  config.validation_fraction = 0.1
  config.update_from_flattened_dict(changes)
  config.sweep = sweep
  return config


def test_only_what_is_an_input_of_the_programs_shares_them():
  points = grid_points({"epochs": [1, 2], "learning_rate": [0.1, 0.2], "dropout": [0.0]})
  assert groups_of(points) == [
    Group({"epochs": 1, "dropout": 0.0}, [0, 1], [{"learning_rate": r} for r in (0.1, 0.2)]),
    Group({"epochs": 2, "dropout": 0.0}, [2, 3], [{"learning_rate": r} for r in (0.1, 0.2)]),
  ]


def test_a_point_is_the_config_with_its_values():
  config = grid({"tag.b": [3, 4], "mlp.hidden": [[8], [9, 9]]}, seeds=3)
  point = at_point(config, {"tag.b": 4, "mlp.hidden": [9, 9]})
  before, after = flat_items(config), flat_items(point)
  changed = {key for key in before if before[key] != after[key]}
  assert changed == {"tag.b", "mlp.hidden", "sweep"}
  assert (point.tag.b, point.mlp.hidden, point.sweep) == (4.0, (9, 9), None)
  validate(point)


def test_good_grids_pass():
  validate(grid({"learning_rate": [0.1, 1], "tag.b": (3, 5), "method": ["tag", "er+tag"]}))
  validate(grid({"der.label_strength": [0.1], "memory.capacity": [1, 2]}, method="derpp+tag"))
  validate(grid({"learning_rate": [0.1]}, sweep_tasks=3))


@pytest.mark.parametrize(
  ("sweep", "message"),
  [
    ({"learning_rte": [1.0]}, "no grid over 'learning_rte' .did you mean learning_rate"),
    ({"method.tag.b": [1.0]}, "no grid over 'method.tag.b'"),
    ({"seeds": [1, 2]}, "no grid over 'seeds'"),
    ({"sweep": [{}]}, "no grid over 'sweep'"),
    ({"blurry_fraction": [0.1]}, "no grid over 'blurry_fraction'"),
    ({"input": ["stream"]}, "no grid over 'input'"),
    ({"learning_rate": []}, r"learning_rate=\[\] must be a list of values, at least one"),
    ({"learning_rate": 0.1}, "learning_rate=0.1 must be a list"),
    ({"learning_rate": [0.1, 0.2, 0.1]}, r"\[0.1, 0.2, 0.1\] names a value twice"),
    ({"learning_rate": [0.1, -1.0]}, "config.learning_rate=-1.0: must be positive"),
    ({"learning_rate": ["fast"]}, "learning_rate='fast' is of the wrong type"),
    ({"ewc.strength": [1.0]}, "ewc.strength changes nothing in config.method='tag'"),
    ({"memory.capacity": [1]}, "memory.capacity changes nothing .* read by er, er_ace, der"),
    ([0.1, 0.2], "must name keys and their values"),
  ],
)
def test_impossible_grids_are_refused(sweep, message):
  with pytest.raises(ConfigError, match=message):
    validate(grid(sweep))


def test_a_grid_needs_validation_examples_and_its_tasks_a_grid():
  with pytest.raises(ConfigError, match=r"set config\.validation_fraction"):
    validate(grid({"learning_rate": [0.1]}, validation_fraction=0.0))
  with pytest.raises(ConfigError, match=r"sweep_tasks=3: there is no config\.sweep"):
    validate(grid(None, sweep_tasks=3))
