"""Seeds side by side, in turn and on devices of their own: the same runs."""

import contextlib
import json

import jax
import numpy as np
import pytest

from tagjax.config.run import run_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.training import memory_estimate
from tagjax.training.train_stream import Cursor

OPTIONS = {
  "method": "er+tag",
  "learning_rate": 0.01,
  "memory__capacity": 2,
  "num_tasks": 3,
  "chunk_steps": 3,
  "evaluate_future_tasks": True,
  "learning_curve_batches": 2,
  "continuum": 4,
  "continuum_lengths": (1, 10),
  "top_k": 3,
  "confusion_matrix": True,
}
TO_THE_BIT = ("accuracy_matrix", "task_relatedness", "confusion_matrix")


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


@pytest.fixture(scope="module")
def in_turn(execute):
  return execute(seeds=4, seed_axis="loop")


def test_side_by_side_is_one_after_another_up_to_rounding(execute, in_turn):
  results, lines = execute(seeds=4, seed_axis="vmap")
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
  for key in TO_THE_BIT:
    assert results[key][0] == in_turn[0][key][2]
  for key in ("accuracy", "plain_accuracy", "top_k_accuracy"):
    assert results["continuum"][key][0] == in_turn[0]["continuum"][key][2]


def test_in_turn_is_one_after_another_bit_for_bit(execute, in_turn, monkeypatch):
  """One of the two devices has two seeds, the other one; all is as if each seed were alone."""
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  results, lines = execute(seeds=3)
  for number, seed in enumerate(lines):
    assert lines[seed] == in_turn[1][seed]
    for key in TO_THE_BIT:
      assert results[key][number] == in_turn[0][key][number]


@pytest.mark.product
def test_a_run_goes_on_with_other_devices(tiny, tmp_path, monkeypatch, in_turn):
  """From one core to two, and to a memory for one seed: the checkpoint knows of neither."""
  config = tiny(**OPTIONS, seeds=3, checkpoint_every=2)
  perform = Cursor.perform

  def stopping(self, *arguments):
    if self.position == 10:
      raise InterruptedError
    perform(self, *arguments)

  for devices in (1, 2):
    monkeypatch.setattr(jax, "device_count", lambda number=devices: number)
    monkeypatch.setattr(Cursor, "perform", stopping if devices == 1 else perform)
    room = {1: memory_estimate.Room.lanes, 2: lambda room, devices: 1}[devices]
    monkeypatch.setattr(memory_estimate.Room, "lanes", room)
    with contextlib.suppress(InterruptedError):
      results = run_config(config, tmp_path, progress=False).results
  for key in TO_THE_BIT:
    assert results[key] == in_turn[0][key][:3]


def test_impossible_axes_are_refused(tiny):
  with pytest.raises(ConfigError, match=r"config\.seed_axis='vamp' is unknown .did you mean vmap"):
    validate(tiny(seed_axis="vamp"))
  with pytest.raises(ConfigError, match="leaves no devices to"):
    validate(tiny(seed_axis="devices", data_parallel=2))


def test_groups_of_seeds_are_all_seeds_up_to_rounding(execute, in_turn):
  results, lines = execute(seeds=4, seeds_together=3, seed_axis="vmap")
  assert list(lines) == [1, 2, 3, 4]
  np.testing.assert_allclose(
    np.asarray(results["accuracy_matrix"], float),
    np.asarray(in_turn[0]["accuracy_matrix"], float),
    atol=0.03,
  )
