"""Lines of the log that a checkpoint's record knows: what is written where the log was lost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tagjax.training.record import RunRecord


def lines_of(record: RunRecord, names: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
  """Accuracies and growth, as `tagjax.training.trainer.Trainer` writes them.

  Losses, and what the method tells of single steps, are not in the record.

  Args:
    record: of the run.
    names: what tells each trial from the others in the log.

  Yields:
    The lines of each trial, task after task.
  """
  for index, name in enumerate(names):
    if None not in record.baseline[index]:
      yield {**name, "accuracy_untrained": record.baseline[index]}
    for task, row in enumerate(record.accuracy[index]):
      for minibatch, accuracy in enumerate(record.curves[index][task]):
        yield {**name, "task": task, "minibatch": minibatch, "task_accuracy": accuracy}
      for epoch, values in enumerate(record.validation[index][task]):
        yield {**name, "task": task, "epoch": epoch, "validation_accuracy": values}
      for epoch, values in enumerate(record.epoch_validation[index][task]):
        yield {**name, "task": task, "epoch": epoch, "epoch_validation": values}
      if record.peak[index][task] is not None:
        yield {**name, "task": task, "peak_accuracy": record.peak[index][task]}
      if record.chosen_epoch[index][task] is not None:
        yield {**name, "task": task, "chosen_epoch": record.chosen_epoch[index][task]}
      if grown := record.growth_after(index, task):
        yield {**name, "task": task, **grown}
      if any(value is not None for value in row):
        yield {**name, "task": task, "accuracy_after_task": row}
