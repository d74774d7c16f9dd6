"""Points of a grid: all of them, groups that share programs, and the choice of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.core.errors import ConfigError
from tagjax.training.points import Group, check_grid, choose, grid_points, groups_of

values = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
grids = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), values, min_size=1, max_size=4)


@given(grids)
def test_points_are_all_combinations_once(grid):
  points = grid_points(grid)
  assert len({tuple(point.items()) for point in points}) == len(points)
  assert all(list(point) == list(grid) for point in points)
  for key, own in grid.items():
    assert len(points) % len(own) == 0
    assert {point[key] for point in points} == set(own)


@given(grids, st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_groups_hold_every_point_once_and_share_what_is_constant(grid, traced):
  points = grid_points(grid)
  groups = groups_of(points, traced)
  assert sorted(place for group in groups for place in group.points) == list(range(len(points)))
  for group in groups:
    for place, hyper in zip(group.points, group.hyper, strict=True):
      assert points[place] == {key: (group.settings | hyper)[key] for key in grid}
      assert set(hyper) == traced & set(grid)
  constants = [group.settings for group in groups]
  assert all(one not in constants[:place] for place, one in enumerate(constants))


def test_only_what_is_an_input_of_the_programs_shares_them():
  points = grid_points({"epochs": [1, 2], "learning_rate": [0.1, 0.2], "mlp.dropout": [0.0]})
  assert groups_of(points, {"learning_rate"}) == [
    Group({"epochs": 1, "mlp.dropout": 0.0}, [0, 1], [{"learning_rate": r} for r in (0.1, 0.2)]),
    Group({"epochs": 2, "mlp.dropout": 0.0}, [2, 3], [{"learning_rate": r} for r in (0.1, 0.2)]),
  ]


def row(mean, **point):
  return {"values": point, "average_accuracy": None if mean is None else {"mean": mean}}


def test_the_best_is_chosen_and_an_edge_is_told():
  grid = {"lr": [0.1, 0.01, 0.001], "name": ["x", "y"]}
  rows = [row(0.5, lr=0.1, name="x"), row(0.9, lr=0.01, name="x"), row(0.9, lr=0.001, name="y")]
  assert choose(grid, rows) == {"chosen": {"lr": 0.01, "name": "x"}, "at_edge": []}
  assert choose(grid, rows[::2]) == {"chosen": {"lr": 0.001, "name": "y"}, "at_edge": ["lr"]}


def test_a_point_that_diverged_is_never_chosen():
  assert choose({"lr": [1.0, 2.0]}, [row(None, lr=1.0), row(0.1, lr=2.0)])["chosen"] == {"lr": 2.0}
  assert choose({"lr": [1.0]}, [row(None, lr=1.0)]) == {"chosen": None, "at_edge": []}


def test_one_value_is_at_no_edge():
  assert choose({"lr": [1.0]}, [row(0.5, lr=1.0)])["at_edge"] == []


@pytest.mark.parametrize(
  ("grid", "message"),
  [
    ({}, r"^grid=\{\}: must name keys and their values"),
    ([0.1], r"^grid=\[0.1\]: must name keys and their values, such as"),
    ({"lr": []}, r"^grid: lr=\[\] must be a list of values, at least one"),
    ({"lr": 0.1}, "^grid: lr=0.1 must be a list of values"),
    ({"lr": [0.1, 0.1]}, r"^grid: lr=\[0.1, 0.1\] names a value twice"),
  ],
)
def test_grids_that_are_none(grid, message):
  with pytest.raises(ConfigError, match=message):
    check_grid(grid)
