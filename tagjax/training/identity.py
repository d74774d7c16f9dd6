"""What names a run of objects: in its folder, in its results, beside other runs."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tagjax.core import register
from tagjax.core.method import Method
from tagjax.training.options import RunOptions

_PLAIN = (bool, int, float, str, type(None))


def describe_run(
  stream: Any, model: Any, method: Any, options: RunOptions, hyper: Mapping[str, float] | None
) -> dict[str, Any]:
  """Options, names and plain settings of a run's objects, as JSON values.

  What is inside a function or an Optax transformation cannot be seen: runs that differ there only
  need folders of their own.
  """
  spec = stream.spec
  described = {
    "benchmark": stream.name,
    "scenario": spec.scenario,
    "num_tasks": spec.num_tasks,
    **_of_model(model),
    **_of_method(method),
    **dataclasses.asdict(options),
    "augmentation": options.augmentation._asdict(),
    **dict(hyper or {}),
  }
  return json.loads(json.dumps(described))


def flat_keys(identity: Mapping[str, Any]) -> list[str]:
  """The keys of an identity with dots.

  >>> flat_keys({"seeds": 3, "ewc": {"strength": 1.0}})
  ['seeds', 'ewc.strength']
  """
  keys = []
  for name, value in identity.items():
    keys += [f"{name}.{inner}" for inner in value] if isinstance(value, Mapping) else [name]
  return keys


def _of_model(model: Any) -> dict[str, Any]:
  make = getattr(model, "func", model)  # a partial of an NNX class
  cls = make if isinstance(make, type) else type(make)
  declared = register.of_function(cls)
  name = declared.name if declared else cls.__name__
  if dataclasses.is_dataclass(model) and not isinstance(model, type):
    fields = {
      field.name: getattr(model, field.name)
      for field in dataclasses.fields(model)
      if field.name not in ("parent", "name")
    }
  else:
    fields = dict(getattr(model, "keywords", {}))
  held = {key: _of_model(value) for key, value in fields.items() if _is_module(value)}
  plain = _plain(fields) | {key: one["model"] for key, one in held.items()}
  sections = {key: value for one in held.values() for key, value in one.items() if key != "model"}
  return {"model": name, **sections, name: plain}


def _is_module(value: Any) -> bool:
  """Whether a field is a model of its own: what a Flax module holds."""
  return dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "apply")


def _of_method(method: Any) -> dict[str, Any]:
  """The name is empty where there is none: reports then call the run by its folder."""
  if isinstance(method, Method):
    return {"method": method.name, **{k: _plain(v) for k, v in _sections(method)}}
  name = getattr(method, "__name__", "")
  return {"method": "" if name == "<lambda>" else name}


def _sections(method: Method) -> list[tuple[str, Mapping[str, Any]]]:
  """The settings of each member; those of a chain are by name of the member, see `chain`."""
  if any(isinstance(value, Mapping) for value in method.settings.values()):
    return list(method.settings.items())
  members = method.name.split("+")
  if len(members) == 1:
    return [(method.name, method.settings)] if method.name else []
  return [(name, method.settings[name]) for name in members if name in method.settings]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
  return {
    key: list(value) if isinstance(value, tuple) else value
    for key, value in values.items()
    if isinstance(value, _PLAIN) or _is_plain_tuple(value)
  }


def _is_plain_tuple(value: Any) -> bool:
  return isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value)
