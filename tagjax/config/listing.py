"""What there is to choose from: `launch.py --list=...`, and docs/options.md."""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

from tagjax.benchmarks import load_benchmark
from tagjax.config.defaults import Choices, known_options
from tagjax.core import register
from tagjax.core.register import Declaration, Kind, Option
from tagjax.core.values import describe
from tagjax.training.options import RunOptions
from tagjax.transforms import optax_options

What = Literal["methods", "models", "benchmarks", "schedules", "options"]

_KINDS: dict[str, tuple[Kind, ...]] = {
  "methods": ("modifier", "optimizer"),
  "models": ("model",),
  "benchmarks": ("benchmark",),
  "schedules": ("schedule",),
}
_WIDTH = 120  # of the lines of a page


def listing(what: What) -> str:
  """A line for each name, or for each key of the config.

  >>> listing("models").splitlines()[0].split()[0]
  'alexnet'
  """
  known = known_options()  # imports the entry points too
  if what == "options":
    return _columns(
      {f"config.{key}": f"{_default(one)}  {_sentence(one.text)}" for key, one in known.items()}
    )
  parts = []
  for kind in _KINDS[what]:
    for of_optax, title in ((False, _TITLES.get(kind)), (True, f"of Optax, {kind}s")):
      found = [one for one in _declared(kind) if _is_optax(one) == of_optax]
      if found:
        lines = _columns({one.name: _sentence(one.summary) for one in found})
        parts.append(f"{title}:\n{lines}" if title else lines)
  return "\n\n".join(parts)


_TITLES = {
  "modifier": "before the optimizer, joined by +",
  "optimizer": "optimizers, one at the end",
}


def options_page() -> str:
  """docs/options.md: every key with its default, its range and its meaning."""
  known_options()
  parts = [_HEADING]
  for title, source in (
    ("What a run is made of", Choices),
    ("The stream", load_benchmark),
    ("The run", RunOptions),
  ):
    options = register.signature_options(source)
    own = {name: one for name, one in options.items() if name not in register.sections()}
    parts += [f"## {title}", _entries(own)]
  parts += ["## Sections that several parts share", *_shared()]
  for of_optax, title, kind in _CHAPTERS:
    found = [one for one in _declared(kind) if _is_ours(one) and _is_optax(one) == of_optax]
    parts += [f"## {title}", *_chapter(found)]
  return "\n\n".join(parts) + "\n"


_HEADING = """# Options

Every key of the config, with its default, the values it takes and its meaning. The page is made
from the signatures and docstrings that use the keys, by
`python -m tagjax.config.listing > docs/options.md`; do not edit it.

On the command line a key is `--config.KEY=VALUE`, in a config file `c.KEY = VALUE`. A run reads the
keys of its own method, model, schedule and benchmark only, and says so if another one is given.
`none` stands for None on the command line. Quote brackets for the shell, as in
`'--config.mlp.hidden=(100, 100)'`.

† marks numbers that can be inputs of the compiled programs: the points of a grid over them
([grids.md](grids.md)) are compiled once and trained together."""

_CHAPTERS: tuple[tuple[bool, str, Kind], ...] = (
  (False, "Methods", "modifier"),
  (False, "Optimizers", "optimizer"),
  (False, "Schedules", "schedule"),
  (False, "Models", "model"),
  (True, "Optimizers of Optax", "optimizer"),
  (True, "Schedules of Optax", "schedule"),
)


def _declared(kind: Kind) -> list[Declaration]:
  """By name; benchmarks in the order of their table."""
  found = list(register.declared(kind).values())
  return found if kind == "benchmark" else sorted(found, key=lambda one: one.name)


def _is_optax(declaration: Declaration) -> bool:
  """Whether the function and its texts are Optax's own."""
  return inspect.unwrap(declaration.make).__module__ == optax_options.__name__


def _is_ours(declaration: Declaration) -> bool:
  """Whether it comes with this package, and not from an entry point or a test."""
  return inspect.unwrap(declaration.make).__module__.startswith("tagjax.")


def _shared() -> Iterator[str]:
  """The sections that no declaration owns."""
  declared = register.declared(*register.KINDS).values()
  owned = {one.section for one in declared}
  for section, options in sorted(register.sections().items()):
    if section in owned:
      continue
    users = sorted(f"`{one.name}`" for one in declared if section in one.shared.values())
    yield f"### `{section}`"
    if users:
      yield _wrapped(f"Read by {', '.join(users)}.")
    yield _entries({f"{section}.{name}": one for name, one in options.items()})


def _chapter(declared: Iterable[Declaration]) -> Iterator[str]:
  """A paragraph for each section, and its keys."""
  sections: dict[str, list[Declaration]] = {}
  for one in declared:
    sections.setdefault(one.section, []).append(one)
  for section, members in sections.items():
    yield f"### {', '.join(f'`{one.name}`' for one in members)}"
    if len(members) == 1:
      yield _wrapped(_plain(members[0].summary))
    else:
      yield "\n".join(_wrapped(f"- `{one.name}`: {_plain(one.summary)}", "  ") for one in members)
    others = sorted({shared for one in members for shared in one.shared.values()})
    if others:
      yield f"It also reads {', '.join(f'`{name}.*`' for name in others)}."
    options = {f"{section}.{name}": one for each in members for name, one in each.options.items()}
    if options:
      yield _entries(options)


def _entries(options: dict[str, Option]) -> str:
  """A list entry for each key."""
  traced = {key for one in register.declared(*register.KINDS).values() for key in one.traced_keys()}
  lines = []
  for key, one in options.items():
    mark = " †" if key in traced else ""
    text = f": {_plain(one.text)}" if one.text else ""
    lines.append(_wrapped(f"- `{key}` = `{_default(one)}`{mark} ({_value(one)}){text}", "  "))
  return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> str:
  return textwrap.fill(
    text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
  )


def _plain(text: str) -> str:
  """Without the marks of Sphinx that Optax's texts have."""
  text = re.sub(r":\w+:`~?([^`<]+)(?: <[^>]*>)?`", r"`\1`", text)
  return " ".join(text.replace("``", "`").split())


def _sentence(text: str) -> str:
  """The first sentence.

  >>> _sentence("Adds noise, e.g. Gaussian. It is drawn anew.")
  'Adds noise, e.g. Gaussian.'
  """
  found = re.match(r"(.+?(?<!e\.g)(?<!i\.e)\.)\s+[A-Z`\"]", _plain(text))
  return found[1] if found else _plain(text)


def _default(option: Option) -> str:
  return str(option.default) if option.default != "" else "''"


def _value(option: Option) -> str:
  if option.names:
    return f"the name of a {option.names}"
  if option.type is register.UNKNOWN or get_args(option.type) == ():
    return describe(type(option.default) if option.default is not None else option.type)
  return describe(option.type)


def _columns(rows: dict[str, str]) -> str:
  width = max(map(len, rows), default=0)
  return "\n".join(f"{name.ljust(width)}  {text}".rstrip() for name, text in rows.items())


if __name__ == "__main__":
  print(options_page(), end="")
