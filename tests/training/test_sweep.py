"""Grids of objects: what is handed on to be trained."""

import optax
import pytest

from tagjax.benchmarks import load_benchmark
from tagjax.core.errors import ConfigError
from tagjax.models import MLP
from tagjax.training import sweep as library
from tagjax.training.sweep import sweep


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
