"""The user's own methods, models and benchmarks: where they are found and how they get a name."""

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable
from typing import Any

from tagjax import benchmarks, methods, models
from tagjax.core import register as declarations
from tagjax.core.errors import ConfigError, nearest, reason
from tagjax.core.register import Declaration, Kind
from tagjax.core.register import register as register

_OURS = (benchmarks, methods, models)  # imported, they have declared themselves: before the user
# does, who takes `tagjax.register` from here

GROUP = "tagjax"
"""Entry points of this group are imported; what they import registers itself."""


@functools.cache
def load_entry_points() -> None:
  """Imports what installed packages declare under `[project.entry-points.tagjax]`.

  Raises:
    ConfigError: if one cannot be imported; the import error itself is shown.
  """
  for point in importlib.metadata.entry_points(group=GROUP):
    try:
      point.load()
    except Exception as error:
      raise ConfigError(
        f"the entry point {point.name} = {point.value!r} of tagjax cannot be imported: "
        f"{reason(error)}. Mend or uninstall that package"
      ) from error


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
  if isinstance(name, str) and ":" in name:
    return _import(key, name, *kinds)
  known = declarations.declared(*kinds)
  if name not in known:
    raise ConfigError(
      f"config.{key}={name!r} is unknown{nearest(name, known)}. `launch.py --list={key}s` prints "
      "what there is; for your own, import a module that registers it, or give module:function"
    )
  return known[name]


def import_named(texts: Iterable[tuple[str, str]]) -> None:
  """Imports the `module:attribute` in the values of a command line, so that their keys are known.

  Args:
    texts: pairs of key and value; of the keys `method`, `model` and `benchmark` all parts of the
      value that have a colon.
  """
  kinds: dict[str, tuple[Kind, ...]] = {
    "method": ("modifier", "optimizer"),
    "model": ("model",),
    "benchmark": ("benchmark",),
  }
  for key, text in texts:
    for name in text.split("+") if key in kinds else ():
      if ":" in name:
        resolve(key, name.strip(), *kinds[key])


def _import(key: str, spelling: str, *kinds: Kind) -> Declaration:
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
    made = register(name, kind=kind)(found)
  except ValueError as error:
    raise ConfigError(f"config.{key}={spelling!r}: {error}") from error
  setattr(sys.modules[module], attribute, made)
  return declarations.declared(kind)[name]


def _kind_of(function: Any, kinds: tuple[Kind, ...]) -> Kind:
  """A method that asks for the learning rate ends a chain; others change the gradient."""
  if "optimizer" in kinds and "learning_rate" in declarations.parameters(function):
    return "optimizer"
  return kinds[0]
