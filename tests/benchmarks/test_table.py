"""The table: every row can be made, and says what its maker needs."""

import inspect

import pytest

from tagjax.benchmarks import load_benchmark
from tagjax.benchmarks.table import BENCHMARKS, OPTIONS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_options_of_a_row_are_those_of_its_maker(name):
  benchmark = BENCHMARKS[name]
  parameters = set(inspect.signature(benchmark.make).parameters)
  common = {"name", "num_tasks", "scenario", "selection"}
  own = parameters - common - {"dataset", "parts"}
  assert own == set(benchmark.takes)
  assert {*benchmark.takes, *benchmark.load_takes} <= {*OPTIONS, "input"}
  assert set(benchmark.defaults) <= {*benchmark.takes, *benchmark.load_takes}


def test_options_and_defaults_are_those_of_load_benchmark():
  parameters = inspect.signature(load_benchmark).parameters
  for option, default in OPTIONS.items():
    assert parameters[option].default == default


@pytest.mark.parametrize("name", [n for n, b in BENCHMARKS.items() if n != "image_folders"])
def test_options_without_use_are_refused(fake_load, name):
  others = {
    "classes": 3,
    "class_order": "seeded",
    "classes_per_task": 1,
    "image_folders": "/here",
    "image_size": 7,
    "image_resize": "crop",
    "test_fraction": 0.5,
  }
  benchmark = BENCHMARKS[name]
  for option, value in others.items():
    if option not in {*benchmark.takes, *benchmark.load_takes}:
      with pytest.raises(ValueError, match=f"^{option} is {value!r}, but {name} has no use"):
        load_benchmark(name, **{option: value})
  assert fake_load == [], "data were loaded for nothing"
