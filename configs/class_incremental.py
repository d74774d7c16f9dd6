"""What the config files of class-incremental streams share: iTAML's values, and its yardsticks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from configs.common import FEW_STEPS

CONTINUUM = (1, 2, 5, 10, 20, 50, 100)
"""The lengths p of the continuum by which iTAML's paper and code report."""

TAG: Mapping[str, Any] = MappingProxyType({"learning_rate": 0.0005, "tag.b": 5.0})
"""Those of TAG, where it takes the place of the optimizer; not tuned."""

RANDOM_CHANGES: Mapping[str, Any] = MappingProxyType(
  {"augmentation.crop": 4, "augmentation.flip": True, "augmentation.rotation": 10.0}
)
"""What iTAML does to training images in colour."""

OF_PHOTOGRAPHS: Mapping[str, Any] = MappingProxyType(
  {"augmentation.resized_crop": 0.08, "augmentation.flip": True, "augmentation.rotation": 10.0}
)
"""What it does to photographs."""

LOCAL_CLASSES: Mapping[str, Any] = MappingProxyType(
  {
    "epochs": 1,
    "train_examples_per_task": 200,
    "test_examples_per_task": 100,
    "memory.capacity": 100,
  }
)
"""What `,runlocal` sets of class-incremental runs of a small network."""

FEW_STEPS_OF_CLASSES: Mapping[str, Any] = MappingProxyType(
  {
    **FEW_STEPS,
    "test_examples_per_task": 100,  # the longest run of the continuum
    "memory.capacity": 40,
  }
)
"""The same where a step is slow; the streams have at most 20 classes in two tasks."""


def class_incremental(
  optimizer: str,
  values: Mapping[str, Any],
  tag: Mapping[str, Any],
  others: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
  """The method iTAML and what it is compared with, each before an optimizer.

  Args:
    optimizer: the end of each chain, such as `"weight_decay+sgd"`.
    values: `{key: value}` of the optimizer.
    tag: `{key: value}` of TAG, where it takes the place of the optimizer.
    others: `{key: value}` of the optimizer of what iTAML is compared with; None: `values`.

  Returns:
    `{name: {key: value}}`. `sgd` is the naive learner and `joint` the upper bound, both with this
    optimizer, whatever it is.
  """
  yardsticks = ("er", "er_ace", "derpp", "lwf", "icarl", "bic")
  others = values if others is None else others
  return {
    "itaml": {"method": f"itaml+{optimizer}", **values},
    "itaml+tag": {**tag},
    "sgd": {"method": optimizer, **others},
    **{name: {"method": f"{name}+{optimizer}", **others} for name in yardsticks},
    "gdumb": {"method": "gdumb", "epochs": 1, "schedule": None},  # the stream teaches it nothing
    "joint": {"method": optimizer, "protocol": "joint", **others},
  }


def of_radam() -> dict[str, dict[str, Any]]:
  """`class_incremental` with RAdam at the rate of iTAML's script."""
  return class_incremental("radam", {"learning_rate": 0.01}, TAG)


def in_drops(
  config: ConfigDict, epochs: int | tuple[int, ...], at: tuple[int, ...], factor: float = 0.2
) -> None:
  """So many epochs a session, and a rate that is multiplied by the factor before some of them."""
  config.epochs = epochs
  config.schedule = "step"
  config.step.at = at
  config.step.factor = factor


def continuum(config: ConfigDict, lengths: tuple[int, ...] = CONTINUUM, p: int = 20) -> None:
  """The scenario, memory and test of iTAML: 2000 exemplars in all, runs of p images at test."""
  config.scenario = "class"
  config.memory.capacity = 2000
  config.memory.per = "total"
  config.memory.batch_size = config.batch_size  # what ER, ER-ACE and DER++ replay
  config.continuum = p
  config.continuum_lengths = lengths
  config.confusion_matrix = True
