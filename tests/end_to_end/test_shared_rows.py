"""TAG's rows shared out over the devices of a batch: the same run, and less on each device."""

import json

import jax
import numpy as np
import pytest

from tagjax.core.errors import ConfigError
from tagjax.training import experiment
from tagjax.training.placement import choose_layout
from tagjax.training.trainer import Driver
from tagjax.transforms import ScaleByTagState

OPTIONS = {"method": "er+tag", "learning_rate": 0.01, "data_parallel": 2, "chunk_steps": 2}


class Stopped(Exception):  # noqa: N818
  """Takes the place of a crash."""


def outcome(workdir):
  """What the run measured, without the clock."""
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  for line in lines:
    line.pop("seconds", None)
  return lines


def tag_state(state):
  is_tag = lambda node: isinstance(node, ScaleByTagState)  # noqa: E731
  return next(leaf for leaf in jax.tree.leaves(state, is_leaf=is_tag) if is_tag(leaf))


def test_the_run_is_that_of_whole_rows_up_to_rounding(tiny, tmp_path):
  figures = {}
  for shared in (False, True):
    config = tiny(**OPTIONS, tag__shard_rows=shared)
    results = experiment.run(config, tmp_path / str(shared), progress=False)
    losses = [line["loss"] for line in outcome(tmp_path / str(shared)) if "loss" in line]
    figures[shared] = losses, np.asarray(results["accuracy_matrix"], float)
  np.testing.assert_allclose(figures[True][0], figures[False][0], rtol=2e-3)
  np.testing.assert_allclose(figures[True][1], figures[False][1], atol=0.03)


def test_a_checkpoint_holds_whole_rows_and_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch):
  config = tiny(**OPTIONS, seeds=2, tag__shard_rows=True, tag__accumulator_dtype="bfloat16")
  experiment.run(config, tmp_path / "whole", progress=False)
  perform = Driver.perform

  def stopping(self, action, log, line):
    if action.kind == "train" and action.task == 1 and action.start > 0:
      raise Stopped
    perform(self, action, log, line)

  with monkeypatch.context() as patch:
    patch.setattr(Driver, "perform", stopping)
    with pytest.raises(Stopped):
      experiment.run(config, tmp_path / "stopped", progress=False)
  assert any((tmp_path / "stopped" / "checkpoints").iterdir())
  experiment.run(config, tmp_path / "stopped", progress=False)
  assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_each_device_holds_its_share_and_the_forecast_knows(tiny):
  whole, shared = (Driver(tiny(**OPTIONS, tag__shard_rows=each)) for each in (False, True))
  ratio = shared.forecast.method["tag"] / whole.forecast.method["tag"]
  assert 0.5 <= ratio < 0.53
  programs = shared.programs
  state = programs.init(jax.random.key(0)[None])
  gathered = programs.to_host(state)
  rows = tag_state(gathered.method).first_moment
  like = tag_state(whole.programs.init(jax.random.key(0)[None]).method).first_moment
  assert jax.tree.map(np.shape, rows) == jax.tree.map(lambda leaf: leaf.shape[1:], like)
  back = programs.to_devices(gathered)
  assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, state)


def test_several_processes_are_refused(tiny, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(ConfigError, match=r"config\.tag\.shard_rows=True works in one process"):
    choose_layout(tiny(**OPTIONS, tag__shard_rows=True), 1)
  assert not choose_layout(tiny(**OPTIONS), 1).share_columns
