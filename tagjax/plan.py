"""The whole run as a flat list of actions, so that resuming is going on at a position."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple


class Action(NamedTuple):
  """One thing that the loop does.

  Attributes:
    kind: `"begin"`: a new state for the next seed. `"baseline"`: evaluate the untrained network on
      all tasks. `"train"`: steps `start` to `stop` of an epoch. `"probe"`: evaluate the current
      task in mid-training, a point of its learning curve. `"consolidate"`: the task (a phase of
      it) has ended. `"evaluate"`: a row of the accuracy matrix.
    seed: index of the seed, from 0.
    task: task id; 0 for `"begin"` and `"baseline"`.
    phase: name of the training phase.
    epoch: epoch of the task and phase, from 0.
    epoch_id: epoch of the seed's whole stream, from 0.
    start: for `"train"` the first step; for `"probe"` the steps taken before it.
    stop: for `"train"` one past the last step.
    ends_task_epochs: whether a `"train"` action ends the last epoch of the task's last phase.
    save: whether a checkpoint follows.
  """

  kind: Literal["begin", "baseline", "train", "probe", "consolidate", "evaluate"]
  seed: int
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
  num_seeds: int,
  steps_per_epoch: Sequence[int],
  epochs: int,
  phases: tuple[str, ...] = ("train",),
  chunk_steps: int = 100,
  checkpoint_every: int = 0,
  curve_batches: int = 0,
  baseline: bool = False,
) -> list[Action]:
  """Lays out a run.

  Args:
    num_seeds: runs of the stream, one after another.
    steps_per_epoch: training steps of one epoch, for each task.
    epochs: epochs of each phase of each task.
    phases: names of the training phases of a task.
    chunk_steps: most steps of one `"train"` action.
    checkpoint_every: steps after which a checkpoint is written, besides the one at the end of
      each task; 0: only those.
    curve_batches: number of minibatches of each task up to which it is evaluated before each.
    baseline: whether the untrained network is evaluated on all tasks.

  Returns:
    The actions in order.

  >>> [a.kind for a in make_plan(num_seeds=1, steps_per_epoch=[3], epochs=1, chunk_steps=2)]
  ['begin', 'train', 'train', 'consolidate', 'evaluate']
  """
  actions = []
  for seed in range(num_seeds):
    actions.append(Action("begin", seed))
    if baseline:
      actions.append(Action("baseline", seed))
    since_save, epoch_id = 0, 0
    for task, steps in enumerate(steps_per_epoch):
      for phase in phases:
        for epoch in range(epochs):
          first = phase == phases[0] and epoch == 0
          last = phase == phases[-1] and epoch == epochs - 1
          place = Action("train", seed, task, phase, epoch, epoch_id)
          for action in _epoch(place, steps, chunk_steps, curve_batches if first else 0):
            since_save += action.stop - action.start if action.kind == "train" else 0
            save = 0 < checkpoint_every <= since_save
            since_save = 0 if save else since_save
            ends = last and action.kind == "train" and action.stop == steps
            actions.append(action._replace(ends_task_epochs=ends, save=save))
          epoch_id += 1
        actions.append(Action("consolidate", seed, task, phase))
      actions.append(Action("evaluate", seed, task, save=True))
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
