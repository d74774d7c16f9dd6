"""Checks every setting of a run before data are loaded."""

import math
from typing import Any

from ml_collections import ConfigDict

from tagjax import benchmarks
from tagjax.config.defaults import PROTOCOLS, base_config
from tagjax.config.grid import at_point, check_sweep, grid_points
from tagjax.config.registry import (
  COMPUTE_DTYPES,
  MODELS,
  check_combination,
  check_model,
  check_name,
  method_names,
)
from tagjax.core.errors import ConfigError, nearest
from tagjax.core.types import SCENARIOS
from tagjax.datasets.loader import INPUTS
from tagjax.input_pipeline.normalization import NORMALIZATIONS
from tagjax.memory.capacity import PER as MEMORY_PER
from tagjax.memory.reservoir import VARIANTS as RESERVOIR_VARIANTS
from tagjax.methods.ewc import VARIANTS as EWC_VARIANTS
from tagjax.methods.mas import NORMALISATIONS as MAS_NORMALISATIONS
from tagjax.methods.mas import NORMS as MAS_NORMS
from tagjax.methods.mas import SEQUENCES as MAS_SEQUENCES
from tagjax.metrics.matrix import DEFINITIONS as FORGETTING_DEFINITIONS
from tagjax.models.lasem_cnn import PRESETS as LASEM_PRESETS
from tagjax.models.resnet18 import STEMS as RESNET_STEMS
from tagjax.transforms.tag import ACCUMULATOR_DTYPES


def validate(config: ConfigDict) -> None:
  """Checks every key that can be checked before data are loaded.

  Raises:
    ConfigError: one line that names the key, its value and what is possible.
  """
  _known_keys(config, base_config())
  check_name("benchmark", config.benchmark, benchmarks.names())
  check_name("model", config.model, MODELS)
  method_names(config.method)
  for key, options in (
    ("normalization", NORMALIZATIONS),
    ("input", INPUTS),
    ("evaluate_on", ("test", "validation")),
    ("compute_dtype", COMPUTE_DTYPES),
    ("forgetting", FORGETTING_DEFINITIONS),
    ("tag.bias_correction", ("task", "epoch")),
    ("tag.accumulator_dtype", ACCUMULATOR_DTYPES),
    ("stable_sgd.reset", ("task", "epoch")),
    ("protocol", PROTOCOLS),
    ("ewc.variant", EWC_VARIANTS),
    ("mas.norm", MAS_NORMS),
    ("mas.sequence", MAS_SEQUENCES),
    ("mas.normalise", MAS_NORMALISATIONS),
    ("memory.per", MEMORY_PER),
    ("er.variant", RESERVOIR_VARIANTS),
    ("resnet18.stem", RESNET_STEMS),
    ("lasem_cnn.preset", LASEM_PRESETS),
  ):
    check_name(key, _get(config, key), options)
  if config.scenario is not None:
    check_name("scenario", config.scenario, SCENARIOS)
  for key, least in _LEAST.items():
    value = _get(config, key)
    if value is not None and value < least:
      raise ConfigError(f"config.{key}={value!r}: must be at least {least}")
  check_name("seed_axis", config.seed_axis, ("auto", "vmap", "loop", "devices"))
  if config.seed_axis == "devices" and config.data_parallel > 1:
    raise ConfigError(
      f"config.seed_axis='devices' leaves no devices to config.data_parallel="
      f"{config.data_parallel}: choose one of the two"
    )
  _ranges(config)
  _check_stream(config)
  check_model(config)
  check_combination(config)
  if config.sweep:
    check_sweep(config)
    for point in grid_points(config.sweep):
      validate(at_point(config, point))
  elif config.sweep_tasks:
    raise ConfigError(f"config.sweep_tasks={config.sweep_tasks}: there is no config.sweep")


_LEAST = {
  "num_tasks": 1,
  "augmentation.crop": 0,
  "first_task": 0,
  "end_task": 1,
  "sweep_tasks": 1,
  "data_seed": 0,
  "train_examples_per_task": 1,
  "test_examples_per_task": 1,
  "reduced_resnet.width": 1,
  "resnet18.width": 1,
  "epochs": 1,
  "batch_size": 1,
  "data_parallel": 1,
  "seeds": 1,
  "seeds_together": 1,
  "seed": 0,
  "eval_batch_size": 1,
  "learning_curve_batches": 0,
  "checkpoint_every": 0,
  "keep_checkpoints": 1,
  "chunk_steps": 1,
  "stable_sgd.floor": 0,
  "tag.b": 0,
  "cycles": 1,
  "ewc.strength": 0,
  "ewc.examples": 0,
  "ewc.clip": 0,
  "mas.strength": 0,
  "mas.capacity": 1,
  "mas.examples": 0,
  "mas_local.strength": 0,
  "mas_local.examples": 0,
  "si.strength": 0,
  "rwalk.strength": 0,
  "rwalk.update_every": 1,
  "lwf.strength": 0,
  "memory.capacity": 0,
  "memory.batch_size": 1,
  "er.strength": 0,
  "der.strength": 0,
  "der.label_strength": 0,
  "gem.margin": 0,
  "gem.eps": 0,
}


def _ranges(config: ConfigDict) -> None:
  for key in (
    "dropout",
    "validation_fraction",
    "blurry_fraction",
    "label_noise",
    "stable_sgd.momentum",
  ):
    value = _get(config, key)
    if not 0 <= value < 1:
      raise ConfigError(f"config.{key}={value!r}: must be in [0, 1)")
  for key in (
    "learning_rate",
    "stable_sgd.decay",
    "si.damping",
    "rwalk.damping",
    "lwf.temperature",
  ):
    value = _get(config, key)
    if not (value > 0 and math.isfinite(value)):
      raise ConfigError(f"config.{key}={value!r}: must be positive and finite")
  if not 0 <= config.augmentation.rotation <= 180:
    value = config.augmentation.rotation
    raise ConfigError(f"config.augmentation.rotation={value!r}: must be in degrees, 0 to 180")
  if not 0 <= config.augmentation.colour <= 1:
    raise ConfigError(
      f"config.augmentation.colour={config.augmentation.colour!r}: must be in [0, 1]"
    )
  for key in ("train_fraction", "rwalk.decay"):
    value = _get(config, key)
    if not 0 < value <= 1:
      raise ConfigError(f"config.{key}={value!r}: must be in (0, 1]")
  if not 0 <= config.ewc.decay <= 1:
    raise ConfigError(f"config.ewc.decay={config.ewc.decay!r}: must be in [0, 1]")
  for key in ("alexnet.dropout", "cifar_alexnet.hidden_dropout", "lasem_cnn.dropout"):
    if not 0 <= _get(config, key) < 1:
      raise ConfigError(f"config.{key}={_get(config, key)!r}: must be in [0, 1)")
  rates = config.cifar_alexnet.dropout
  if len(rates) != 3 or not all(0 <= rate < 1 for rate in rates):
    raise ConfigError(f"config.cifar_alexnet.dropout={rates!r}: give three rates in [0, 1)")
  if not all(isinstance(width, int) and width > 0 for width in config.mlp.hidden):
    raise ConfigError(f"config.mlp.hidden={config.mlp.hidden!r}: widths must be positive integers")
  if config.evaluate_on == "validation" and config.validation_fraction == 0:
    raise ConfigError(
      "config.evaluate_on='validation' needs examples: set config.validation_fraction, say to 0.1"
    )
  if config.batch_size % config.data_parallel:
    raise ConfigError(
      f"config.batch_size={config.batch_size} cannot be shared by "
      f"config.data_parallel={config.data_parallel} devices: choose a multiple of it"
    )


def _check_stream(config: ConfigDict) -> None:
  """Refuses what the benchmark has no use for, before its data are loaded."""
  try:
    benchmarks.check_options(
      config.benchmark, config.task_order, {key: config[key] for key in benchmarks.OPTIONS}
    )
  except ValueError as error:
    raise ConfigError(f"config.{error}") from error


def _known_keys(config: ConfigDict, base: ConfigDict, prefix: str = "") -> None:
  for key, value in config.items():
    if key not in base:
      raise ConfigError(f"config.{prefix}{key} is no key of the config{nearest(key, base.keys())}")
    if isinstance(value, ConfigDict):
      _known_keys(value, base[key], f"{prefix}{key}.")


def _get(config: ConfigDict, key: str) -> Any:
  for part in key.split("."):
    config = config[part]
  return config
