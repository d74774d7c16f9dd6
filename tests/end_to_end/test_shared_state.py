"""TAG's rows shared out over the devices of a batch: the same run, and less on each device."""

import jax
import numpy as np
import pytest

from tagjax.config.run import run_config
from tagjax.core.errors import ConfigError
from tagjax.training import placement
from tagjax.training.options import RunOptions
from tagjax.training.train_stream import Cursor
from tagjax.transforms import ScaleByTagState

from .test_seeds import read_log

OPTIONS = {"method": "er+tag", "learning_rate": 0.01, "data_parallel": 2, "chunk_steps": 2}


class Stopped(Exception):  # noqa: N818
  """Takes the place of a crash."""


def tag_state(state):
  def is_tag(node):
    return isinstance(node, ScaleByTagState)

  return next(leaf for leaf in jax.tree.leaves(state, is_leaf=is_tag) if is_tag(leaf))


def test_the_run_is_that_of_whole_rows_up_to_rounding(tiny, tmp_path):
  figures = {}
  for shared in (False, True):
    workdir = tmp_path / str(shared)
    results = run_config(tiny(**OPTIONS, shard_state=shared), workdir, progress=False).results
    losses = [line["loss"] for line in read_log(workdir) if "loss" in line]
    figures[shared] = losses, np.asarray(results["accuracy_matrix"], float)
  np.testing.assert_allclose(figures[True][0], figures[False][0], rtol=2e-3)
  np.testing.assert_allclose(figures[True][1], figures[False][1], atol=0.03)


@pytest.mark.product
def test_a_checkpoint_holds_whole_rows_and_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch):
  config = tiny(**OPTIONS, seeds=2, shard_state=True, tag__accumulator_dtype="bfloat16")
  run_config(config, tmp_path / "whole", progress=False)
  perform = Cursor.perform

  def stopping(self, action, trials, *arguments):
    if action.__name__ == "train":
      place, span, _ = arguments
      if place.task == 1 and span.start > 0:
        raise Stopped
    perform(self, action, trials, *arguments)

  with monkeypatch.context() as patch:
    patch.setattr(Cursor, "perform", stopping)
    with pytest.raises(Stopped):
      run_config(config, tmp_path / "stopped", progress=False)
  assert any((tmp_path / "stopped" / "checkpoints").iterdir())
  run_config(config, tmp_path / "stopped", progress=False)
  assert read_log(tmp_path / "stopped") == read_log(tmp_path / "whole")


def test_each_device_holds_its_share_and_the_forecast_knows(tiny, assembled):
  (_, whole, whole_forecast), (_, shared, shared_forecast) = (
    assembled(tiny(**OPTIONS, shard_state=each)) for each in (False, True)
  )
  assert 0.5 <= shared_forecast.method["tag"] / whole_forecast.method["tag"] < 0.53
  programs = shared.programs
  state = programs.init(jax.random.key(0)[None])
  gathered = programs.to_host(state)
  rows = tag_state(gathered.method).first_moment
  like = tag_state(whole.programs.init(jax.random.key(0)[None]).method).first_moment
  assert jax.tree.map(np.shape, rows) == jax.tree.map(lambda leaf: leaf.shape[1:], like)
  back = programs.to_devices(gathered)
  assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, state)


def test_several_processes_are_refused(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  options = RunOptions(data_parallel=2)
  assert not placement.choose_layout(options, 1).share_columns
  with pytest.raises(ConfigError, match=r"shard_state=True works in one process"):
    placement.choose_layout(RunOptions(data_parallel=2, shard_state=True), 1)
