"""Which arguments a function from outside wants, by the names in its signature."""

import inspect
from collections.abc import Callable, Sequence

from tagjax.core.errors import nearest


def wanted(call: Callable, offered: Sequence[str], *, filled: int, what: str) -> frozenset[str]:
  """The names of `offered` that `call` takes as keywords; all of them if it has `**kwargs`.

  Args:
    call: a function, bound method or `functools.partial`.
    offered: the keywords that could be given to it.
    filled: how many of its first parameters are given by position.
    what: its name, for the message.

  Raises:
    TypeError: if it has a parameter without a default that is neither filled nor offered, or fewer
      parameters than are filled.

  >>> sorted(wanted(lambda x, train, width=3: x, ["mask", "train"], filled=1, what="f"))
  ['train']
  """
  parameters = list(inspect.signature(call).parameters.values())
  kinds = {parameter.kind for parameter in parameters}
  keywords = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
  by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
  if len(by_position) < filled and inspect.Parameter.VAR_POSITIONAL not in kinds:
    raise TypeError(f"{what} must take {filled} arguments by position, it is {_shown(call)}")
  names = keywords - {p.name for p in by_position[:filled]}
  for parameter in parameters:
    variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    if variadic or parameter in by_position[:filled] or parameter.default is not parameter.empty:
      continue
    if parameter.name not in offered or parameter.name not in names:
      raise TypeError(
        f"{what} asks for {parameter.name!r}{nearest(parameter.name, offered)}: by keyword it can "
        f"have {', '.join(offered)}; give every other argument a default"
      )
  everything = inspect.Parameter.VAR_KEYWORD in kinds
  return frozenset(offered) if everything else frozenset(offered) & names


def asked(features: bool) -> dict[str, bool]:
  """The keyword of a call that is to return features; models without it are never given it."""
  return {"features": True} if features else {}


def _shown(call: Callable) -> str:
  return f"{getattr(call, '__qualname__', type(call).__name__)}{inspect.signature(call)}"


def constructor_names(make: Callable) -> frozenset[str]:
  """The names of the parameters of a class, function or `functools.partial` of one.

  Of a class those of its `__init__`: NNX's metaclass hides them from `inspect.signature`.
  """
  if isinstance(make, type):
    return frozenset(inspect.signature(make.__init__).parameters) - {"self"}
  if hasattr(make, "func") and hasattr(make, "keywords"):
    return constructor_names(make.func)
  return frozenset(inspect.signature(make).parameters)
