"""Spaces of settings: what a search may choose the value of each key from."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tagjax.core.errors import ConfigError


class Range(NamedTuple):
  """Numbers from `low` to `high`, both included: whole numbers if both ends are.

  Attributes:
    low: the least.
    high: the greatest.
    log: whether equal ratios are equally likely, and not equal differences.
  """

  low: int | float
  high: int | float
  log: bool = False

  def __str__(self) -> str:
    return f"{self.low!r}..{self.high!r}{',log' if self.log else ''}"

  def position(self, value: float) -> float:
    """Where the value lies, from 0 at `low` to 1 at `high`.

    >>> Range(0.001, 0.1, log=True).position(0.01)
    0.5
    """
    low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
    return round((at - low) / (high - low), 9)


Space = Mapping[str, Range | list[Any]]
"""For each key its range, or the list of its choices."""

_NOTATION = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)\s*(,\s*log\s*)?")
_HINT = "'1e-4..1e-1,log', '0.0..0.5', '1..8' or a list of choices"
_AT_EDGE = 0.05


def parse_space(given: Any, kinds: Mapping[str, Any] | None = None, where: str = "space") -> Space:
  """Reads a space as users write it.

  Args:
    given: keys with a range in a text, `"LOW..HIGH"` or `"LOW..HIGH,log"`, or a list of choices.
    kinds: the types of keys; a key of type float has no whole numbers, one of type int has only
      them. The ends of a range tell it of other keys.
    where: what errors call it.

  Raises:
    ConfigError: one line that names the key.

  >>> space = parse_space({"learning_rate": "1e-4..0.1,log", "depth": "1..4", "base": ["adam"]})
  >>> space["learning_rate"], space["depth"]
  (Range(low=0.0001, high=0.1, log=True), Range(low=1, high=4, log=False))
  """
  if not isinstance(given, Mapping) or not given:
    raise ConfigError(
      f"{where}={given!r}: must name keys and their ranges, such as "
      "{'learning_rate': '1e-4..1e-1,log', 'batch_size': [10, 20]}"
    )
  space = {}
  for key, value in given.items():
    try:
      space[key] = _parse(value, (kinds or {}).get(key))
    except ValueError as error:
      raise ConfigError(f"{where}: {key}={value!r} {error}") from error
  return space


def _parse(value: Any, kind: Any) -> Range | list[Any]:
  if isinstance(value, list | tuple):
    if not value:
      raise ValueError("must have choices, at least one")
    if any(one in value[:place] for place, one in enumerate(value)):
      raise ValueError("names a choice twice")
    return list(value)
  match = _NOTATION.fullmatch(value) if isinstance(value, str) else None
  if match is None:
    raise ValueError(f"must be such as {_HINT}")
  if kind is not None and kind not in (int, float):
    raise ValueError("has no numbers between two others: give a list of choices")
  low, high = _ends(match[1], match[2], kind)
  found = Range(low, high, log=match[3] is not None)
  if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
    raise ValueError("must go from a finite number to a greater one")
  if found.log and found.low <= 0:
    raise ValueError("must begin above 0: its logarithm is asked for")
  return found


def _ends(low: str, high: str, kind: Any) -> tuple[int, int] | tuple[float, float]:
  try:
    ends = float(low), float(high)
  except ValueError:
    raise ValueError(f"must be such as {_HINT}") from None
  written_whole = all(re.fullmatch(r"[-+]?\d+", end) for end in (low, high))
  if kind is int and not all(end.is_integer() for end in ends):
    raise ValueError("must be whole numbers")
  if kind is int or (kind is None and written_whole):
    return int(ends[0]), int(ends[1])
  return ends


def describe_space(space: Space) -> dict[str, Any]:
  """The space as JSON values, in the notation of `parse_space`.

  >>> describe_space({"rate": Range(1e-4, 0.1, log=True), "base": ["sgd", "adam"]})
  {'rate': '0.0001..0.1,log', 'base': ['sgd', 'adam']}
  """
  described = {key: str(own) if isinstance(own, Range) else list(own) for key, own in space.items()}
  return json.loads(json.dumps(described))


def at_edge(space: Space, chosen: Mapping[str, Any] | None) -> list[str]:
  """The keys whose chosen value is at an end of what it was chosen from.

  The end of a range is its outer twentieth; of whole numbers the end itself. Choices have ends if
  all of them are numbers.

  >>> at_edge({"rate": Range(1e-4, 0.1, log=True), "b": [1, 3, 5]}, {"rate": 0.09, "b": 3})
  ['rate']
  """
  return [key for key, own in space.items() if chosen and _is_end(own, chosen[key])]


def _is_end(own: Range | list[Any], value: Any) -> bool:
  if isinstance(own, list):
    return len(own) > 1 and all(map(_is_number, own)) and value in (min(own), max(own))
  if isinstance(own.low, int):
    return value in (own.low, own.high)
  return not _AT_EDGE < own.position(value) < 1 - _AT_EDGE


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)
