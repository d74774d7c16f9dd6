"""How hyperparameters are chosen on tasks that are not judged."""

import dataclasses

from tagjax.core.errors import ConfigError
from tagjax.core.register import register_section
from tagjax.training.options import Part, RunOptions


@register_section("tuning")
@dataclasses.dataclass(frozen=True)
class TuningOptions:
  """How hyperparameters are chosen on tasks that are not judged, A-GEM's protocol.

  Attributes:
    tasks: the first tasks of the stream, on which the points of the grid or search are tried, at
      least 1; the tasks after them are seen once, by runs with the chosen values, and judged. None:
      no tasks are set apart, and a grid is tried and judged on all of them.
    epochs: passes over each of these tasks, at least 1; None: as many as over the others.
    shuffle: whether each run (seed) learns the judged tasks in an order of its own: their classes
      are dealt out anew where a data set was dealt out, else the tasks come in another order.
    legacy: whether the points are scored on the test examples of these tasks, as the reference
      implementation does, and not on validation examples.

  Raises:
    ConfigError: if an option is out of range; one line with its name, its value and what it must
      be.
  """

  tasks: int | None = None
  epochs: int | None = None
  shuffle: bool = True
  legacy: bool = False

  def __post_init__(self):
    for name in ("tasks", "epochs"):
      value = getattr(self, name)
      if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"tuning.{name}={value!r}: must be a whole number, at least 1")

  @property
  def split(self) -> Part:
    """The examples that score a point."""
    return "test" if self.legacy else "validation"


def tuning_options(options: RunOptions, tuning: TuningOptions) -> RunOptions:
  """The options of the first stage: it records no curves, and is scored where `tuning` says."""
  epochs = options.epochs[: tuning.tasks] if isinstance(options.epochs, tuple) else options.epochs
  return dataclasses.replace(
    options,
    epochs=tuning.epochs or epochs,
    evaluate_on=tuning.split,
    learning_curve_batches=None,
    evaluate_future_tasks=False,
    confusion_matrix=False,
    peak_accuracy=False,
  )


def judging_options(options: RunOptions, tuning: TuningOptions) -> RunOptions:
  """The options of the second stage: the last epochs, where each task has its own."""
  if isinstance(options.epochs, tuple):
    return dataclasses.replace(options, epochs=options.epochs[tuning.tasks :])
  return options
