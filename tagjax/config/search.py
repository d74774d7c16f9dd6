"""Searches of settings: the space that `config.search` spans, and which keys it may have."""

import itertools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from tagjax.config.defaults import known_options
from tagjax.config.grid import check_choice, variable_keys
from tagjax.config.settings import Settings
from tagjax.core.errors import ConfigError, nearest
from tagjax.core.register import UNKNOWN, Option
from tagjax.training.points import Point
from tagjax.training.space import Range, Space, parse_space
from tagjax.training.study import StudyOptions

_WHERE = "config.search"
_STRUCTURE = ("method", "model")


def space_of(settings: Settings) -> Space:
  """What `config.search` spans.

  Raises:
    ConfigError: for unknown or unused keys, or what is no range; one line that names the key.
  """
  given = settings["search"]
  known = variable_keys(settings)
  if isinstance(given, Mapping):
    for key in given:
      if key not in known:
        raise ConfigError(f"{_WHERE}: no search over {key!r}{nearest(key, known)}")
  kinds = {key: _kind(option) for key, option in known_options().items()}
  space = parse_space(given, kinds, _WHERE)
  check_choice(settings, _choices(space), _WHERE)
  return space


def study_options(settings: Settings) -> StudyOptions:
  """How the search is carried out.

  Raises:
    ConfigError: if an option is out of range.
  """
  names = StudyOptions.__dataclass_fields__
  try:
    return StudyOptions(**{name: settings[f"study.{name}"] for name in names})
  except ConfigError as error:
    raise ConfigError(f"config.study.{error}") from error


def corners(settings: Settings) -> Iterator[Point]:
  """Points that hold each choice and each end of a range, for every method and model.

  What a method refuses of a range it refuses at an end, so these are checked before data are read.

  Raises:
    ConfigError: if there is no such space, or no such study.
  """
  study_options(settings)
  choices = _choices(space_of(settings))
  structure = [[(key, one) for one in choices[key]] for key in _STRUCTURE if key in choices]
  for chosen in itertools.product(*structure):
    point = {key: values[0] for key, values in choices.items()} | dict(chosen)
    yield point
    for key, values in choices.items():
      if key not in _STRUCTURE:
        yield from ({**point, key: value} for value in values[1:])


def _choices(space: Space) -> dict[str, list[Any]]:
  return {key: list(own[:2]) if isinstance(own, Range) else own for key, own in space.items()}


def _kind(option: Option) -> Any:
  """The type of the numbers that the option takes; `object` if it takes none."""
  if option.type is UNKNOWN:
    return type(option.default)
  is_union = get_origin(option.type) in (Union, UnionType)
  kinds = get_args(option.type) if is_union else (option.type,)
  return float if float in kinds else int if int in kinds else object
