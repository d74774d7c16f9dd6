"""Every name of every config file gives a config that can be run."""

import importlib
from pathlib import Path

import pytest

from configs import cifar, cifar10, cifar_grid, digits, digits_grid
from configs.common import choose
from tagjax.config import base_config, validate
from tagjax.errors import ConfigError

NAMED = [(module, name) for module in (cifar, cifar10, digits) for name in module.TUNED]
FILES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize(
  ("module", "name"), NAMED, ids=[f"{module.__name__}:{name}" for module, name in NAMED]
)
def test_every_tuned_name_is_valid_and_set(module, name):
  config = module.get_config(f"{name},runlocal")
  validate(config)
  for key, value in module.TUNED[name].items():
    place = config
    for part in key.split("."):
      place = place[part]
    assert place == value
  assert config.train_examples_per_task == 300


@pytest.mark.parametrize("name", [n for n in FILES if n not in ("__init__", "common")])
def test_every_file_has_a_default(name):
  config = importlib.import_module(f"configs.{name}").get_config()
  validate(config)
  assert config.method.startswith("tag")


def test_unknown_names_and_options():
  tuned = {"tag": {}}
  with pytest.raises(ConfigError, match=r"'tga' .did you mean tag"):
    choose(base_config(), tuned, "tga")
  with pytest.raises(ConfigError, match="unknown option 'runlocl'"):
    choose(base_config(), tuned, "tag,runlocl")


@pytest.mark.parametrize(
  ("method", "keys"),
  [
    ("sgd", ["learning_rate"]),
    ("ewc+tag", ["learning_rate", "ewc.strength", "tag.b"]),
    ("stable_sgd", ["learning_rate", "dropout", "stable_sgd.decay"]),
    ("multitask", ["learning_rate"]),
  ],
)
def test_grids_hold_the_authors_values_and_what_they_chose(method, keys):
  config = cifar_grid.get_config(method)
  validate(config)
  assert list(config.sweep) == keys
  for key, value in cifar.TUNED[method].items():
    if key in keys:
      assert value in config.sweep[key]
  assert digits.TUNED["tag"]["learning_rate"] in digits_grid.get_config().sweep["learning_rate"]
