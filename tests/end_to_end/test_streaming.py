"""A run whose images are read while it trains ends like one that keeps them in memory."""

import json

import numpy as np
import pytest

from tagjax.benchmarks import lazy
from tagjax.config.run import run_config
from tagjax.core.errors import ConfigError
from tagjax.input_pipeline import data_source
from tagjax.training.train_stream import Cursor

from .test_resume import outcome

TINY = {
  "benchmark": "split_digits",
  "num_tasks": 2,
  "train_examples_per_task": 64,
  "test_examples_per_task": 45,
  "mlp.hidden": (16,),
  "eval_batch_size": 16,
  "learning_rate": 0.02,
  "epochs": 4,
  "chunk_steps": 3,
  "plots": False,
}
SEARCHED = {
  "model": "hps",
  "hps__sharing": "searched",
  "convolutions__channels": (4,),
  "convolutions__kernels": (3,),
  "convolutions__pools": (2,),
  "convolutions__hidden": (),
}
WINDOW = 3 * 10 * 64  # bytes of three batches of digits


@pytest.fixture
def small(tiny):
  """A config of two tasks of split digits; keys with dots as `__`."""

  def small(**changes):
    return tiny(**{key.replace(".", "__"): value for key, value in TINY.items()} | changes)

  return small


@pytest.fixture
def execute(small, tmp_path, monkeypatch):
  """Runs a config with the given input; returns what does not depend on when it ran."""
  monkeypatch.setattr(data_source, "WINDOW_BYTES", WINDOW)

  def execute(input, **changes):
    results, log = run_and_read(small(input=input, **changes), tmp_path / input)
    del results["config"]["input"]
    return results, log

  return execute


def run_and_read(config, workdir):
  run_config(config, workdir, progress=False)
  text, log = outcome(workdir)
  return json.loads(text), log


@pytest.mark.parametrize(
  "changes",
  [
    {"method": "ewc+er+tag", "ewc__examples": 25, "seeds": 2, "seed_axis": "loop"},
    {"method": "mas+agem", "learning_rate": 0.3, "mas__examples": None, "mas__strength": 0.01},
    {
      "method": "sgd",
      "learning_rate": 0.5,
      "protocol": "joint",
      "scenario": "class",
      "continuum": 5,
      "continuum_lengths": (2,),
    },
    {"method": "si+adam", "drop_last": True, "learning_curve_batches": 2},
    pytest.param(
      {"method": "er+sgd", "learning_rate": 0.3, "data_parallel": 2, "batch_size": 8},
      marks=pytest.mark.product,
    ),
    {
      "method": "tag",
      "benchmark": "permuted_digits",
      "validation_fraction": 0.2,
      "evaluate_on": "validation",
      "epochs": (2, 4),
      "select_epoch": "best",
    },
    *(
      pytest.param({"method": method, "learning_rate": 0.3, **SEARCHED}, marks=pytest.mark.product)
      for method in ("lasem+sgd", "darts+sgd")
    ),
    pytest.param(
      {"method": "den+sgd", "learning_rate": 0.3, "model": "expandable_mlp"},
      marks=pytest.mark.product,
    ),
    pytest.param({"method": "packnet+sgd", "learning_rate": 0.3}, marks=pytest.mark.product),
    pytest.param(
      {"method": "hat+sgd", "learning_rate": 0.5, "model": "attention_mlp"},
      marks=pytest.mark.product,
    ),
  ],
  ids=lambda changes: changes["method"],
)
def test_stream_and_memory_give_the_same_bits(execute, changes):
  input = "files" if changes["method"] in ("er+sgd", "tag") else "stream"
  streamed, streamed_log = execute(input, **changes)
  kept, kept_log = execute("memory", **changes)
  # A pass also counts what gathers the images, out of arrays of other sizes.
  operations = [one["growth"].pop("evaluation_flops") for one in (streamed, kept)]
  np.testing.assert_allclose(*operations, rtol=0.02)
  assert streamed == kept
  assert streamed_log == kept_log
  losses = [line["loss"] for line in map(json.loads, kept_log.splitlines()) if "loss" in line]
  assert min(losses) < 0.8 * losses[0]  # equal, and not for having learned nothing


def test_only_windows_are_on_the_device(small, assembled, monkeypatch):
  monkeypatch.setattr(data_source, "WINDOW_BYTES", WINDOW)
  stream, _, forecast = assembled(small(input="stream"))
  assert lazy.is_lazy(stream[0].train.image)
  assert forecast.examples < 2 * (WINDOW + 64 * 30)
  _, _, forecast = assembled(small(input="memory"))
  assert forecast.examples > 5 * WINDOW


def test_goes_on_in_mid_epoch(small, tmp_path, monkeypatch):
  monkeypatch.setattr(data_source, "WINDOW_BYTES", WINDOW)
  config = small(input="stream", checkpoint_every=3)
  whole = run_and_read(config, tmp_path / "whole")

  class StoppedError(Exception):
    pass

  original, calls = Cursor.perform, []

  def stops(self, action, trials, *arguments):
    calls.append((action.__name__, *arguments))
    if len(calls) == 4:  # begin, three chunks: in the middle of the first epoch
      raise StoppedError
    original(self, action, trials, *arguments)

  with monkeypatch.context() as patch:
    patch.setattr(Cursor, "perform", stops)
    with pytest.raises(StoppedError):
      run_config(config, tmp_path / "again", progress=False)
  name, place, span, _ = calls[-1]
  assert (name, place.epoch) == ("train", 0)
  assert span.start > 0
  assert run_and_read(config, tmp_path / "again") == whole


def test_seeds_side_by_side_are_refused(small, assembled, tmp_path):
  with pytest.raises(ConfigError, match=r"config.seed_axis='vmap'.*input='memory'"):
    run_config(small(input="stream", seeds=2, seed_axis="vmap"), tmp_path, progress=False)
  _, trainer, _ = assembled(small(input="stream", seeds=2))
  assert trainer.programs.layout.num_lanes == 1
