"""Every name of every config file gives a config that can be run on data of the real sizes."""

import importlib
import inspect
import re
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

from configs import agem_cub, cifar, cifar_grid, digits, digits_grid, object_sequence, tiny_imagenet
from configs.common import choose, compositions
from tagjax import benchmarks, datasets
from tagjax.benchmarks.table import BENCHMARKS
from tagjax.config import build, early
from tagjax.config.defaults import base_config, flat_items
from tagjax.config.settings import read, unused
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.datasets import catalog
from tagjax.engine.model import checked_model
from tagjax.training.assemble import training_sizes
from tagjax.training.trainer import num_steps

ROOT = Path(__file__).parents[1]
FILES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
MODULES = [importlib.import_module(f"configs.{name}") for name in FILES]
TABLES = [module for module in MODULES if hasattr(module, "TUNED")]
OWN_CLASSES = {"cars": 196, "aircraft": 100, "actions": 10, "letters": 62}
"""Data sets of `object_sequence` that come from the user's folders."""
DESCRIBED = {"glyphs", "cub200", "awa2"}
"""Data sets with attributes of their classes."""
SHRUNK = {
  *("end_task", "num_tasks", "classes", "epochs"),
  *("train_examples_per_task", "test_examples_per_task", "batch_size", "validation_fraction"),
  *("seeds", "tuning", "sweep"),
}
"""Keys that `,runlocal` may change, besides the size of the memory."""
MOST_LOCAL_STEPS = 600  # the 20 tasks of split CIFAR-100, of 300 examples each


def completed(config):
  """With what only the user can give, and of a grid one point: the others have the same keys."""
  if config.sweep:
    config.sweep = {key: values[:1] for key, values in config.sweep.items()}
  if "image_folders" in BENCHMARKS[config.benchmark].load_takes:
    config.image_folders = "photographs"
  return config


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_every_tuned_name_is_valid_and_each_value_set_and_used(module):
  for name, values in module.TUNED.items():
    config = module.get_config(name)
    assert unused(read(config), values) == [], name
    settings = validate(completed(config))
    assert {key: settings[key] for key in values} == values, name


HELPERS = ("__init__", "class_incremental", "common", "layers")
"""Files that others take their values from."""


@pytest.mark.parametrize("name", [name for name in FILES if name not in HELPERS])
def test_every_file_has_a_default(name):
  config = completed(importlib.import_module(f"configs.{name}").get_config())
  validate(config)
  kind = name.split("_")[0]
  assert config.method.startswith(kind if kind in ("itaml", "agem", "lasem") else "tag")


def test_every_downloaded_benchmark_has_a_file():
  there = {module.get_config().benchmark for module in TABLES}
  assert set(benchmarks.names()) - there == {"rotated_digits", "split_digits"}


def _class_names(name, num_classes):
  if name == "omniglot_by_drawer":
    return tuple(f"alphabet {label * 50 // num_classes:02}/{label}" for label in range(num_classes))
  if name == "office_home":
    domains = ("Art", "Clipart", "Product", "RealWorld")
    return tuple(f"{domain}/thing {thing:02}" for domain in domains for thing in range(65))
  return ()


def _fake(name, shape, num_classes, sizes):
  """A data set of the real size whose images take no memory: they are all the same byte."""

  def examples(size):
    label = np.arange(size, dtype=np.int32) % num_classes
    return datasets.Examples(np.broadcast_to(np.uint8(0), (size, *shape)), label)

  names = _class_names(name, num_classes)
  attributes = np.ones((num_classes, 3), np.float32) if name in DESCRIBED else None
  parts = map(examples, sizes)
  return datasets.Dataset(name, "1.0.0", *parts, num_classes, 255, names, attributes)


def _fake_known(name, **options):
  del options
  entry = catalog.entry(name)
  return _fake(name, entry.image_shape, entry.num_classes, entry.sizes)


def _fake_folder(path, image_shape, **options):
  del options
  name = Path(path).name
  num_classes = OWN_CLASSES.get(name, 7)
  return _fake(name, image_shape, num_classes, (20 * num_classes, 5 * num_classes))


@pytest.fixture
def fake_data(monkeypatch, tmp_path):
  """Data sets of the real shapes and sizes, equally many examples of each class."""
  monkeypatch.setattr(datasets, "load", _fake_known)
  monkeypatch.setattr(datasets, "load_folder", _fake_folder)
  for folder in [*(f"image_folders/{name}" for name in OWN_CLASSES), "tasks/cats", "tasks/dogs"]:
    (tmp_path / folder).mkdir(parents=True)
  return tmp_path


def _stream(config, folder):
  config.data_dir = str(folder)
  if config.image_folders:
    config.image_folders = str(folder / "tasks")
  return build.build_stream(read(config))


def _method(config, stream):
  """The method, and how many steps an epoch of each task has."""
  settings = read(config)
  options = early.run_options(settings)
  steps = [num_steps(options, size) for size in training_sizes(stream, options)]
  return build.build_method(settings, stream.spec, steps)({}), steps


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_stream_model_and_methods_fit_together(fake_data, module):
  streams, models = {}, {}
  for name in module.TUNED:
    config = completed(module.get_config(name))
    if config.scenario not in streams:
      streams[config.scenario] = _stream(config, fake_data)
    stream = streams[config.scenario]
    assert _method(config, stream)[0].name.split("+")[0] == config.method.split("+")[0]
    if config.model not in models:
      models[config.model] = build.build_model(read(config), stream.spec)
  config = completed(module.get_config())
  checked_model(models[config.model], streams[config.scenario].spec)


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_the_local_run_is_the_same_experiment_but_smaller(fake_data, module):
  default = inspect.signature(module.get_config).parameters["argument"].default
  whole, local = (completed(module.get_config(name)) for name in (default, f"{default},runlocal"))
  assert any(whole[key] != local[key] for key in SHRUNK)
  same = set(whole) - SHRUNK - {"memory"}
  assert {key: whole[key] for key in same} == {key: local[key] for key in same}
  stream = _stream(local, fake_data)
  for name in module.TUNED:
    local = completed(module.get_config(f"{name},runlocal"))
    validate(local)
    _, steps = _method(local, stream)
    assert 0 < local.epochs * sum(steps) <= MOST_LOCAL_STEPS


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_commands_of_the_docstring_are_right(module):
  commands = module.__doc__.replace("\\\n", " ")
  files = re.findall(r"--config=configs/(\w+)\.py:([\w+]+)", commands)
  assert (module.__name__.removeprefix("configs."), ANY) in files
  for name, argument in files:
    importlib.import_module(f"configs.{name}").get_config(argument)
  keys = re.findall(r"--config\.([\w.]+)=", commands)
  assert set(keys) <= set(flat_items(base_config()))


def test_agems_protocol_has_the_grid_of_its_method_or_the_choice_alone():
  config = agem_cub.get_config("je_ewc")
  assert config.tuning.tasks == 3
  assert config.sweep == {
    "learning_rate": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
    "ewc.strength": [0.1, 1.0, 10.0, 100.0],
  }
  chosen = agem_cub.get_config("je_ewc,chosen")
  assert chosen.sweep == {"learning_rate": [0.03], "ewc.strength": [10.0]}
  for name in agem_cub.TUNED:  # the stream of each can be cut into its stages
    assert set(agem_cub.get_config(f"{name},runlocal").sweep) == {"learning_rate"}


def test_unknown_names_and_options():
  tuned = {"tag": {}}
  with pytest.raises(ConfigError, match=r"'tga' .did you mean tag"):
    choose(base_config(), tuned, "tga")
  with pytest.raises(ConfigError, match="unknown option 'runlocl'"):
    choose(base_config(), tuned, "tag,runlocl")


def test_runlocal_sets_what_the_file_says():
  config = choose(base_config(), {"tag": {"epochs": 20}}, "tag,runlocal", {"epochs": 1})
  assert (config.epochs, config.train_examples_per_task) == (1, None)
  assert choose(base_config(), {"tag": {}}, "tag,runlocal").train_examples_per_task == 300


def test_compositions_take_the_values_of_both():
  optimizers = {"sgd": {"learning_rate": 0.1}, "tag": {"learning_rate": 0.01, "tag.b": 3.0}}
  made = compositions(optimizers, {"er": {}, "ewc": {"ewc.strength": 7.0}})
  assert list(made) == ["er", "ewc", "er+tag", "ewc+tag"]
  assert made["er"] == {"learning_rate": 0.1}
  assert made["ewc+tag"] == {"learning_rate": 0.01, "tag.b": 3.0, "ewc.strength": 7.0}


@pytest.mark.parametrize(
  ("method", "keys"),
  [
    ("sgd", ["learning_rate"]),
    ("ewc+tag", ["learning_rate", "ewc.strength", "tag.b"]),
    ("stable_sgd", ["learning_rate", "reduced_resnet.dropout", "stable_sgd.decay"]),
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


@pytest.mark.parametrize(
  ("module", "name", "published"),
  [
    # Aljundi et al.: the authors' own code, and that in PyTorch.
    (
      object_sequence,
      "mas",
      {
        "model": "alexnet",
        "sgd.momentum": 0.9,
        "learning_rate": 0.0008,
        "schedule": "step",
        "schedule_over": "task",
        "step.every": 54,
        "step.factor": 0.1,
        "epochs": 100,
        "batch_size": 150,
        "mas.strength": 1.0,
      },
    ),
    (
      tiny_imagenet,
      "mas",
      {
        "model": "alexnet",
        "sgd.momentum": 0.0,
        "learning_rate": 0.001,
        "schedule": "step",
        "step.every": 20,
        "step.factor": 0.1,
        "epochs": 10,
        "batch_size": 32,
      },
    ),
  ],
)
def test_published_settings_are_stated(module, name, published):
  settings = read(module.get_config(name))
  assert {key: settings[key] for key in published} == published
