"""What can be checked of settings before their parts are loaded: names, and ranges of no part."""

import math
from typing import TYPE_CHECKING

from tagjax.config import plugins
from tagjax.config.defaults import known_options
from tagjax.config.settings import Settings
from tagjax.core.errors import ConfigError

if TYPE_CHECKING:
  from tagjax.training.options import RunOptions
  from tagjax.training.tuning import TuningOptions

_LEAST = {"num_tasks": 1, "first_task": 0, "end_task": 1, "sweep_tasks": 1}


def check(settings: Settings) -> None:
  """Checks the names that settings have, and the ranges of what belongs to no part.

  Raises:
    ConfigError: one line that names the key, its value and what it must be.
  """
  for key, kinds in plugins.KINDS.items():
    if settings[key] is not None:
      joined = key in ("method", "schedule")
      for name in str(settings[key]).split("+") if joined else [settings[key]]:
        plugins.check_name(key, name.strip(), *kinds)
  for key, option in known_options().items():
    if option.names:
      plugins.check_name(key, settings[key], option.names)
  for key, least in _LEAST.items():
    if settings[key] is not None and settings[key] < least:
      raise ConfigError(f"config.{key}={settings[key]!r}: must be at least {least}")
  if not (settings["learning_rate"] > 0 and math.isfinite(settings["learning_rate"])):
    raise ConfigError(
      f"config.learning_rate={settings['learning_rate']!r}: must be positive and finite"
    )
  run_options(settings)
  tuning(settings)


def tuning(settings: Settings) -> "TuningOptions":
  """How hyperparameters are chosen on tasks that are not judged.

  Raises:
    ConfigError: if an option is out of range.
  """
  from tagjax.training.tuning import TuningOptions  # it loads JAX

  names = TuningOptions.__dataclass_fields__
  try:
    return TuningOptions(**{name: settings[f"tuning.{name}"] for name in names})
  except ConfigError as error:
    raise ConfigError(f"config.{error}") from error


def run_options(settings: Settings) -> "RunOptions":
  """The options of the run.

  Raises:
    ConfigError: if one is out of range.
  """
  # They load JAX, for which no name need wait.
  from tagjax.input_pipeline.augmentation import Augmentation
  from tagjax.training.options import RunOptions

  names = RunOptions.__dataclass_fields__.keys() - {"augmentation"}
  changes = {name: settings[f"augmentation.{name}"] for name in Augmentation._fields}
  try:
    return RunOptions(
      **{name: settings[name] for name in names}, augmentation=Augmentation(**changes)
    )
  except ConfigError as error:
    raise ConfigError(f"config.{error}") from error
