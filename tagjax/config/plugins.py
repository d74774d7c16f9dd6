"""The user's own methods, models and benchmarks: where they are found and how they get a name."""

import importlib
import os
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

from tagjax.config.defaults import known_names, known_options
from tagjax.core import register as declarations
from tagjax.core.errors import ConfigError, nearest, reason
from tagjax.core.register import Declaration, Kind

KINDS: Mapping[str, tuple[Kind, ...]] = types.MappingProxyType(
  {
    "method": ("modifier", "optimizer"),
    "model": ("model",),
    "benchmark": ("benchmark",),
    "schedule": ("schedule",),
  }
)
"""What each key of the config that names a declaration may name."""


def resolve(key: str, name: Any, *kinds: Kind) -> Declaration:
  """The declaration that a config names.

  Args:
    key: the key of the config, for the message.
    name: a registered name, or `module:attribute`. An attribute that is not registered yet is
      registered under its own name, with the kind that its result has or else the first of `kinds`.
    *kinds: what the name may stand for.

  Raises:
    ConfigError: if there is no such name, or the module cannot be imported.
  """
  if _is_place(name):
    return _import(key, name, *kinds)
  check_name(key, name, *kinds)
  from tagjax.config import ours

  ours.load_entry_points()
  return declarations.declared(*kinds)[name]


def check_name(key: str, name: Any, *kinds: Kind) -> None:
  """Refuses a name that stands for none of `kinds`; a `module:attribute` is not looked at.

  Raises:
    ConfigError: one line with the nearest name.
  """
  if not _is_place(name) and name not in (known := known_names(*kinds)):
    what = next(one for one, those in KINDS.items() if set(kinds) <= set(those))
    raise ConfigError(
      f"config.{key}={name!r} is unknown{nearest(name, known)}. `launch.py --list={what}s` prints "
      "what there is; for your own, import a module that registers it, or give module:function"
    )


def _is_place(name: Any) -> bool:
  return isinstance(name, str) and ":" in name


def import_named(texts: Iterable[tuple[str, str]]) -> None:
  """Imports the `module:attribute` in the values of a command line, so that their keys are known.

  Args:
    texts: pairs of key and value; of the keys `method`, `model`, `benchmark` and those that name a
      part of one of these, all parts of the value that have a colon.
  """
  for key, text in texts:
    if ":" in text and key != "schedule" and (kinds := _kinds_of_key(key)):
      for name in text.split("+"):
        if ":" in name:
          resolve(key, name.strip(), *kinds)


def _kinds_of_key(key: str) -> tuple[Kind, ...]:
  """What the value of the key may name; nothing, where it names no declaration."""
  option = known_options().get(key)
  return KINDS.get(key) or ((option.names,) if option and option.names else ())


def _import(key: str, spelling: str, *kinds: Kind) -> Declaration:
  from tagjax.config import ours  # noqa: F401  (ours are declared before the user's)

  module, _, attribute = spelling.partition(":")
  here = os.getcwd()
  if here not in sys.path:
    sys.path.append(here)
  try:
    found = getattr(importlib.import_module(module), attribute)
  except Exception as error:
    raise ConfigError(f"config.{key}={spelling!r} cannot be imported: {reason(error)}") from error
  known = declarations.of_function(found) or declarations.find(getattr(found, "__name__", ""))
  if known is not None and known.make is found:
    if known.kind not in kinds:
      raise ConfigError(f"config.{key}={spelling!r} is registered as a {known.kind}")
    return known
  if not callable(found):
    raise ConfigError(
      f"config.{key}={spelling!r} is {type(found).__name__}: name a function or a class"
    )
  name = getattr(found, "__name__", attribute)
  try:
    kind = _kind_of(found, kinds)
    made = declarations.register(name, kind=kind)(found)
  except ValueError as error:
    raise ConfigError(f"config.{key}={spelling!r}: {error}") from error
  setattr(sys.modules[module], attribute, made)
  return declarations.declared(kind)[name]


def _kind_of(function: Any, kinds: tuple[Kind, ...]) -> Kind:
  """A method that asks for the learning rate ends a chain; others change the gradient."""
  if "optimizer" in kinds and "learning_rate" in declarations.parameters(function):
    return "optimizer"
  return kinds[0]
