"""Which arguments of a function of Optax can be options of a config, and how they are called.

The rule: an argument is an option if its annotation and its default can be written as text. These
can: numbers, booleans, strings, None, closed sets of strings, and tuples, lists and dicts of them.
A number that may also be an array or a schedule is a number. Masks, functions, dtypes and
transformations cannot; such arguments keep Optax's default.
"""

import ast
import collections.abc
import contextlib
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import jax
import numpy as np

from tagjax.core.errors import nearest

_ARRAYS = (jax.Array, np.ndarray, np.bool_, np.number, complex)
_SCALARS = (bool, int, float, str, type(None))
_NAMES = {
  float: "a number",
  int: "an integer",
  bool: "True or False",
  str: "a text",
  type(None): "None",
}


def text_options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  """The arguments of `function` that are options, as keywords, with plain annotations.

  Args:
    function: of Optax, or with annotations as Optax writes them.

  Returns:
    From its name to each argument, in the function's order. An argument without a default has
    none here either. A number whose default is an integer is an integer.

  Example:
    >>> import optax
    >>> [str(option) for option in text_options(optax.lion).values()]
    ['learning_rate: float', 'b1: float = 0.9', 'b2: float = 0.99', 'weight_decay: float = 0.001']
  """
  options = {}
  for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
    annotation = _plain(parameter.annotation)
    if annotation is None or not _is_text(parameter.default):
      continue
    if annotation is float and type(parameter.default) is int:
      annotation = int
    options[name] = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation)
  return options


def with_options(
  function: Callable[..., Any],
  name: str,
  options: Mapping[str, inspect.Parameter],
  call: Callable[[dict[str, Any]], Any],
  required: Collection[str] = (),
) -> Callable[..., Any]:
  """A function with these options, checked, that hands them to `call`; its text is `function`'s.

  A value may be the text of a Python literal where a tuple or a dict is meant, since the keys of a
  config hold no dicts.

  Args:
    function: whose docstring describes the options.
    name: of the new function.
    options: as `text_options` gives them; the first may also be given by position.
    call: gets all options, checked.
    required: the options that may not stay None.

  Returns:
    The function; its signature shows the options.
  """
  first = next(iter(options), None)

  def wrapped(*args, **given):
    if len(args) > 1 or (args and first in given):
      raise TypeError(f"{name}() takes options by name: {', '.join(options)}")
    given |= {first: args[0]} if args else {}
    for key in given.keys() - options.keys():
      near = nearest(key, options) or f"; there are: {', '.join(options)}"
      raise TypeError(f"{name}() has no option {key!r}{near}")
    values = {key: _checked(name, key, option, given) for key, option in options.items()}
    for key in required:
      if values[key] is None:
        raise ValueError(f"{name} needs {key}: {_spelled(options[key].annotation, none=False)}")
    return call(values)

  parameters = list(options.values())
  if parameters:
    parameters[0] = parameters[0].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
  wrapped.__name__ = wrapped.__qualname__ = name
  wrapped.__doc__ = function.__doc__
  wrapped.__signature__ = inspect.Signature(parameters)
  wrapped.__annotations__ = {key: option.annotation for key, option in options.items()}
  return wrapped


def _checked(name: str, key: str, option: inspect.Parameter, given: Mapping[str, Any]) -> Any:
  value = given.get(key, option.default)
  if value is option.empty:
    raise ValueError(f"{name} needs {key}: {_spelled(option.annotation)}")
  if isinstance(value, str) and not _fits(value, option.annotation):
    with contextlib.suppress(SyntaxError, ValueError):  # what is no literal is refused below
      value = ast.literal_eval(value)
  if not _fits(value, option.annotation):
    raise ValueError(f"{key} of {name} must be {_spelled(option.annotation)}, got {given[key]!r}")
  return tuple(value) if isinstance(value, list) else value


def _plain(annotation: Any) -> Any:
  """`annotation` in what text can express; None if it cannot."""
  if annotation is None or annotation in _SCALARS:
    return type(None) if annotation is None else annotation
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin is Literal:
    return annotation
  if origin in (typing.Union, types.UnionType):
    return _plain_union(args)
  if origin in (collections.abc.Iterable, collections.abc.Sequence):
    origin, args = tuple, (*args, ...)
  if origin in (tuple, dict):
    members = [member if member is ... else _plain(member) for member in args]
    return None if None in members else origin[tuple(members)]
  return None


def _plain_union(members: tuple[Any, ...]) -> Any:
  if float in members:  # also as an array, as a schedule
    members = tuple(
      member
      for member in members
      if member not in (*_ARRAYS, bool, int)
      and typing.get_origin(member) is not collections.abc.Callable
    )
  members = [_plain(member) for member in members]
  return None if None in members else typing.Union[tuple(members)]  # noqa: UP007  (computed)


def _is_text(default: Any) -> bool:
  if isinstance(default, tuple | list):
    return all(map(_is_text, default))
  return default is inspect.Parameter.empty or type(default) in _SCALARS


def _fits(value: Any, annotation: Any) -> bool:
  """Whether `value` is what the plain `annotation` says; arrays and schedules pass as numbers."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin is Literal:
    return isinstance(value, str) and value in args
  if origin in (typing.Union, types.UnionType):
    return any(_fits(value, member) for member in args)
  if origin is tuple:
    if not isinstance(value, tuple | list) or (args[-1] is not ... and len(value) != len(args)):
      return False
    kinds = args[:1] * len(value) if args[-1] is ... else args
    return all(map(_fits, value, kinds))
  if origin is dict:
    return isinstance(value, Mapping) and all(
      _fits(key, args[0]) and _fits(item, args[1]) for key, item in value.items()
    )
  if annotation is float:
    is_array = isinstance(value, jax.Array | np.ndarray)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_array or is_number or callable(value)
  if annotation is int:
    traced = isinstance(value, jax.core.Tracer)
    return traced or (isinstance(value, int | np.integer) and not isinstance(value, bool))
  return isinstance(value, annotation)


def _spelled(annotation: Any, none: bool = True) -> str:
  """`annotation` as a reader knows it; `none`: whether None is to be named where it is allowed."""
  if typing.get_origin(annotation) is Literal:
    return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
  if typing.get_origin(annotation) in (typing.Union, types.UnionType):
    members = [kind for kind in typing.get_args(annotation) if none or kind is not type(None)]
    return " or ".join(map(_spelled, members))
  return _NAMES.get(annotation, str(annotation).replace("typing.", ""))
