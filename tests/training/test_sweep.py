"""Grids of objects: points, groups that share programs, and the choice on validation data."""

import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import load_benchmark
from tagjax.core.errors import ConfigError
from tagjax.models import MLP
from tagjax.training import sweep as library
from tagjax.training.record import RunRecord
from tagjax.training.sweep import Group, check_grid, choose, grid_points, groups_of, sweep

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


@pytest.fixture
def stream():
  return load_benchmark(
    "split_digits", num_tasks=2, train_examples_per_task=20, validation_fraction=0.25
  )


@pytest.fixture
def given_to_train(monkeypatch):
  """What `sweep` hands on; nothing is trained."""
  calls = []

  def train_grid(parts_of, points, traced, options, identity, workdir, **others):
    calls.append((parts_of, points, traced, options, identity))
    return "grid"

  monkeypatch.setattr(library, "train_grid", train_grid)
  return calls


def test_floats_are_inputs_and_options_change_the_run(stream, given_to_train):
  seen = []

  def method_of(h):
    seen.append(dict(h))
    return optax.sgd(h["lr"])

  grid = {"lr": [0.1, 0.2], "depth": [1, 2], "epochs": [1, 3]}
  assert sweep(stream, MLP(10), method_of, grid=grid, seeds=2) == "grid"
  ((parts_of, points, traced, options, identity),) = given_to_train
  assert (len(points), traced, options.seeds, options.evaluate_on) == (8, {"lr"}, 2, "validation")
  assert identity["sweep"] == grid
  parts = parts_of({"depth": 2, "epochs": 3})
  assert (parts.options.epochs, parts.options.seeds) == (3, 2)
  parts.method({"lr": 0.1})
  assert seen == [{"depth": 2, "lr": 0.1}]
  assert parts.method.__module__ == __name__  # by which its code counts, see `fingerprint`


def test_a_grid_is_chosen_on_validation_examples(given_to_train):
  stream = load_benchmark("split_digits", num_tasks=2, train_examples_per_task=20)
  with pytest.raises(ConfigError, match="no validation examples: give a validation_fraction"):
    sweep(stream, MLP(10), lambda h: optax.sgd(h["lr"]), grid={"lr": [0.1]})


def test_a_row_is_there_when_all_seeds_have_ended():
  options = library.RunOptions(seeds=2)
  record = RunRecord.empty(num_trials=4, num_tasks=2)
  assert library.row_of({"lr": 1.0}, record, 1, options) is None
  record.accuracy[2:] = [[[1.0, None], [0.5, 1.0]]] * 2
  found = library.row_of({"lr": 1.0}, record, 1, options)
  assert found["average_accuracy"]["mean"] == 0.75
  assert found["diverged_seeds"] == []
  record.diverged[3] = {"task": 0, "step": 1}
  found = library.row_of({"lr": 1.0}, record, 1, options)
  assert (found["average_accuracy"], found["diverged_seeds"]) == (None, [2])
