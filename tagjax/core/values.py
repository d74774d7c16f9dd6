"""Values as a user types them, brought to the type that a signature asks for."""

import ast
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tagjax.core.errors import nearest


def coerce(value: Any, annotation: Any) -> Any:
  """`value` as the annotation wants it.

  Args:
    value: a Python value, or the text that a command line gave for it.
    annotation: `int`, `float`, `bool`, `str`, `None`, a `Literal`, tuples and unions of these;
      whatever else is passed through.

  Returns:
    The value. Integers become floats where these are asked for, lists become tuples, and `"none"`
    becomes None where that is allowed.

  Raises:
    ValueError: what the value must be.

  >>> coerce("3", float), coerce([1, 2], tuple[int, ...]), coerce("none", int | None)
  (3.0, (1, 2), None)
  >>> coerce("fxed", Literal["fixed", "standard"])
  Traceback (most recent call last):
  ValueError: is unknown (did you mean fixed?). There are: fixed, standard
  """
  origin = typing.get_origin(annotation)
  if origin is Literal:
    return _choice(value, typing.get_args(annotation))
  if origin in (typing.Union, types.UnionType):
    return _one_of(value, annotation)
  if origin is Sequence:
    return _tuple(value, (*typing.get_args(annotation), ...))
  if origin is tuple or annotation is tuple:
    return _tuple(value, typing.get_args(annotation))
  if annotation in _SCALARS:
    return _SCALARS[annotation](value)
  return value


def describe(annotation: Any) -> str:
  """The annotation in words, such as `a whole number, or none`.

  >>> describe(int | None), describe(tuple[float, ...])
  ('a whole number, or none', 'numbers in brackets')
  """
  origin = typing.get_origin(annotation)
  if origin is Literal:
    return f"one of {', '.join(map(str, typing.get_args(annotation)))}"
  if origin in (typing.Union, types.UnionType):
    known = [text for text in map(describe, typing.get_args(annotation)) if text != _ANY]
    *most, last = dict.fromkeys(known or [_ANY])
    return f"{', '.join(most)}, or {last}" if most else last
  if origin in (tuple, Sequence) or annotation is tuple:
    parts = [part for part in typing.get_args(annotation) if part is not Ellipsis]
    kinds = {_PLURALS.get(part, "values") for part in parts} or {"values"}
    return f"{' and '.join(sorted(kinds))} in brackets"
  return _WORDS.get(annotation, _ANY)


_LARGEST = 2**63 - 1
_ANY = "a value"
_WORDS = {
  int: "a whole number",
  float: "a number",
  bool: "True or False",
  str: "a text",
  type(None): "none",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "truth values"}


_NONE = ("none", "None")
"""How the command line says None."""


def _choice(value: Any, choices: tuple) -> Any:
  if value in choices:
    return value
  names = ", ".join(map(str, choices))
  raise ValueError(f"is unknown{nearest(value, map(str, choices))}. There are: {names}")


def _one_of(value: Any, annotation: Any) -> Any:
  parts = typing.get_args(annotation)
  if type(None) in parts and value in _NONE:
    return None
  if type(value) in parts:  # as it is, rather than as something that it can be turned into
    return value
  choices = [part for part in parts if typing.get_origin(part) is Literal]
  if len(parts) == 2 and type(None) in parts and choices:
    return coerce(value, choices[0])  # whose message names the nearest choice
  # Texts last: everything can be one.
  for part in sorted(parts, key=lambda part: part is str):
    try:
      return coerce(value, part)
    except ValueError:
      continue
  raise ValueError(f"must be {describe(annotation)}")


def _tuple(value: Any, parts: tuple) -> tuple:
  wanted = f"must be {describe(tuple.__class_getitem__(parts) if parts else tuple)}"
  if isinstance(value, str):
    try:
      value = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      raise ValueError(wanted) from None
  if not isinstance(value, Sequence) or isinstance(value, str):
    raise ValueError(wanted)
  each = parts[:1] * len(value) if len(parts) == 2 and parts[1] is Ellipsis else parts
  if each and len(each) != len(value):
    raise ValueError(f"must have {len(each)} values, and has {len(value)}")
  try:
    return tuple(coerce(item, part) for item, part in zip(value, each or value, strict=False))
  except ValueError:
    raise ValueError(wanted) from None


def _integer(value: Any) -> int:
  try:
    number = int(value) if isinstance(value, str) else value
  except ValueError:
    number = None
  if isinstance(number, bool) or not isinstance(number, int):
    raise ValueError("must be a whole number")
  if abs(number) > _LARGEST:
    raise ValueError(f"must be a whole number, at most {_LARGEST}")
  return number


def _float(value: Any) -> float:
  try:
    number = float("" if isinstance(value, bool) else value)
  except (TypeError, ValueError):
    raise ValueError("must be a number") from None
  except OverflowError:
    number = math.inf
  if not math.isfinite(number):
    raise ValueError("must be a finite number")
  return number


def _bool(value: Any) -> bool:
  known = {"true": True, "1": True, "false": False, "0": False}
  if isinstance(value, bool):
    return value
  if isinstance(value, str) and value.lower() in known:
    return known[value.lower()]
  raise ValueError("must be True or False")


def _none(value: Any) -> None:
  if value is not None and value not in _NONE:
    raise ValueError("must be none")


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError("must be a text")
  return value


_SCALARS: Mapping[Any, Any] = {
  int: _integer,
  float: _float,
  bool: _bool,
  str: _text,
  type(None): _none,
}
