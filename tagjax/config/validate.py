"""Checks all settings of a run before data are loaded."""

from ml_collections import ConfigDict

from tagjax import benchmarks
from tagjax.config import build, early, grid, plugins, search, settings
from tagjax.config.settings import Settings
from tagjax.core.errors import ConfigError
from tagjax.core.register import Declaration
from tagjax.training.points import grid_points


def validate(config: ConfigDict | Settings) -> Settings:
  """Checks every setting that can be checked without the data.

  Args:
    config: see `tagjax.config.defaults.base_config`.

  Returns:
    The settings, each of its type.

  Raises:
    ConfigError: one line that names the key, its value and what is possible.
  """
  values = settings.read(config) if isinstance(config, ConfigDict) else settings.typed(config)
  early.check(values)
  members = settings.members(values["method"])
  plugins.resolve("model", values["model"], "model")
  _check_stream(values)
  _check_combination(values, members)
  if values["evaluate_on"] == "validation" and values["validation_fraction"] == 0:
    raise ConfigError(
      "config.evaluate_on='validation' needs examples: set config.validation_fraction, say to 0.1"
    )
  if values["select_epoch"] == "best" and values["validation_fraction"] == 0:
    raise ConfigError(
      "config.select_epoch='best' chooses on validation examples: set config.validation_fraction, "
      "say to 0.1"
    )
  if values["peak_accuracy"] and values["validation_fraction"] == 0:
    raise ConfigError(
      "config.peak_accuracy=True tests validation examples after each epoch: set "
      "config.validation_fraction, say to 0.1"
    )
  if values["tuning.tasks"] is not None:
    _check_tuning(values)
  if values["sweep"] is not None and values["search"]:
    raise ConfigError("config.search does not go with config.sweep: leave one of the two away")
  if values["sweep"] is not None:
    grid.check_sweep(values)
    for point in grid_points(values["sweep"]):
      validate(grid.at_point(values, point))
  elif values["search"]:
    for point in search.corners(values):
      validate(grid.at_point(values, point))
  elif values["sweep_tasks"]:
    raise ConfigError(
      f"config.sweep_tasks={values['sweep_tasks']}: there is no config.sweep or config.search"
    )
  else:
    build.check_parts(values)
  return values


def _check_tuning(values: Settings) -> None:
  """Refuses tasks to choose by where there is nothing to choose."""
  tasks = values["tuning.tasks"]
  if values["sweep"] is None and not values["search"]:
    _refuse("tuning.tasks", tasks, "there is no config.sweep or config.search to choose from")
  if values["sweep_tasks"]:
    _refuse(
      "sweep_tasks", values["sweep_tasks"], "does not go with config.tuning.tasks: it chooses"
    )
  if values["evaluate_on"] == "validation":
    _refuse(
      "evaluate_on", "validation", "does not go with config.tuning.tasks: test examples judge"
    )


def _check_stream(values: Settings) -> None:
  """Refuses what the benchmark has no use for, before its data are loaded."""
  benchmark = plugins.resolve("benchmark", values["benchmark"], "benchmark")
  try:
    benchmarks.check_declared(benchmark, values)
  except ValueError as error:
    raise build.named(error, benchmark, values) from error


def _check_combination(values: Settings, members: list[Declaration]) -> None:
  """Refuses what can be spelt but has no meaning."""
  _check_families(values, members)
  alone = [member.name for member in members if member.needs_past]
  modifiers = [member for member in members if member.kind == "modifier" and member.needs_past]
  protocol = values["protocol"]
  if protocol != "sequential" and modifiers:
    names = "+".join(member.name for member in modifiers)
    _refuse("protocol", protocol, f"leaves {names} nothing to protect; use an optimizer alone")
  if values["visit_order"] is not None and modifiers:
    names = "+".join(member.name for member in modifiers)
    reason = f"{names} has no rule for a task that comes again"
    _refuse("visit_order", values["visit_order"], reason)
  if protocol in ("joint", "independent") and alone:
    _refuse("protocol", protocol, f"leaves {alone[-1]} no past tasks; use its base optimizer")
  if values["fresh_optimizer"] and members[-1].needs_past:
    _refuse("fresh_optimizer", True, f"would delete what {members[-1].name} knows of past tasks")
  if values["shard_state"] and "columns" not in members[-1].provided:
    _refuse("shard_state", True, f"{members[-1].name} cannot share its state; TAG can")


def _check_families(values: Settings, members: list[Declaration]) -> None:
  families = {member.family for member in members if member.family is not None}
  for family in families:
    alike = sorted(member.name for member in members if member.family == family)
    if len(alike) > 1:
      _refuse("method", values["method"], f"{family.reason}; keep one of {', '.join(alike)}")


def _refuse(key: str, value: object, reason: str) -> None:
  raise ConfigError(f"config.{key}={value!r}: {reason}")
