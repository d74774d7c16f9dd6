"""What there is to choose from: `launch.py --list=...`, and docs/options.md."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

from tagjax.benchmarks import load_benchmark
from tagjax.config.defaults import Choices, known_options
from tagjax.core import register
from tagjax.core.register import KINDS, Declaration, Kind, Option
from tagjax.core.values import describe
from tagjax.training.options import RunOptions

What = Literal["methods", "models", "benchmarks", "schedules", "options"]

_KINDS: dict[str, tuple[Kind, ...]] = {
  "methods": ("modifier", "optimizer"),
  "models": ("model",),
  "benchmarks": ("benchmark",),
  "schedules": ("schedule",),
}


def listing(what: What) -> str:
  """A line for each name, or for each key of the config.

  >>> listing("models").splitlines()[0].split()[0]
  'resnet_s'
  """
  known_options()  # entry points too
  if what == "options":
    lines = {key: f"{_default(one)}  {one.text}" for key, one in known_options().items()}
    return _columns({f"config.{key}": text for key, text in lines.items()})
  found = register.declared(*_KINDS[what])
  if what != "methods":
    return _columns({name: one.summary for name, one in found.items()})
  parts = []
  for kind, title in (("modifier", "before the optimizer"), ("optimizer", "optimizers, the last")):
    own = {name: one.summary for name, one in found.items() if one.kind == kind}
    parts.append(f"{title}:\n{_columns(own)}")
  return "\n\n".join(parts)


def options_page() -> str:
  """docs/options.md: every key with its default, its range and its meaning."""
  lines = [
    "# Options",
    "",
    "Every key of the config, made from the signatures and docstrings that use it by",
    "`python -m tagjax.config.listing > docs/options.md`. On the command line a key is",
    "`--config.KEY=VALUE`; `python launch.py --list=options` prints the same.",
    "",
  ]
  for title, source in (
    ("What a run is made of", Choices),
    ("The stream", load_benchmark),
    ("The run", RunOptions),
  ):
    found = register.signature_options(source)
    own = {name: one for name, one in found.items() if name not in register.sections()}
    lines += [f"## {title}", "", *_table(own), ""]
  for section, options in register.sections().items():
    users = [one for one in _all() if section in {one.section, *one.shared.values()}]
    names = ", ".join(f"`{one.name}`" for one in users)
    lines += [f"## `{section}`", ""]
    if names:
      lines += [f"Read by {names}.", ""]
    lines += [*_table({f"{section}.{name}": one for name, one in options.items()}), ""]
  return "\n".join(lines)


def _all() -> list[Declaration]:
  return list(register.declared(*KINDS).values())


def _table(options: dict[str, Option]) -> Iterator[str]:
  yield "| key | default | value | meaning |"
  yield "|---|---|---|---|"
  for key, one in options.items():
    text = one.text.replace("|", "\\|")
    yield f"| `{key}` | `{_default(one)}` | {_value(one)} | {text} |"


def _default(option: Option) -> Any:
  return option.default if option.default != "" else "''"


def _value(option: Option) -> str:
  if option.type is register.UNKNOWN or get_args(option.type) == ():
    kind = type(option.default) if option.default is not None else option.type
    return describe(kind)
  return describe(option.type).replace("|", "\\|")


def _columns(rows: dict[str, str]) -> str:
  width = max(map(len, rows), default=0)
  return "\n".join(f"{name.ljust(width)}  {text}".rstrip() for name, text in rows.items())


if __name__ == "__main__":
  print(options_page(), end="")
