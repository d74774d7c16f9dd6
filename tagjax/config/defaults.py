"""Every setting of a run with its default, read from the signatures that use it."""

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict, config_dict

from tagjax.config import index
from tagjax.core import register
from tagjax.core.register import Kind, Option


@dataclasses.dataclass(frozen=True)
class Choices:
  """What a config names; each name brings a section of options with it.

  Attributes:
    benchmark: the stream of tasks: a name that `launch.py --list=benchmarks` prints, or
      `module:function` of your own.
    first_task: the first task of the stream that is used, counted from 0.
    end_task: one past the last task that is used, at least 1; None: to the end of the stream.
    model: a name that `--list=models` prints, or `module:Class` of your own.
    pretrained: file of torchvision's weights to start from, for models such as `resnet18` and
      `alexnet`; None: all parameters start at random.
    compute_dtype: dtype of matrix products and convolutions; `"bfloat16"` is mixed precision, for
      accelerators that are faster with it.
    method: names that `--list=methods` prints, or `module:function` of your own, joined by `+`. The
      gradient passes through them from left to right. The last is an optimizer; `sgd` is added if
      none is named.
    learning_rate: the optimizer's learning rate, positive and finite.
    fresh_optimizer: whether the optimizer's state starts anew for each task.
    schedule: learning-rate schedule, a name that `--list=schedules` prints, or several joined by
      `+`, whose factors are multiplied (`step+by_task`); None: the rate is constant.
    schedule_over: whether the schedule runs once over the whole `"stream"`, or starts anew in each
      `"task"`.
    freeze: parameters that keep their initial values: patterns such as `("conv*/kernel",)`, matched
      with their names.
    sweep: a grid: keys and their values, such as `{"learning_rate": [0.1, 0.01], "tag.b": [3]}`.
      Every point is trained with every seed; validation examples choose the best.
    sweep_tasks: how many tasks, the first ones, the grid or search is trained on, at least 1; None:
      all.
    search: a search by Optuna: keys with a range or a list of choices, such as `{"learning_rate":
      "1e-4..1e-1,log", "tag.b": "1..7", "batch_size": [10, 20]}`. On the command line also
      `--config.search.KEY=RANGE`. Validation examples choose the best of `study.trials` points.
  """

  benchmark: str = "permuted_digits"
  first_task: int = 0
  end_task: int | None = None
  model: str = "mlp"
  pretrained: str | None = None
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  method: str = "tag"
  learning_rate: float = 0.001
  fresh_optimizer: bool = False
  schedule: str | None = None
  schedule_over: Literal["task", "stream"] = "task"
  freeze: tuple[str, ...] = ()
  sweep: Any = None
  sweep_tasks: int | None = None
  search: Any = None


def known_options() -> dict[str, Option]:
  """The options of a run by their keys in the config, such as `ewc.strength`."""
  return _known().options


def known_names(*kinds: Kind) -> list[str]:
  """The names of all declarations of these kinds."""
  if register.declared():
    return list(register.declared(*kinds))
  return [name for kind in kinds for name in _known().names[kind]]


def _known() -> index.Known:
  """What is declared, from an earlier start if nothing has been imported yet that declares."""
  return _declared() if register.declared() else index.kept(_declared)


def _declared() -> index.Known:
  """What is declared, by importing what declares."""
  from tagjax.config import ours

  ours.load_entry_points()
  sections = register.sections()
  known = {name: option for name, option in _outside_sections().items() if name not in sections}
  for section, options in sorted(sections.items()):  # imports come in any order
    known |= {f"{section}.{name}": option for name, option in options.items()}
  return index.Known(known, {kind: tuple(register.declared(kind)) for kind in register.KINDS})


@functools.cache  # signatures stay as they are, and reading them takes ten milliseconds
def _outside_sections() -> dict[str, Option]:
  """The options of the run itself, and of its stream, and the names of its sections among them."""
  from tagjax.benchmarks import load_benchmark
  from tagjax.training.options import RunOptions

  found: dict[str, Option] = {}
  for source in (Choices, load_benchmark, RunOptions):
    found |= register.signature_options(source)
  return found


def base_config() -> ConfigDict:
  """The base of every config file: all keys with their defaults (docs/options.md)."""
  config = ConfigDict()
  for key, option in known_options().items():
    section, _, name = key.rpartition(".")
    if section and section not in config:
      config[section] = ConfigDict()
    (config[section] if section else config)[name] = _field(option)
  return config


_SCALARS = (bool, int, float, str)


def _field(option: Option) -> Any:
  """A default from which ml_collections can tell what may take its place."""
  default, kind = option.default, option.type
  if default is None:
    return config_dict.placeholder(object)
  if kind is float:
    return float(default)
  if isinstance(default, _SCALARS) and kind in (type(default), register.UNKNOWN):
    return default
  if typing.get_origin(kind) is Literal:
    return default
  # Of other types, such as `int | None`, `tagjax.core.values.coerce` reads what the flag says.
  return config_dict.FieldReference(default, field_type=object)


def flat_items(config: ConfigDict) -> dict[str, Any]:
  """The values by keys with dots; a grid is one value.

  >>> flat_items(ConfigDict({"ewc": {"strength": 2.0}, "seeds": 3}))
  {'ewc.strength': 2.0, 'seeds': 3}
  """
  flat: dict[str, Any] = {}
  for name, value in config.items():
    nested = isinstance(value, ConfigDict) and name not in ("sweep", "search")
    flat |= {f"{name}.{inner}": value[inner] for inner in value} if nested else {name: value}
  return flat


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
  """Values by keys with dots, as nested JSON objects.

  >>> nested({"ewc.strength": 2.0, "seeds": 3, "mlp.hidden": (8,)})
  {'ewc': {'strength': 2.0}, 'seeds': 3, 'mlp': {'hidden': [8]}}
  """
  result: dict[str, Any] = {}
  for key, value in values.items():
    section, _, name = key.rpartition(".")
    (result.setdefault(section, {}) if section else result)[name] = value
  return json.loads(json.dumps(result))
