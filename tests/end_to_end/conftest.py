"""Tiny runs, and data that may be there."""

import os
import pathlib

import pytest

from tagjax.config.defaults import base_config
from tagjax.config.run import make_parts
from tagjax.config.validate import validate
from tagjax.training.assemble import assemble
from tagjax.training.trainer import Trial

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny():
  """A config of two small tasks of permuted digits, with changes by key (dots as `__`)."""

  def tiny(**changes):
    config = base_config()
    config.update_from_flattened_dict(
      {
        "num_tasks": 2,
        "train_examples_per_task": 45,
        "test_examples_per_task": 40,
        "mlp.hidden": (8,),
        "method": "sgd",
        "learning_rate": 0.1,
        "plots": False,
      }
      | {key.replace("__", "."): value for key, value in changes.items()}
    )
    return config

  return tiny


@pytest.fixture(scope="session")
def assembled():
  """What a config is made into, before anything is compiled: `(stream, trainer, forecast)`."""

  def assembled(config):
    stream, model, method, options, pretrained = make_parts(validate(config))
    trials = [Trial(options.seed + number) for number in range(options.seeds)]
    made = assemble(stream, model, method, trials, options, pretrained=pretrained)
    return stream, *made

  return assembled


@pytest.fixture(scope="session")
def real_data():
  """The folder with CIFAR-10, or skips."""
  for folder in (os.environ.get("TAGJAX_TESTS_REAL_DATA"), ROOT.parent / "shared/data/tfds"):
    if folder and (pathlib.Path(folder) / "cifar10").is_dir():
      return str(folder)
  pytest.skip("no CIFAR-10 in $TFDS_DATA_DIR or ../shared/data/tfds")
