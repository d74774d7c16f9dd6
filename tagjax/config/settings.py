"""The typed values of a config: what everything above the command line works with."""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from tagjax.config import plugins
from tagjax.config.defaults import flat_items, known_options
from tagjax.core import register
from tagjax.core.errors import ConfigError, nearest
from tagjax.core.register import Declaration
from tagjax.core.values import coerce

Settings = Mapping[str, Any]
"""The value of each key, such as `{"ewc.strength": 1.0, "seeds": 3, ...}`."""


def read(config: ConfigDict) -> Settings:
  """All settings of a run, each of the type that the function which takes it asks for.

  Raises:
    ConfigError: for a key that does not exist, or a value of another type.
  """
  return typed(flat_items(config))


def typed(values: Settings) -> Settings:
  """`values` with their types; keys that are missing have their defaults.

  Raises:
    ConfigError: see `read`.
  """
  plugins.import_named((key, str(value)) for key, value in values.items())
  options = known_options()
  for key in values:
    if key not in options:
      raise ConfigError(unknown(key))
  result = {}
  for key, option in options.items():
    value = values.get(key, option.default)
    value = tuple(value) if isinstance(value, list) else value
    try:
      result[key] = coerce(value, _annotation(option))
    except ValueError as error:
      colon = "" if str(error).startswith("is ") else ":"
      raise ConfigError(f"config.{key}={value!r}{colon} {error}") from error
  return result


def _annotation(option: register.Option) -> Any:
  """Of a parameter without a plain annotation the default tells the type."""
  plain = option.default is not None and isinstance(option.default, bool | int | float | str)
  return type(option.default) if plain and option.type is register.UNKNOWN else option.type


def unknown(key: str) -> str:
  """What to say of a key that does not exist: the nearest ones.

  In a section that there is these are its own, and those of the same name elsewhere; if none is
  near, the whole section is told, and elsewhere how all keys are listed.

  >>> unknown("ewc.strenght")  # doctest: +ELLIPSIS
  'unknown key config.ewc.strenght (did you mean ewc.strength...
  >>> unknown("hat.scal")
  'unknown key config.hat.scal; config.hat has max_embedding and strength'
  >>> unknown("transfer")
  'unknown key config.transfer: launch.py --list=options prints all keys'
  """
  known = known_options()
  section, dot, own = key.rpartition(".")
  beside = sorted(option for option in known if dot and option.startswith(f"{section}."))
  elsewhere = sorted(option for option in known if f".{option}".endswith(f".{own}"))
  near = nearest(key, [*beside, *elsewhere] if beside else known)
  if beside and not near:
    *others, last = (option.removeprefix(f"{section}.") for option in beside)
    near = f"; config.{section} has {', '.join(others)}{' and ' if others else ''}{last}"
  return f"unknown key config.{key}{near or ': launch.py --list=options prints all keys'}"


def members(spelling: str) -> list[Declaration]:
  """The members of the chain that `"ewc+tag"` spells; `sgd` is added if no optimizer is named.

  Raises:
    ConfigError: on an unknown or repeated name, or an optimizer that is not the last.

  >>> [member.name for member in members("ewc")]
  ['ewc', 'sgd']
  """
  names = [name.strip() for name in str(spelling).split("+")]
  found = [plugins.resolve("method", name, "modifier", "optimizer") for name in names]
  optimizers = [one for one in found if one.kind == "optimizer"]
  if len(optimizers) > 1 or (optimizers and found[-1].kind != "optimizer"):
    raise ConfigError(
      f"config.method={spelling!r}: a chain has one optimizer, and it stands last "
      "(launch.py --list=methods prints them)"
    )
  called = [one.name for one in found]
  if repeated := sorted({name for name in called if called.count(name) > 1}):
    raise ConfigError(
      f"config.method={spelling!r}: {', '.join(repeated)} stands in it twice; "
      "set its strength or capacity instead"
    )
  return found if optimizers else [*found, plugins.resolve("method", "sgd", "optimizer")]


def schedules(spelling: str | None) -> list[Declaration]:
  """The schedules whose factors `"step+by_task"` multiplies; None: none.

  Raises:
    ConfigError: on an unknown or repeated name.

  >>> [schedule.name for schedule in schedules("step+by_task")]
  ['step', 'by_task']
  """
  names = [] if spelling is None else [name.strip() for name in spelling.split("+")]
  if len(set(names)) < len(names):
    raise ConfigError(f"config.schedule={spelling!r}: names a schedule twice")
  return [plugins.resolve("schedule", name, "schedule") for name in names]


def declarations(settings: Settings) -> list[Declaration]:
  """Those of the model, the benchmark, the schedule and every member, and of what they hold."""
  found = [plugins.resolve("model", settings["model"], "model"), *members(settings["method"])]
  found.append(plugins.resolve("benchmark", settings["benchmark"], "benchmark"))
  found += schedules(settings["schedule"])
  return found + [inner for one in found for inner in held(one, settings).values()]


def held(one: Declaration, settings: Settings) -> dict[str, Declaration]:
  """What the options of a declaration name, by option, see `tagjax.core.register.register`.

  Raises:
    ConfigError: on an unknown name, or one of a declaration that itself holds others.
  """
  found = {}
  for name, option in one.options.items():
    if option.names:
      key = one.key(name)
      found[name] = plugins.resolve(key, settings[key], option.names)
      if any(inner.names for inner in found[name].options.values()):
        raise ConfigError(f"config.{key}={settings[key]!r}: choose one that holds no other")
  return found


def used_keys(settings: Settings) -> list[str]:
  """The keys that the run reads, in the order of the options."""
  read_by_parts = {key for one in declarations(settings) for key in one.option_keys()}
  of_parts = {
    f"{section}.{name}" for section, options in register.sections().items() for name in options
  }
  asked = {"augmentation.": True, "study.": settings["search"], "tuning.": settings["tuning.tasks"]}
  sections = tuple(section for section, is_asked in asked.items() if is_asked)
  of_run = {key for key in of_parts if key.startswith(sections)}
  return [key for key in known_options() if key not in of_parts - of_run or key in read_by_parts]


def unused(settings: Settings, keys: Iterable[str]) -> list[str]:
  """A line for each of the keys that nothing in the run reads, with what would read it."""
  used = set(used_keys(settings))
  lines = []
  for key in keys:
    if key in used or key not in settings:
      continue
    lines.append(
      f"config.{key}={settings[key]!r} is not used by {settings['method']} with "
      f"{settings['model']}; it is read by {', '.join(readers(key))}"
    )
  return lines


def readers(key: str) -> list[str]:
  """The names of the declarations that have this option."""
  of_section = {"study": "config.search", "tuning": "config.tuning.tasks"}
  if (section := key.partition(".")[0]) in of_section:
    return [of_section[section]]
  found = register.declared(*register.KINDS).values()
  return [one.name for one in found if key in one.option_keys()]


def traced_keys(method: str) -> set[str]:
  """The keys that may be inputs of the programs of this method: numbers that change no shape."""
  return {key for member in members(method) for key in member.traced_keys()}


_OF_NO_RUN = ("study.trials", "study.storage")  # how long, and where: a search may change them


def used(settings: Settings) -> dict[str, Any]:
  """The settings that the run reads: what its folder belongs to."""
  return {key: settings[key] for key in used_keys(settings) if key not in _OF_NO_RUN}
