"""How a run trains, evaluates and keeps: all that it needs besides stream, model and method."""

import dataclasses
import math
from typing import Literal, get_args

from tagjax.core.errors import ConfigError, nearest
from tagjax.input_pipeline.augmentation import Augmentation
from tagjax.input_pipeline.normalization import NORMALIZATIONS
from tagjax.metrics.matrix import DEFINITIONS, Definition

Protocol = Literal["sequential", "multitask", "joint", "independent"]
SeedAxis = Literal["auto", "vmap", "loop", "devices"]
Part = Literal["test", "validation"]
Chosen = Literal["last", "best"]
_AS_STORED = Augmentation()


@dataclasses.dataclass(frozen=True)
class RunOptions:
  """The options of a run.

  Attributes:
    epochs: passes over each task, at least 1; or one number for each task, such as
      `(5, 20, 20, 20, 20)`. The protocol `"joint"` takes the last one.
    select_epoch: the epoch whose weights a task ends with. `"best"`: after each epoch the model is
      tested on the validation examples of all tasks seen, as the scenario has it; the weights of
      the first epoch with the best average accuracy are put back before the task is consolidated.
    batch_size: examples of a training step, over all devices; a multiple of `data_parallel`.
    drop_last: whether the last, smaller batch of each epoch is left out.
    protocol: `"sequential"`: one task after another. Upper and lower bounds: `"multitask"`: all
      tasks in order, `cycles` times; `"joint"`: the examples of all tasks together;
      `"independent"`: a new network for each task.
    cycles: rounds through all tasks for `protocol="multitask"`, at least 1.
    normalization: how stored pixels become the model's input: `"unit"` [0, 1], `"signed"` [-1, 1],
      or another key of `tagjax.input_pipeline.normalization.NORMALIZATIONS`.
    augmentation: random changes of training images.
    data_parallel: devices, of all processes, that share each batch; at least 1.
    shard_state: whether these devices also share the state of an optimizer that can do so (TAG).
    seeds: number of runs of the whole stream, with the seeds `seed`, `seed + 1`, ...; at least 1.
    seed: seed of initial values, of the order of examples and of dropout; at least 0.
    seed_axis: how seeds are trained: together on one device under `vmap` (`"vmap"`), each to its
      end before the next (`"loop"`), or each device its own (`"devices"`), side by side on an
      accelerator and in turn on a CPU, of which each core is a device. `"auto"`: on all devices,
      unless they share each batch; in turn on a CPU, side by side on an accelerator.
    seeds_together: the most seeds that are trained together, at least 1; None: as many as fit into
      memory.
    evaluate_on: the examples to evaluate on; choose hyperparameters on `"validation"`.
    eval_batch_size: the most examples of an evaluation pass, at least 1.
    evaluate_future_tasks: whether tasks that have not begun are evaluated too, which forward
      transfer needs.
    learning_curve_batches: number b: each task is evaluated before each of its first b batches; at
      least 0, and 0 records no learning curve.
    forgetting: definition of forgetting, see `tagjax.metrics.forgetting`.
    checkpoint_every: steps between checkpoints within a task, at least 0; a checkpoint is always
      written at the end of a task, and 0 writes no others.
    keep_checkpoints: number of the newest checkpoints that are kept, at least 1.
    chunk_steps: the most steps of one compiled call, between two lines of the log; at least 1.
    plots: whether the plots of the run are written into its folder.

  Raises:
    ConfigError: if an option is out of range; one line with its name, its value and what it must
      be.
  """

  epochs: int | tuple[int, ...] = 1
  select_epoch: Chosen = "last"
  batch_size: int = 10
  drop_last: bool = False
  protocol: Protocol = "sequential"
  cycles: int = 6
  normalization: str = "unit"
  augmentation: Augmentation = _AS_STORED
  data_parallel: int = 1
  shard_state: bool = False
  seeds: int = 1
  seed: int = 1
  seed_axis: SeedAxis = "auto"
  seeds_together: int | None = None
  evaluate_on: Part = "test"
  eval_batch_size: int = 256
  evaluate_future_tasks: bool = False
  learning_curve_batches: int = 0
  forgetting: Definition = "agem"
  checkpoint_every: int = 1000
  keep_checkpoints: int = 2
  chunk_steps: int = 100
  plots: bool = True

  def __post_init__(self):
    _check_epochs(self.epochs)
    for name, least in _LEAST.items():
      value = getattr(self, name)
      if value is None and name == "seeds_together":
        continue
      if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}={value!r}: must be a whole number")
      if value < least:
        raise ConfigError(f"{name}={value!r}: must be at least {least}")
    for name, choices in _CHOICES.items():
      _check_choice(name, getattr(self, name), choices)
    _check_choice("normalization", self.normalization, NORMALIZATIONS)
    _check_augmentation(self.augmentation)
    self._check_devices()
    if self.protocol == "joint" and self.learning_curve_batches:
      raise ConfigError("protocol='joint': learns no task by itself; no learning_curve_batches")

  def _check_devices(self) -> None:
    if self.seed_axis == "devices" and self.data_parallel > 1:
      raise ConfigError(
        f"seed_axis='devices' leaves no devices to data_parallel={self.data_parallel}: choose one "
        "of the two"
      )
    if self.batch_size % self.data_parallel:
      raise ConfigError(
        f"batch_size={self.batch_size} cannot be shared by data_parallel={self.data_parallel} "
        "devices: choose a multiple of it"
      )
    if self.shard_state and self.data_parallel == 1:
      raise ConfigError(
        "shard_state=True: one device alone holds the state; set data_parallel as well"
      )


def epochs_by_task(epochs: int | tuple[int, ...], num_tasks: int) -> tuple[int, ...]:
  """The epochs of each task.

  Raises:
    ConfigError: if there is not a number for each task.

  >>> epochs_by_task(3, num_tasks=2), epochs_by_task((5, 20), num_tasks=2)
  ((3, 3), (5, 20))
  """
  if isinstance(epochs, int):
    return (epochs,) * num_tasks
  if len(epochs) != num_tasks:
    raise ConfigError(
      f"epochs={epochs!r}: has {len(epochs)} numbers for {num_tasks} tasks: give one number, or "
      "one for each task"
    )
  return epochs


_LEAST = {
  "batch_size": 1,
  "cycles": 1,
  "data_parallel": 1,
  "seeds": 1,
  "seed": 0,
  "seeds_together": 1,
  "eval_batch_size": 1,
  "learning_curve_batches": 0,
  "checkpoint_every": 0,
  "keep_checkpoints": 1,
  "chunk_steps": 1,
}
"""The least value of each whole number; beside the class, since a dataclass has no ranges."""

_CHOICES = {
  "select_epoch": get_args(Chosen),
  "protocol": get_args(Protocol),
  "seed_axis": get_args(SeedAxis),
  "evaluate_on": get_args(Part),
  "forgetting": DEFINITIONS,
}


def _check_epochs(epochs: object) -> None:
  numbers = epochs if isinstance(epochs, tuple) and epochs else (epochs,)
  for number in numbers:
    if isinstance(number, bool) or not isinstance(number, int):
      raise ConfigError(f"epochs={epochs!r}: must be a whole number, or one for each task")
    if number < 1:
      raise ConfigError(f"epochs={epochs!r}: must be at least 1")


def _check_choice(name: str, value: object, choices) -> None:
  if value not in choices:
    raise ConfigError(
      f"{name}={value!r} is unknown{nearest(value, choices)}. There are: {', '.join(choices)}"
    )


def _check_augmentation(augmentation: Augmentation) -> None:
  if not isinstance(augmentation, Augmentation):
    raise ConfigError(
      f"augmentation={augmentation!r}: must be a tagjax.input_pipeline.augmentation.Augmentation"
    )
  if augmentation.crop < 0:
    raise ConfigError(f"augmentation.crop={augmentation.crop!r}: must be at least 0")
  if not (0 <= augmentation.rotation <= 180 and math.isfinite(augmentation.rotation)):
    raise ConfigError(
      f"augmentation.rotation={augmentation.rotation!r}: must be in degrees, 0 to 180"
    )
  if not 0 <= augmentation.colour <= 1:
    raise ConfigError(f"augmentation.colour={augmentation.colour!r}: must be in [0, 1]")
