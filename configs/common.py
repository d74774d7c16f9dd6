"""What the config files share: a method's tuned values by name, and grids to tune by."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from tagjax.config.defaults import flat_items
from tagjax.core.errors import ConfigError, nearest

LOCAL: Mapping[str, Any] = MappingProxyType(
  {"epochs": 1, "train_examples_per_task": 300, "test_examples_per_task": 100}
)
"""What `,runlocal` sets, where a stream's file says nothing else."""

FEW_STEPS: Mapping[str, Any] = MappingProxyType(
  {
    "epochs": 1,
    "end_task": 2,
    "train_examples_per_task": 40,
    "test_examples_per_task": 20,
    "batch_size": 10,  # a larger one would be computed in full, whatever is in it
    "memory.batch_size": 10,
  }
)
"""The same where large images or a wide network make a step slow."""


def choose(
  config: ConfigDict,
  tuned: Mapping[str, Mapping[str, Any]],
  argument: str,
  local: Mapping[str, Any] = LOCAL,
) -> ConfigDict:
  """Sets `config.method` and its tuned values.

  Args:
    config: the stream's config.
    tuned: `{method: {key: value}}`; keys may have dots. A name that is no method gives one.
    argument: what followed the colon: a method, and `,runlocal` to shrink the experiment to
      something small that shows that everything works.
    local: `{key: value}`, what shrinks it.

  Returns:
    The same config.

  Raises:
    ConfigError: if the method has no tuned values here.
  """
  method, *options = argument.split(",")
  if method not in tuned:
    raise ConfigError(
      f"no tuned values for method {method!r}{nearest(method, tuned)}: there are "
      f"{', '.join(tuned)}. "
      "For another, keep one of these and set --config.method and --config.learning_rate"
    )
  config.method = method
  config.update_from_flattened_dict(tuned[method])
  for option in options:
    if option != "runlocal":
      raise ConfigError(f"unknown option {option!r} after the method: there is runlocal")
    config.update_from_flattened_dict(local)
  return config


def compositions(
  optimizers: Mapping[str, Mapping[str, Any]], modifiers: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
  """Every modifier before every optimizer, with the values of both.

  Args:
    optimizers: `{optimizer: {key: value}}`; before "sgd" a modifier goes by its own name.
    modifiers: `{modifier: {key: value}}`.

  >>> compositions({"sgd": {"learning_rate": 0.1}, "tag": {"tag.b": 3.0}}, {"er": {"epochs": 2}})
  {'er': {'learning_rate': 0.1, 'epochs': 2}, 'er+tag': {'tag.b': 3.0, 'epochs': 2}}
  """
  return {
    modifier if optimizer == "sgd" else f"{modifier}+{optimizer}": {**tuned, **extra}
    for optimizer, tuned in optimizers.items()
    for modifier, extra in modifiers.items()
  }


RATES = (0.1, 0.05, 0.01, 0.001)
TAG_RATES = (5e-3, 1e-3, 5e-4, 1e-4, 5e-5, 1e-5)
GRIDS = {
  "tag": {"learning_rate": TAG_RATES, "tag.b": (1.0, 3.0, 5.0, 7.0)},
  "stable_sgd": {
    "MODEL.dropout": (0.0, 0.1, 0.25, 0.5),
    "learning_rate": (0.1, 0.05, 0.01),
    "stable_sgd.decay": (0.9, 0.8, 0.7),
  },
  "ewc": {"ewc.strength": (1.0, 10.0, 100.0)},
}
"""The TAG paper's grids; MODEL stands for the config's model."""


def add_grid(config: ConfigDict) -> ConfigDict:
  """Sets `config.sweep` to the TAG paper's grid for the config's method.

  The values that the config had are added to the grid where they are not in it: several that the
  authors chose are not in the grids that they printed. As they did, a tenth of each task's training
  examples chooses, averaged over five seeds.

  Returns:
    The same config.
  """
  grid = {"learning_rate": RATES}
  for name in config.method.split("+"):
    grid |= GRIDS.get("tag" if name.startswith("tag") else name, {})
  grid = {key.replace("MODEL", config.model): values for key, values in grid.items()}
  flat = flat_items(config)
  config.sweep = {key: sorted({*values, flat[key]}) for key, values in grid.items()}
  config.validation_fraction = 0.1
  config.seeds = 5
  return config


AGEM_RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
AGEM_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""All values of the grids of A-GEM's scripts."""

_STRENGTHS = {
  **dict.fromkeys(("ewc", "mas", "rwalk"), AGEM_STRENGTHS),
  "si": AGEM_STRENGTHS[:3],
}
_ITS_RATES = {"tag": (0.003, 0.001, 0.0003, 0.0001, 0.00003, 0.00001)}

LOCAL_PROTOCOL: Mapping[str, Any] = MappingProxyType(
  {
    **FEW_STEPS,
    "end_task": 3,
    "tuning.tasks": 1,
    "seeds": 2,
    "validation_fraction": 0.5,
  }
)
"""What `,runlocal` sets where hyperparameters are chosen first: one task chooses, two judge."""


def agem_tuned(
  chosen: Mapping[str, float | tuple[float, float]], memory: tuple[int, int], update_every: int = 50
) -> dict[str, dict[str, Any]]:
  """The methods of A-GEM's tables as its repository has them, with what its authors chose.

  Args:
    chosen: `{method: learning rate}`, or `{method: (learning rate, strength)}`.
    memory: exemplars of each class of each task, and exemplars a step.
    update_every: steps between two refreshes of the Fisher information.

  Returns:
    `{method: {key: value}}`. Methods that use a memory have that of A-GEM.
  """
  capacity, batch_size = memory
  of_memory = {"memory.capacity": capacity, "memory.batch_size": batch_size}
  options: dict[str, dict[str, Any]] = {
    "ewc": {"ewc.variant": "agem", "ewc.update_every": update_every},
    "mas": {"mas.legacy": True},
    "rwalk": {"rwalk.update_every": update_every},
    "er": {"memory.capacity": capacity},
    "gem": {"memory.capacity": capacity},
    "agem": {**of_memory, "agem.fill": "end"},
  }
  tuned = {}
  for name, value in chosen.items():
    rate, *strength = value if isinstance(value, tuple) else (value,)
    tuned[name] = {"learning_rate": rate}
    for member in name.split("+"):
      tuned[name] |= options.get(member, {})
    if strength:
      tuned[name][f"{name}.strength"] = strength[0]
  return tuned


def joint(learning_rate: float) -> dict[str, dict[str, Any]]:
  """`joint`: all tasks at once, what A-GEM's tables call multitask."""
  values = {"method": "sgd", "protocol": "joint", "learning_rate": learning_rate}
  return {"joint": {**values, "learning_curve_batches": None}}


def with_attributes(
  tuned: Mapping[str, Mapping[str, Any]], features: str
) -> dict[str, dict[str, Any]]:
  """`je_METHOD` for each method: the same over the joint embedding of a network of features."""
  model = {"model": "joint_embedding", "joint_embedding.features": features}
  return {f"je_{name}": {"method": name, **model, **values} for name, values in tuned.items()}


def agem_protocol(
  config: ConfigDict,
  tuned: Mapping[str, Mapping[str, Any]],
  argument: str,
  local: Mapping[str, Any] = LOCAL_PROTOCOL,
) -> ConfigDict:
  """Sets a method, the grid that its hyperparameters are chosen from, and A-GEM's protocol.

  The first 3 tasks choose, on a tenth of their training examples; the others are judged, by 5 runs.

  Args:
    config: the stream's config.
    tuned: see `choose`.
    argument: see `choose`; also `,chosen`: the grid is what the authors chose alone.
    local: see `choose`.

  Returns:
    The same config.
  """
  config.tuning.tasks = 3
  config.validation_fraction = 0.1
  config.learning_curve_batches = 10
  config.seeds = 5
  name, *options = argument.split(",")
  config = choose(config, tuned, ",".join([name, *(o for o in options if o != "chosen")]), local)
  flat = flat_items(config)
  grid = {"learning_rate": AGEM_RATES}
  for member in config.method.split("+"):
    if member in _ITS_RATES:
      grid["learning_rate"] = _ITS_RATES[member]
    if member in _STRENGTHS:
      grid[f"{member}.strength"] = _STRENGTHS[member]
  own = {key: flat[key] for key in grid}
  if "chosen" in options:
    grid = dict.fromkeys(own, ())
  elif "runlocal" in options:
    grid = {"learning_rate": (own["learning_rate"] / 10,)}
  config.sweep = {key: sorted({*values, own[key]}) for key, values in grid.items()}
  return config
