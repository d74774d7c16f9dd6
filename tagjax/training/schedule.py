"""Which task comes when, and in which spans of steps it is learned."""

from collections.abc import Iterator
from typing import NamedTuple

from tagjax.training.options import Protocol


class Visit(NamedTuple):
  """One stay at a task.

  Attributes:
    number: its place in the run, from 0.
    task: the task.
    fresh: whether it begins with a new network.
    again: whether the task was visited before.
    evaluated: whether an evaluation follows.
  """

  number: int
  task: int
  fresh: bool = False
  again: bool = False
  evaluated: bool = True


def visits(protocol: Protocol, num_tasks: int, cycles: int = 6) -> list[Visit]:
  """The tasks in the order in which a run learns them.

  Args:
    protocol: see `tagjax.training.options.RunOptions`. `"joint"` learns all examples under the
      name of the last task. The bounds `"joint"` and `"multitask"` are evaluated at the end only.
    num_tasks: T.
    cycles: for `"multitask"`.

  Returns:
    The visits.

  >>> [visit.task for visit in visits("multitask", num_tasks=3, cycles=2)]
  [0, 1, 2, 0, 1, 2]
  """
  last = num_tasks - 1
  if protocol == "joint":
    return [Visit(0, last, fresh=True)]
  if protocol == "multitask":
    end = cycles * num_tasks - 1
    return [
      Visit(number, number % num_tasks, number == 0, number > last, number == end)
      for number in range(end + 1)
    ]
  return [
    Visit(task, task, fresh=task == 0 or protocol == "independent") for task in range(num_tasks)
  ]


class Place(NamedTuple):
  """Where in the run an epoch stands.

  Attributes:
    trials: the trials that are trained side by side.
    visit: the stay at the task.
    phase: name of the training phase.
    epoch: epoch of the visit and phase, from 0.
    task_epoch: epoch of the visit in all its phases, from 0.
    epoch_id: epoch of the trials' whole stream, from 0; with a run's key it gives the order of the
      examples.
    is_first: whether it is the first epoch of the task's first visit.
    is_last: whether it is the last epoch of the visit's last phase.
  """

  trials: range
  visit: Visit
  phase: str
  epoch: int
  task_epoch: int
  epoch_id: int
  is_first: bool
  is_last: bool

  @property
  def task(self) -> int:
    """The task that is learned."""
    return self.visit.task


class Span(NamedTuple):
  """Steps `start` to `stop` (exclusive) of an epoch; `probed`: evaluated before the first one."""

  start: int
  stop: int
  probed: bool = False


def spans(steps: int, chunk_steps: int, curve_batches: int | None = None) -> Iterator[Span]:
  """The epoch in chunks; in single steps while a learning curve is recorded.

  A span without steps stands for the point of the curve after its last batch.

  Args:
    steps: steps of the epoch.
    chunk_steps: the most steps of a span.
    curve_batches: batches before and after each of which the task is evaluated; 0: before the first
      one alone; None: no learning curve is recorded.

  >>> [tuple(span) for span in spans(5, 2, curve_batches=1)]
  [(0, 1, True), (1, 1, True), (1, 3, False), (3, 5, False)]
  """
  start = 0
  if curve_batches == 0:
    yield Span(0, 0, probed=True)
  curve_batches = curve_batches or 0
  while start < steps:
    probed = start < curve_batches
    stop = start + 1 if probed else min(start + chunk_steps, steps)
    yield Span(start, stop, probed)
    start = stop
    if start == curve_batches > 0 or (start == steps < curve_batches):
      yield Span(start, start, probed=True)
