"""Grids of settings: the points that `config.sweep` spans, and which keys they may have."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tagjax import benchmarks
from tagjax.config.settings import Settings, readers, traced_keys, typed, used_keys
from tagjax.core.errors import ConfigError, nearest
from tagjax.core.register import signature_options
from tagjax.training.points import Point, check_size

_OF_THE_STREAM = {
  "benchmark",
  "first_task",
  "end_task",
  *signature_options(benchmarks.load_benchmark),
}
_OF_THE_WHOLE = {
  "augmentation",
  "data_parallel",
  "seeds",
  "seed_axis",
  "seeds_together",
  "seed",
  "evaluate_on",
  "eval_batch_size",
  "evaluate_future_tasks",
  "learning_curve_batches",
  "peak_accuracy",
  "forgetting",
  "checkpoint_every",
  "keep_checkpoints",
  "chunk_steps",
  "plots",
  "sweep",
  "sweep_tasks",
  "search",
}
"""Options that a grid or search does not vary: they belong to all of its points."""


_NO_POINTS: Mapping[str, None] = MappingProxyType(
  {"sweep": None, "sweep_tasks": None, "search": None, "tuning.tasks": None}
)


def at_point(settings: Settings, point: Point) -> Settings:
  """The settings without their grid or search, with the values of `point`.

  Epochs of tasks that the grid is not trained on are left out.

  Raises:
    ConfigError: if a value is of the wrong type.
  """
  try:
    values = typed({**settings, **point, **_NO_POINTS})
    epochs, tasks = values["epochs"], settings["sweep_tasks"]
    return {**values, "epochs": epochs[:tasks]} if tasks and isinstance(epochs, tuple) else values
  except ConfigError as error:
    raise ConfigError(f"config.{'search' if settings['search'] else 'sweep'}: {error}") from error


def variable_keys(settings: Settings) -> set[str]:
  """The keys that the points of a grid or search may have."""
  of_choosing = {key for key in settings if key.startswith(("study.", "tuning."))}
  return settings.keys() - _OF_THE_STREAM - _OF_THE_WHOLE - of_choosing


def check_sweep(settings: Settings) -> None:
  """Refuses a grid of unknown or unused keys, or without values.

  Raises:
    ConfigError: one line that names the key.
  """
  sweep = settings["sweep"]
  if not isinstance(sweep, Mapping) or not sweep:
    spelling = "; it is read as Python: None, True" if isinstance(sweep, str) else ""
    raise ConfigError(
      f"config.sweep={sweep!r}: must name keys and their values, such as "
      f"{{'learning_rate': [0.1, 0.01], 'tag.b': [3, 5]}}{spelling}"
    )
  known = variable_keys(settings)
  for key, values in sweep.items():
    if key not in known:
      raise ConfigError(f"config.sweep: no grid over {key!r}{nearest(key, known)}")
    if not isinstance(values, list | tuple) or not values:
      raise ConfigError(f"config.sweep: {key}={values!r} must be a list of values, at least one")
  try:
    check_size(sweep)
  except ConfigError as error:
    raise ConfigError(f"config.sweep: {error}") from error
  for key, values in sweep.items():
    if any(value in values[:place] for place, value in enumerate(values)):
      raise ConfigError(f"config.sweep: {key}={list(values)} names a value twice")
  check_choice(settings, sweep, "config.sweep")


def check_choice(settings: Settings, varied: Mapping[str, Sequence[Any]], where: str) -> None:
  """Refuses what chooses among nothing: keys that nothing reads, no validation examples.

  Args:
    settings: of the run.
    varied: keys and their values; every key must be read by some method and some model of them.
    where: the key of the config that has them.

  Raises:
    ConfigError: one line that names the key.
  """
  read: set[str] = set()
  for method in varied.get("method", [settings["method"]]):
    for model in varied.get("model", [settings["model"]]):
      read |= set(used_keys({**settings, "method": method, "model": model}))
  for key in varied:
    if key not in read:
      raise ConfigError(
        f"{where}: {key} changes nothing in config.method={settings['method']!r} and "
        f"config.model={settings['model']!r}; it is read by {', '.join(readers(key))}"
      )
  on_test = settings["tuning.tasks"] is not None and settings["tuning.legacy"]
  if settings["validation_fraction"] == 0 and not on_test:
    raise ConfigError(
      f"{where} chooses on validation examples: set config.validation_fraction, say to 0.1"
    )


def traced_of(settings: Settings, varied: Mapping[str, Any]) -> set[str]:
  """The keys of a grid or search that may be inputs of the compiled programs."""
  methods = varied.get("method", [settings["method"]])
  return set.intersection(*(traced_keys(method) for method in methods)) & set(varied)
