"""One declaration beside a function: what the command line, grids and reports know of it.

`@register("pull", kind="modifier")` makes a method, an optimizer, a model or a benchmark known by
its name. Its section of the config is the function's signature; its ranges are the function's own
checks; its help is the function's docstring. No table elsewhere names it a second time, so a
declaration works the same inside and outside this package.
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from tagjax.core.errors import nearest

Kind = Literal["optimizer", "modifier", "schedule", "model", "benchmark"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)
UNKNOWN = inspect.Parameter.empty
"""The type of an option that has no annotation."""

PROVIDED: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {
    "optimizer": (
      "learning_rate",
      "spec",
      "num_tasks",
      "steps_per_epoch",
      "steps_per_task",
      "columns",
      "stacked",
    ),
    "modifier": ("spec", "num_tasks", "steps_per_epoch", "steps_per_task", "stacked", "inner"),
    "schedule": ("spec", "num_tasks"),
    "model": (
      "spec",
      "num_outputs",
      "num_tasks",
      "compute_dtype",
      "axis_name",
      "attributes",
      "rngs",
    ),
    "benchmark": ("num_tasks", "scenario", "data_seed", "validation_fraction", "data_dir"),
  }
)
"""Parameters that the library fills in by their names; all others are options of the config."""


class Option(NamedTuple):
  """A parameter that a user may set.

  Attributes:
    name: of the parameter.
    type: its annotation.
    default: its default.
    text: what the docstring says of it, in one line.
    names: kind of the declaration that its value names; None: it names none.
  """

  name: str
  type: Any
  default: Any
  text: str
  names: Kind | None = None


class Family(NamedTuple):
  """Members of a chain of which one at most has a meaning.

  Attributes:
    name: of the family.
    reason: why two of them make no sense.
  """

  name: str
  reason: str


class Declaration(NamedTuple):
  """What is known of a registered function.

  Attributes:
    name: how the command line calls it.
    kind: what it makes.
    make: the function.
    section: the section of the config that holds its options.
    options: its own options, by name.
    shared: options that belong to a section of several declarations: name -> that section.
    provided: parameters that the library fills in.
    traced: options that may be inputs of the compiled programs: numbers that change no shape.
    family: see `Family`.
    needs_past: whether it has no meaning where there are no past tasks.
    collections: of variables that the model has, for methods that require them.
    summary: the first sentence of its docstring.
  """

  name: str
  kind: Kind
  make: Callable[..., Any]
  section: str
  options: Mapping[str, Option]
  shared: Mapping[str, str]
  provided: tuple[str, ...]
  traced: frozenset[str]
  family: Family | None
  needs_past: bool
  collections: frozenset[str]
  summary: str

  def key(self, option: str) -> str:
    """The key of an option in the config, such as `ewc.strength`."""
    if option in self.provided:
      return option
    return f"{self.shared.get(option, self.section)}.{option}"

  def option_keys(self) -> list[str]:
    """The keys of all options, those of shared sections included."""
    return [self.key(option) for option in (*self.options, *self.shared)]

  def traced_keys(self) -> set[str]:
    """The keys of the options that may be inputs of the compiled programs."""
    return {self.key(option) for option in self.traced}


class RegisterError(ValueError):
  """A declaration contradicts the function or another declaration."""


_declared: dict[str, Declaration] = {}
_sections: dict[str, dict[str, Option]] = {}


def register(
  name: str,
  *,
  kind: Kind,
  section: str | None = None,
  shares: str | None = None,
  traced: tuple[str, ...] = (),
  holds: tuple[str, ...] = (),
  family: Family | None = None,
  needs_past: bool | None = None,
  collections: tuple[str, ...] = (),
) -> Callable[[Callable], Callable]:
  """Declares the function (or class) below it.

  Args:
    name: how the command line calls it: `--config.method=NAME`, `--config.model=NAME`, ....
    kind: what it makes: an `"optimizer"` turns the gradient into a step and ends a chain, a
      `"modifier"` changes the gradient on its way, a `"schedule"` scales the learning rate, a
      `"model"` is a network, a `"benchmark"` a stream of tasks.
    section: the section of the config that holds its options; by default its name. Declarations
      with the same section share the options that both have.
    shares: name of a section declared by `register_section`; parameters that it holds are read
      from there, all that it holds if the function collects the rest (`**options`).
    traced: options that are numbers and change no shape: a grid over them compiles once.
    holds: options that name another declaration of the same kind. The function gets in their place
      what that one makes, with the options of its own section.
    family: see `Family`; None: it may stand beside everything.
    needs_past: whether it has no meaning without past tasks. By default modifiers need them.
    collections: of variables that a model has, for methods that require them (`Method.requires`).

  Returns:
    A decorator. It returns the function; a `Method` that the function makes carries the name.

  Raises:
    RegisterError: if the name is taken, a parameter has neither a default nor a provider, an option
      of a shared section has another default there, or `traced` or `holds` names something that is
      no option.

  >>> @register("doctest_pull", kind="modifier", traced=("strength",))
  ... def pull(strength: float = 1.0):
  ...   '''Pulls.
  ...
  ...   Args:
  ...     strength: how hard, at least 0.
  ...   '''
  >>> find("doctest_pull").options["strength"].text
  'how hard, at least 0.'
  >>> forget("doctest_pull")
  """

  def declare(function: Callable) -> Callable:
    made = _with_name(function, name) if kind in ("optimizer", "modifier") else function
    told = (kind, section or name, shares, traced, holds, family, needs_past, collections)
    _add(_read(made, name, *told))
    return made

  return declare


def register_section(name: str) -> Callable[[Callable], Callable]:
  """Declares options that several declarations share, from the signature below it.

  >>> @register_section("doctest_store")
  ... class Store(NamedTuple):
  ...   capacity: int = 1
  >>> list(sections()["doctest_store"])
  ['capacity']
  >>> _ = _sections.pop("doctest_store")
  """

  def declare(function: Callable) -> Callable:
    _sections[name] = dict(_options(function))
    return function

  return declare


def find(name: str) -> Declaration | None:
  """The declaration of that name, if there is one."""
  return _declared.get(name)


def of_function(function: Callable) -> Declaration | None:
  """The declaration of that function, if it has one."""
  return next((one for one in _declared.values() if one.make is function), None)


def declared(*kinds: Kind) -> dict[str, Declaration]:
  """The declarations of these kinds, or of all, by name, in the order of their declaration."""
  return {name: one for name, one in _declared.items() if one.kind in (kinds or KINDS)}


def sections() -> dict[str, dict[str, Option]]:
  """The options of all sections, by section and name."""
  return {name: dict(options) for name, options in _sections.items() if options}


def forget(name: str) -> None:
  """Takes a declaration back, for tests and notebooks; its section stays if others share it."""
  gone = _declared.pop(name)
  if all(one.section != gone.section for one in _declared.values()):
    _sections.pop(gone.section, None)


def _add(new: Declaration) -> None:
  old = _declared.get(new.name)
  if old is not None and _place(old.make) != _place(new.make):
    # Ours are loaded on first use, which may be after the user's: theirs must find another name.
    ours, other = sorted((_place(old.make), _place(new.make)), key=_is_foreign)
    raise RegisterError(
      f"{new.name!r} is registered already, by {ours}: choose another name for {other}"
    )
  if old is not None:  # a module that is loaded again
    forget(new.name)
  there = _sections.setdefault(new.section, {})
  owners = [one.name for one in _declared.values() if one.section == new.section]
  if there and not owners:
    raise RegisterError(
      f"section={new.section!r} of {new.name!r} is a shared section: choose another"
    )
  for option in new.options.values():
    known = there.get(option.name, option)
    if (known.default, known.type) != (option.default, option.type):
      raise RegisterError(
        f"{new.name}: {option.name}={option.default!r} differs from {known.default!r} of "
        f"{', '.join(owners)} in the section {new.section!r}: give it a section of its own"
      )
    there.setdefault(option.name, option)
  _declared[new.name] = new


def _read(
  function, name, kind, section, shares, traced, holds, family, needs_past, collections
) -> Declaration:
  if kind not in PROVIDED:
    raise RegisterError(f"kind={kind!r} of {name!r} is unknown{nearest(kind, PROVIDED)}")
  if shares is not None and shares not in _sections:
    raise RegisterError(f"shares={shares!r} of {name!r} is no section{nearest(shares, _sections)}")
  common = _sections[shares] if shares else {}
  own = parameters(function)
  provided = tuple(one for one in PROVIDED[kind] if one in own)
  options = dict(_options(function, without={*provided, *common}))
  there = common if collects_rest(function) else own
  shared = {one: shares for one in there if one in common}
  for what, named in (("traced", {*traced} - {*provided}), ("holds", {*holds})):
    if unknown := sorted(named - {*options}):
      raise RegisterError(
        f"{what}={unknown[0]!r} of {name!r} is no option{nearest(unknown[0], options)}"
      )
  options |= {one: options[one]._replace(names=kind) for one in holds}
  return Declaration(
    name=name,
    kind=kind,
    make=function,
    section=section,
    options=types.MappingProxyType(options),
    shared=types.MappingProxyType(shared),
    provided=provided,
    traced=frozenset(traced),
    family=family,
    needs_past=kind == "modifier" if needs_past is None else needs_past,
    collections=frozenset(collections),
    summary=summary(function),
  )


_OF_MODULES = ("self", "parent", "name")  # what Flax adds to the signature of every module


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
  """The parameters by name, without those that collect the rest.

  Raises:
    RegisterError: if the function has no signature that can be read.
  """
  try:
    found = inspect.signature(_constructor(function)).parameters
  except (TypeError, ValueError) as error:
    raise RegisterError(f"{_place(function)} has no signature that can be read") from error
  collect = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
  is_class = inspect.isclass(function)
  return {
    name: one
    for name, one in found.items()
    if one.kind not in collect and not (is_class and name in _OF_MODULES)
  }


def collects_rest(function: Callable) -> bool:
  """Whether the function takes keywords that its signature does not name."""
  found = inspect.signature(_constructor(function)).parameters.values()
  return any(one.kind == inspect.Parameter.VAR_KEYWORD for one in found)


def _constructor(function: Callable) -> Callable:
  """Of a class its `__init__`, which a metaclass may hide (that of Flax NNX does)."""
  own = inspect.isclass(function) and function.__init__ is not object.__init__
  return function.__init__ if own else function


def signature_options(function: Callable) -> dict[str, Option]:
  """The parameters of a function, or the fields of a class, that have a default.

  >>> list(signature_options(register_section)), signature_options(register)["shares"].default
  ([], None)
  """
  texts, hints = argument_texts(function), _hints(function)
  return {
    name: Option(name, hints.get(name, one.annotation), one.default, texts.get(name, ""))
    for name, one in parameters(function).items()
    if one.default is not UNKNOWN
  }


def _options(function: Callable, without=frozenset()) -> Iterator[tuple[str, Option]]:
  """Those of them that a command line can express."""
  options = signature_options(function)
  for name in parameters(function):
    if name in without:
      continue
    if name not in options:
      raise RegisterError(
        f"{_place(function)}: {name} has no default, and the library provides nothing of that "
        "name: give it a default"
      )
    if _is_text(options[name].type, options[name].default):
      yield name, options[name]


def _hints(function: Callable) -> dict[str, Any]:
  source = function.__init__ if inspect.isclass(function) else inspect.unwrap(function)
  source = source.func if isinstance(source, functools.partial) else source
  try:
    return typing.get_type_hints(source)
  except Exception:  # an annotation that cannot be evaluated here: the default tells the type
    return {}


_PLAIN = (bool, int, float, str, type(None), dict, Any, object)


def _is_text(annotation: Any, default: Any) -> bool:
  """Whether a command line can express the values: numbers, texts, choices, tuples of them."""
  if isinstance(default, tuple):
    return all(_is_text(None, item) for item in default)
  if default is None:
    return _is_plain(annotation)
  return isinstance(default, bool | int | float | str | dict)


def _is_plain(annotation: Any) -> bool:
  origin = typing.get_origin(annotation)
  if origin is None:
    return annotation in _PLAIN
  parts = [part for part in typing.get_args(annotation) if part is not Ellipsis]
  return origin is Literal or all(_is_plain(part) for part in parts)


def _with_name(function: Callable, name: str) -> Callable:
  """`function`, whose methods carry the name and the plain values that they were made with."""
  if inspect.isclass(function):
    return function

  @functools.wraps(function)
  def make(*args, **options):
    made = function(*args, **options)
    # Loads JAX, which whoever makes a method has loaded.
    from tagjax.core.chain import called_around
    from tagjax.core.method import Method

    if not isinstance(made, Method):
      return made
    given = _arguments(function, args, options)
    plain = {name: value for name, value in given.items() if isinstance(value, _PLAIN_VALUES)}
    made = made._replace(name=name, settings=types.MappingProxyType(plain))
    inner = given.get("inner")
    return called_around(made, inner) if isinstance(inner, Method) else made

  return make


_PLAIN_VALUES = (bool, int, float, str, tuple)


def _arguments(function: Callable, args: tuple, options: Mapping) -> Mapping[str, Any]:
  bound = inspect.signature(function).bind(*args, **options)
  bound.apply_defaults()
  return bound.arguments


def _is_foreign(place: str) -> bool:
  return not place.startswith("tagjax.")


def _place(function: Callable) -> str:
  function = inspect.unwrap(function)
  function = function.func if isinstance(function, functools.partial) else function
  return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"


def summary(function: Callable) -> str:
  """The first paragraph of the docstring in one line.

  >>> summary(summary)
  'The first paragraph of the docstring in one line.'
  """
  text = inspect.getdoc(inspect.unwrap(function)) or ""
  return " ".join(text.split("\n\n")[0].split())


def argument_texts(function: Callable) -> dict[str, str]:
  """What the docstring says of each argument (or attribute), in one line each.

  >>> sorted(argument_texts(register))[:2]
  ['collections', 'family']
  """
  text = inspect.getdoc(inspect.unwrap(function)) or ""
  found: dict[str, str] = {}
  for block in re.findall(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE):
    name, margin = "", block[: len(block) - len(block.lstrip(" \t"))]
    for line in block.splitlines():
      start = re.match(rf"{margin}(\*{{0,2}}\w+)(?: \([^)]*\))?: ?(.*)", line)
      if start:
        name = start[1].lstrip("*")
        found[name] = start[2].strip()
      elif name and line.strip():
        found[name] = f"{found[name]} {line.strip()}".strip()
  return found
