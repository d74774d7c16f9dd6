"""The whole run as a flat list of actions, so that resuming is going on at a position."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple


class Visit(NamedTuple):
  """One stay at a task.

  Attributes:
    task: the task.
    fresh: whether it begins with a new network.
    again: whether the task was visited before.
    evaluated: whether an evaluation follows.
  """

  task: int
  fresh: bool = False
  again: bool = False
  evaluated: bool = True


def visits(protocol: str, num_tasks: int, cycles: int = 6) -> list[Visit]:
  """The tasks in the order in which a run learns them.

  Args:
    protocol: `"sequential"`: one after another, the stream that methods are made for. As bounds:
      `"multitask"`: all tasks in order, `cycles` times; `"joint"`: the examples of all tasks
      together, under the name of the last; `"independent"`: a new network for each task. The first
      two of these are evaluated at the end only.
    num_tasks: T.
    cycles: for `"multitask"`.

  Returns:
    The visits.

  >>> [visit.task for visit in visits("multitask", num_tasks=3, cycles=2)]
  [0, 1, 2, 0, 1, 2]
  """
  last = num_tasks - 1
  if protocol == "joint":
    return [Visit(last, fresh=True)]
  if protocol == "multitask":
    rounds = [(cycle, task) for cycle in range(cycles) for task in range(num_tasks)]
    return [
      Visit(task, (cycle, task) == (0, 0), cycle > 0, (cycle, task) == (cycles - 1, last))
      for cycle, task in rounds
    ]
  return [Visit(task, task == 0 or protocol == "independent") for task in range(num_tasks)]


class Action(NamedTuple):
  """One thing that the loop does.

  Attributes:
    kind: `"begin"`: a new state for the next lane. `"baseline"`: evaluate the untrained network on
      all tasks. `"train"`: steps `start` to `stop` of an epoch. `"probe"`: evaluate the current
      task in mid-training, a point of its learning curve. `"consolidate"`: the task (a phase of
      it) has ended. `"evaluate"`: a row of the accuracy matrix.
    lane: index of the (first) lane, from 0; a lane is one training of the stream, with a seed of
      its own or at another point of a grid.
    task: task id; of the next task for `"begin"`, 0 for `"baseline"`.
    phase: name of the training phase.
    epoch: epoch of the task and phase, from 0.
    epoch_id: epoch of the lane's whole stream, from 0.
    start: for `"train"` the first step; for `"probe"` the steps taken before it.
    stop: for `"train"` one past the last step.
    ends_task_epochs: whether a `"train"` action ends the last epoch of the task's last phase.
    save: whether a checkpoint follows.
  """

  kind: Literal["begin", "baseline", "train", "probe", "consolidate", "evaluate"]
  lane: int
  task: int = 0
  phase: str = ""
  epoch: int = 0
  epoch_id: int = 0
  start: int = 0
  stop: int = 0
  ends_task_epochs: bool = False
  save: bool = False


def make_plan(
  *,
  num_lanes: int,
  lanes_together: int = 1,
  steps_per_epoch: Sequence[int],
  epochs: int,
  phases: tuple[str, ...] = ("train",),
  chunk_steps: int = 100,
  checkpoint_every: int = 0,
  curve_batches: int = 0,
  baseline: bool = False,
  protocol: str = "sequential",
  cycles: int = 6,
) -> list[Action]:
  """Lays out a run.

  Args:
    num_lanes: trainings of the stream.
    lanes_together: how many of them go side by side, as one action; the others come afterwards.
    steps_per_epoch: training steps of one epoch, for each task.
    epochs: epochs of each phase of each task.
    phases: names of the training phases of a task.
    chunk_steps: most steps of one `"train"` action.
    checkpoint_every: steps after which a checkpoint is written, besides the one at the end of
      each task; 0: only those.
    curve_batches: number of minibatches of each task up to which it is evaluated before each.
    baseline: whether the untrained network is evaluated on all tasks.
    protocol: see `visits`.
    cycles: see `visits`.

  Returns:
    The actions in order.

  >>> [a.kind for a in make_plan(num_lanes=1, steps_per_epoch=[3], epochs=1, chunk_steps=2)]
  ['begin', 'train', 'train', 'consolidate', 'evaluate']
  """
  actions = []
  order = visits(protocol, len(steps_per_epoch), cycles)
  for lane in range(0, num_lanes, lanes_together):
    since_save, epoch_id = 0, 0
    for number, visit in enumerate(order):
      task, steps = visit.task, steps_per_epoch[visit.task]
      if visit.fresh:
        actions.append(Action("begin", lane, task))
      if baseline and number == 0:
        actions.append(Action("baseline", lane))
      for phase in phases:
        for epoch in range(epochs):
          first = phase == phases[0] and epoch == 0 and not visit.again
          last = phase == phases[-1] and epoch == epochs - 1
          place = Action("train", lane, task, phase, epoch, epoch_id)
          for action in _epoch(place, steps, chunk_steps, curve_batches if first else 0):
            since_save += action.stop - action.start if action.kind == "train" else 0
            save = 0 < checkpoint_every <= since_save
            since_save = 0 if save else since_save
            ends = last and action.kind == "train" and action.stop == steps
            actions.append(action._replace(ends_task_epochs=ends, save=save))
          epoch_id += 1
        actions.append(Action("consolidate", lane, task, phase))
      if visit.evaluated:
        actions.append(Action("evaluate", lane, task))
      actions[-1] = actions[-1]._replace(save=True)
      since_save = 0
  return actions


def _epoch(place: Action, steps: int, chunk_steps: int, curve_batches: int) -> Iterator[Action]:
  """The epoch in chunks; in single steps, each after a probe, while the curve is recorded."""
  start = 0
  while start < steps:
    probing = start < curve_batches
    if probing:
      yield place._replace(kind="probe", start=start, stop=start)
    stop = start + 1 if probing else min(start + chunk_steps, steps)
    yield place._replace(start=start, stop=stop)
    start = stop
    if start == curve_batches > 0 or (start == steps < curve_batches):
      yield place._replace(kind="probe", start=start, stop=start)
