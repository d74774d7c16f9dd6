"""The flags `--config.search.KEY=RANGE`: keys of the search, which are no keys of the config."""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict


def take_ranges(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
  """Takes `--config.search.KEY=VALUE` and `--config.search.KEY VALUE` from a command line.

  Returns:
    The others, and the values by key.

  >>> take_ranges(["launch.py", "--config.search.tag.b=1..7", "--config.seeds=2"])
  (['launch.py', '--config.seeds=2'], {'tag.b': '1..7'})
  """
  left, ranges = [], {}
  rest = iter(argv)
  for argument in rest:
    match = re.fullmatch(r"--?config\.search\.([^=]+)(?:=(.*))?", argument, re.DOTALL)
    if match is None:
      left.append(argument)
    else:
      ranges[match[1]] = _value(next(rest, "") if match[2] is None else match[2])
  return left, ranges


def add_ranges(config: ConfigDict, ranges: Mapping[str, Any]) -> None:
  """Adds ranges to those that the config has; of a key that it has, they take the place."""
  if ranges:
    config.search = {**(config.search or {}), **ranges}


def _value(text: str) -> Any:
  """A list of choices, or a range in a text."""
  try:
    value = ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
  return list(value) if isinstance(value, list | tuple) else text
