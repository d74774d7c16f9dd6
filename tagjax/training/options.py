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
    visit_order: the tasks in the order of the stays at them, for tasks that come again as the same
      tasks: a sequence or a text such as `"0-4, 0-9"`. In the scenario `"task"`, with the protocol
      `"sequential"` and methods that protect no past. The row of a task in the accuracy matrix is
      that after its last stay. None: each task once.
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
    continuum: p of the accuracy matrix: test images arrive in runs of p images of one task, and a
      method may look at the whole run; at least 1, where nothing is promised.
    continuum_lengths: further p that each evaluation of all tasks measures, such as
      `(1, 2, 5, 10, 20, 50, 100)`, all in one pass; each at least 1.
    top_k: k of the top-k accuracy, at least 1; 1 records none.
    confusion_matrix: whether the confusion matrix of the final model is recorded.
    class_average: whether the accuracy of a task is the mean of its classes' accuracies, as A-GEM
      reports on AWA2, and not that of its examples.
    evaluate_future_tasks: whether tasks that have not begun are evaluated too, which forward
      transfer needs.
    learning_curve_batches: number b, at least 0: each task is evaluated before its first batch,
      which gives the zero-shot accuracy, and after each of its first b batches. None: no learning
      curve is recorded.
    peak_accuracy: whether peak accuracies are recorded. After each epoch the validation examples of
      all tasks seen are tested, as the method predicts; where those of the task being learned give
      more than in each epoch before, its test examples are tested too. Chooses nothing.
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
  visit_order: str | tuple[int, ...] | None = None
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
  continuum: int = 1
  continuum_lengths: tuple[int, ...] = ()
  top_k: int = 1
  confusion_matrix: bool = False
  class_average: bool = False
  evaluate_future_tasks: bool = False
  learning_curve_batches: int | None = None
  peak_accuracy: bool = False
  forgetting: Definition = "agem"
  checkpoint_every: int = 1000
  keep_checkpoints: int = 2
  chunk_steps: int = 100
  plots: bool = True

  def __post_init__(self):
    for number in self.epochs if isinstance(self.epochs, tuple) and self.epochs else [self.epochs]:
      _check_range("epochs", self.epochs, number, 1, 10**6)
    for name, (least, largest) in _RANGES.items():
      value = getattr(self, name)
      if value is None and name in ("seeds_together", "learning_curve_batches"):
        continue
      _check_range(name, value, value, least, largest)
    for length in self.continuum_lengths:
      _check_range("continuum_lengths", self.continuum_lengths, length, *_RANGES["continuum"])
    for name, choices in _CHOICES.items():
      _check_choice(name, getattr(self, name), choices)
    _check_choice("normalization", self.normalization, NORMALIZATIONS)
    _check_augmentation(self.augmentation)
    self._check_devices()
    if self.protocol == "joint" and self.learning_curve_batches is not None:
      raise ConfigError("protocol='joint': learns no task by itself; no learning_curve_batches")
    if self.protocol == "joint" and self.peak_accuracy:
      raise ConfigError("protocol='joint': learns no task by itself; no peak_accuracy")

    if self.visit_order is not None and self.protocol != "sequential":
      raise ConfigError(
        f"visit_order={self.visit_order!r}: is for protocol='sequential', not {self.protocol!r}"
      )

  @property
  def all_lengths(self) -> tuple[int, ...]:
    """Every p of the continuum that is measured, ascending.

    >>> RunOptions(continuum=20, continuum_lengths=(5, 1)).all_lengths
    (1, 5, 20)
    """
    return tuple(sorted({self.continuum, *self.continuum_lengths}))

  @property
  def needs_validation(self) -> bool:
    """Whether validation examples are tested after each epoch."""
    return self.select_epoch == "best" or self.peak_accuracy

  @property
  def records_details(self) -> bool:
    """Whether evaluations of all tasks measure more than accuracies of single images."""
    several = self.continuum > 1 or bool(self.continuum_lengths)
    return several or self.top_k > 1 or self.confusion_matrix

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


_RANGES = {
  "batch_size": (1, 10**7),
  "cycles": (1, 10**4),
  "data_parallel": (1, 10**5),
  "seeds": (1, 10**4),
  "seed": (0, 2**31 - 1),
  "seeds_together": (1, 10**4),
  "eval_batch_size": (1, 10**7),
  "continuum": (1, 10**7),
  "top_k": (1, 10**7),
  "learning_curve_batches": (0, 10**4),
  "checkpoint_every": (0, 10**12),
  "keep_checkpoints": (1, 10**6),
  "chunk_steps": (1, 10**6),
}
"""The least and the largest value of each whole number; beside the class, since a dataclass has no
ranges. What is larger is a slip of the keyboard, and would fill memory with lists before training.
"""

_CHOICES = {
  "select_epoch": get_args(Chosen),
  "protocol": get_args(Protocol),
  "seed_axis": get_args(SeedAxis),
  "evaluate_on": get_args(Part),
  "forgetting": DEFINITIONS,
}


def _check_range(name: str, whole: object, value: object, least: int, largest: int) -> None:
  """Refuses a number that is none, or out of range; `whole` is what the message shows."""
  if isinstance(value, bool) or not isinstance(value, int):
    raise ConfigError(f"{name}={whole!r}: must be a whole number")
  if value < least:
    raise ConfigError(f"{name}={whole!r}: must be at least {least}")
  if value > largest:
    raise ConfigError(f"{name}={whole!r}: must be at most {largest}")


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
  for name in ("colour", "resized_crop"):
    share = getattr(augmentation, name)
    if not 0 <= share <= 1:
      raise ConfigError(f"augmentation.{name}={share!r}: must be in [0, 1]")
