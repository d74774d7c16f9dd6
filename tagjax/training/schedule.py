"""Which task comes when, and in which spans of steps it is learned."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tagjax.benchmarks.checks import check_integers
from tagjax.core.errors import ConfigError
from tagjax.training.options import Protocol, RunOptions


class Visit(NamedTuple):
  """One stay at a task.

  Attributes:
    number: its place in the run, from 0.
    task: the task.
    fresh: whether it begins with a new network.
    again: whether the task was visited before.
    evaluated: whether an evaluation follows.
    begun: how many tasks have been visited so far, this one included.
  """

  number: int
  task: int
  fresh: bool = False
  again: bool = False
  evaluated: bool = True
  begun: int = 1


def visits(
  protocol: Protocol, num_tasks: int, cycles: int = 6, order: str | Sequence[int] | None = None
) -> list[Visit]:
  """The tasks in the order in which a run learns them.

  Args:
    protocol: see `tagjax.training.options.RunOptions`. `"joint"` learns all examples under the
      name of the last task. The bounds `"joint"` and `"multitask"` are evaluated at the end only.
    num_tasks: T.
    cycles: for `"multitask"`.
    order: for `"sequential"`, see `RunOptions.visit_order`; None: each task once.

  Returns:
    The visits.

  Raises:
    ConfigError: if the order does not visit all tasks, does not begin them in theirs, or does not
      end with the last one.

  >>> [visit.task for visit in visits("multitask", num_tasks=3, cycles=2)]
  [0, 1, 2, 0, 1, 2]
  """
  last = num_tasks - 1
  if protocol == "joint":
    return [Visit(0, last, fresh=True, begun=num_tasks)]
  if protocol == "multitask":
    end = cycles * num_tasks - 1
    return [
      Visit(n, n % num_tasks, n == 0, n > last, n == end, min(n + 1, num_tasks))
      for n in range(end + 1)
    ]
  tasks = range(num_tasks) if order is None else _in_order(order, num_tasks)
  begun = np.maximum.accumulate(tasks) + 1
  return [
    Visit(
      number,
      task,
      fresh=number == 0 or protocol == "independent",
      again=task in tasks[:number],
      begun=int(begun[number]),
    )
    for number, task in enumerate(tasks)
  ]


def visits_of(options: RunOptions, num_tasks: int) -> list[Visit]:
  """The visits of a run."""
  return visits(options.protocol, num_tasks, options.cycles, options.visit_order)


def _in_order(order: str | Sequence[int], num_tasks: int) -> tuple[int, ...]:
  try:
    tasks = check_integers("visit_order", order)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  if tuple(dict.fromkeys(tasks)) != tuple(range(num_tasks)) or tasks[-1] != num_tasks - 1:
    raise ConfigError(
      f"visit_order={order!r}: must visit all of the tasks 0 to {num_tasks - 1}, each for the "
      "first time after those before it, and the last one at the end; task_order gives them "
      "another order"
    )
  return tasks


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
