"""Seeds side by side, in turn and on devices of their own: the same runs."""

import json

import numpy as np
import pytest

from tagjax.config.build import run_options
from tagjax.config.run import run_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.engine.programs import Layout
from tagjax.training import placement

OPTIONS = {
  "method": "er+tag",
  "learning_rate": 0.01,
  "memory__capacity": 2,
  "num_tasks": 3,
  "chunk_steps": 3,
  "evaluate_future_tasks": True,
  "learning_curve_batches": 2,
}


def read_log(workdir) -> list[dict]:
  """The lines of the log; no clock is in them."""
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def execute(tiny, tmp_path_factory):
  """Runs a config; its results, and the lines of its log by seed."""

  def execute(**changes):
    workdir = tmp_path_factory.mktemp("run")
    results = run_config(tiny(**OPTIONS, **changes), workdir, progress=False).results
    lines = read_log(workdir)
    by_seed = {line["seed"]: [] for line in lines}
    for line in lines:
      by_seed[line.pop("seed")].append(line)
    return results, by_seed

  return execute


def choose_layout(config, num_trials, most=None, **options):
  return placement.choose_layout(run_options(validate(config)), num_trials, most, **options)


@pytest.fixture(scope="module")
def in_turn(execute):
  return execute(seeds=4, seed_axis="loop")


@pytest.mark.parametrize("axis", ["vmap", "devices"])
def test_side_by_side_is_in_turn_up_to_rounding(execute, in_turn, axis):
  results, lines = execute(seeds=4, seed_axis=axis)
  assert list(lines) == list(in_turn[1]) == [1, 2, 3, 4]
  for seed, expected in in_turn[1].items():
    assert [line.keys() for line in lines[seed]] == [line.keys() for line in expected]
    for line, other in zip(lines[seed], expected, strict=True):
      if "loss" in line:
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-4)
  for key in ("accuracy_matrix", "task_relatedness"):
    np.testing.assert_allclose(
      np.asarray(results[key], float), np.asarray(in_turn[0][key], float), rtol=0.05, atol=0.03
    )


def test_in_turn_is_each_seed_alone_bit_for_bit(execute, in_turn):
  results, lines = execute(seeds=1, seed=3)
  assert lines[3] == in_turn[1][3]
  assert results["accuracy_matrix"][0] == in_turn[0]["accuracy_matrix"][2]
  assert results["task_relatedness"][0] == in_turn[0]["task_relatedness"][2]


def test_auto_trains_convolutions_in_turn_on_a_cpu(tiny):
  assert choose_layout(tiny(), 5) == Layout(5)
  assert choose_layout(tiny(), 5, convolutional=True) == Layout(1)
  assert choose_layout(tiny(data_parallel=2), 5) == Layout(5, 2)


def test_devices_must_share_the_seeds_evenly(tiny):
  assert choose_layout(tiny(seed_axis="devices"), 8) == Layout(8, 4, share_lanes=True)
  with pytest.raises(ConfigError, match=r"^seeds=6 cannot be shared out to 4 devices"):
    choose_layout(tiny(seeds=6, seed_axis="devices"), 6)
  with pytest.raises(ConfigError, match=r"seeds=3 at 2 points of the grid cannot be"):
    choose_layout(tiny(seeds=3, seed_axis="devices"), 6)


def test_impossible_axes_are_refused(tiny):
  with pytest.raises(ConfigError, match=r"config\.seed_axis='vamp' is unknown .did you mean vmap"):
    validate(tiny(seed_axis="vamp"))
  with pytest.raises(ConfigError, match="leaves no devices to"):
    validate(tiny(seed_axis="devices", data_parallel=2))


def test_groups_are_as_large_as_allowed_and_all_alike(tiny):
  assert choose_layout(tiny(), 12, 4) == Layout(4)
  assert choose_layout(tiny(), 12, 5) == Layout(4)
  assert choose_layout(tiny(), 7, 5) == Layout(1)
  assert choose_layout(tiny(), 12, 50) == Layout(12)
  assert choose_layout(tiny(seed_axis="devices"), 24, 5) == Layout(4, 4, True)
  assert choose_layout(tiny(seed_axis="devices"), 24, 9) == Layout(8, 4, True)


def test_groups_of_seeds_are_all_seeds_up_to_rounding(execute, in_turn):
  results, lines = execute(seeds=4, seeds_together=2)
  assert list(lines) == [1, 2, 3, 4]
  np.testing.assert_allclose(
    np.asarray(results["accuracy_matrix"], float),
    np.asarray(in_turn[0]["accuracy_matrix"], float),
    atol=0.03,
  )
