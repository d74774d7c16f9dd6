r"""Learning-rate schedules over the steps of a task or of the stream.

A schedule here is a factor, 1 at full learning rate, on the update that the optimizer has finished.
Where an update is proportional to the learning rate of its own step, `u = -lr_n d_n`, the factor
does the same as scheduling `lr`: this holds for SGD with momentum, Adam and its kin (decoupled
weight decay included), RMSProp, Adagrad, Lion, LAMB and TAG. It does not hold where the learning
rate enters the state: `optax.lars` and `optax.rmsprop` with momentum sum up steps that were already
multiplied (the factor gives PyTorch's form), and the methods that estimate their own rate
(`optax.contrib`: prodigy, dog, cocob, ...) see steps of another length than they made.

The factor knows the task, so it can start anew with each task and end with it; an Optax schedule
inside an optimizer counts the steps of the whole stream.

It does not count where the loop tells it the epoch (`fit` does): counting goes wrong where a method
makes several updates a step, or rehearses exemplars, which lengthen the epochs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core.method import EpochStep
from tagjax.core.register import register
from tagjax.transforms.checks import (
  check_choice,
  check_count,
  check_range,
  check_steps_per_epoch,
  check_task_id,
  nan_unless_task,
)

Over = Literal["task", "stream"]


class Progress(NamedTuple):
  """How far the training is, in what a schedule runs over: the task, or the stream.

  Attributes:
    step: int32 scalar, the steps taken before this one. An epoch has `steps_per_epoch` of them: if
      exemplars lengthen it, its steps are counted as the same fraction of these.
    num_steps: the steps in all; a Python int, or an int32 scalar if it differs from task to task.
    epoch: int32 scalar, the epochs that have ended.
    steps_per_epoch: as `num_steps`; of the stream's first task if the stream is run over.
    longest: static, the largest `num_steps` of any task.
    task_id: int32 scalar, the task being learned.
    num_tasks: static, T.
  """

  step: chex.Numeric
  num_steps: chex.Numeric
  epoch: chex.Numeric
  steps_per_epoch: chex.Numeric
  longest: int
  task_id: chex.Numeric = 0
  num_tasks: int = 1


TaskSchedule = Callable[[Progress], chex.Numeric]


class TaskScheduleState(NamedTuple):
  """State of `scale_by_task_schedule`; all int32 scalars. Only what it counts itself is read.

  Attributes:
    task_id: the task of the last step; -1 before the first.
    step: steps taken in a row in that task.
    steps_before: steps before these; 0 if every task starts anew.
    epochs_before: epochs before these; likewise.
  """

  task_id: chex.Array
  step: chex.Array
  steps_before: chex.Array
  epochs_before: chex.Array


def scale_by_task_schedule(
  schedule: TaskSchedule,
  steps_per_task: Sequence[int],
  steps_per_epoch: int | Sequence[int],
  *,
  over: Over = "task",
  visits: Sequence[int] | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Multiplies the update by `schedule`; stands after the optimizer.

  Equal to scheduling the learning rate where the update is proportional to it; see the module.
  Given `epoch_step`, it takes from there where the training stands; without, it counts the updates.

  Args:
    schedule: from the `Progress` to the factor: `step(...)`, `cosine(...)`, ..., one of
      `optax_schedules()`, or a function of your own. It is traced once.
    steps_per_task: `[T]`, the steps of each task, in all its epochs (and phases), without those of
      exemplars; static.
    steps_per_epoch: the steps of an epoch, or `[T]`, one number for each task; likewise.
    over: `"task"`: the schedule starts anew whenever the task changes, also at a task that comes
      again, and is as long as that task. `"stream"`: it runs once, over the sum of all steps.
    visits: the task of each stay, for `over="stream"`; None: each task once, in order.

  Returns:
    A transformation whose `update` takes the keywords `task_id` (0-based integer, may be traced)
    and `epoch_step` (see `tagjax.core.method.EpochStep`), and ignores other extra arguments;
    state: `TaskScheduleState`. Updates keep their dtype. A traced task id cannot be refused:
    outside `[0, T)` it turns the updates into NaN.

  Raises:
    ValueError: for an argument out of range, if the schedule is not a function of the progress
      that returns a scalar, or is longer than a task; in `update`, for a known task id that is
      out of range.
    TypeError: in `update`, if `task_id` is missing or not an integer.

  Example:
    >>> halved = scale_by_task_schedule(step(every=1, factor=0.5), [4, 4], steps_per_epoch=2)
    >>> state, factors = halved.init(None), []
    >>> for task_id in [0, 0, 0, 0, 1]:
    ...   update, state = halved.update(jnp.ones(()), state, task_id=task_id)
    ...   factors.append(float(update))
    >>> factors
    [1.0, 1.0, 0.5, 0.5, 1.0]
  """
  check_choice("over", over, get_args(Over))
  steps = _counts("steps_per_task", steps_per_task)
  check_steps_per_epoch(steps_per_epoch, "a schedule", num_tasks=len(steps))
  order = _order(visits, len(steps))
  epoch_steps = np.broadcast_to(np.asarray(steps_per_epoch, np.int32), steps.shape)
  by_task = over == "task"
  if by_task:
    horizon, unit = steps, epoch_steps
  else:
    horizon = np.full_like(steps, steps[order].sum())
    unit = np.full_like(steps, epoch_steps[0])
  longest = int(horizon.max())
  _check_schedule(schedule, horizon, unit, longest)

  def init(params: optax.Params) -> TaskScheduleState:
    del params
    return TaskScheduleState(jnp.int32(-1), jnp.int32(0), jnp.int32(0), jnp.int32(0))

  def update(
    updates,
    state,
    params=None,
    *,
    task_id: chex.Numeric | None = None,
    epoch_step: EpochStep | None = None,
    **extra: Any,
  ):
    del params, extra
    task_id = check_task_id(task_id, len(steps))
    if epoch_step is None:
      state = _arrive(state, task_id, epoch_steps, by_task)
    else:
      task_id = check_task_id(epoch_step.task_id, len(steps))
      before = None if by_task else (steps[order], -(-steps // epoch_steps)[order])
      state = _told(epoch_step, task_id, epoch_steps, before)
    progress = Progress(
      step=state.steps_before + state.step,
      num_steps=_of_task(horizon, task_id),
      epoch=state.epochs_before + _epoch(state, epoch_step, epoch_steps),
      steps_per_epoch=_of_task(unit, task_id),
      longest=longest,
      task_id=task_id,
      num_tasks=len(steps),
    )
    factor = nan_unless_task(schedule(progress), task_id, len(steps))
    updates = jax.tree.map(lambda u: (factor * u).astype(u.dtype), updates)
    return updates, state._replace(step=optax.safe_increment(state.step))

  return optax.GradientTransformationExtraArgs(init, update)


def _arrive(state: TaskScheduleState, task_id, epoch_steps, by_task: bool) -> TaskScheduleState:
  """The state as it is before a step of task `task_id`."""
  stays = task_id == state.task_id
  step = jnp.where(stays, state.step, 0)
  if by_task:
    return state._replace(task_id=task_id, step=step)
  # An epoch that was left halfway counts as ended.
  epochs = -(-state.step // _of_task(epoch_steps, state.task_id))
  return TaskScheduleState(
    task_id=task_id,
    step=step,
    steps_before=state.steps_before + jnp.where(stays, 0, state.step),
    epochs_before=state.epochs_before + jnp.where(stays, 0, epochs),
  )


def _told(at: EpochStep, task_id, epoch_steps, of_visits) -> TaskScheduleState:
  """The state as it is before a step of task `task_id`, from what the loop tells.

  `of_visits`: the steps and the epochs of each stay; None if every task starts anew.
  """
  unit = _of_task(epoch_steps, task_id)
  # The ratio is 1, and the product exact, unless exemplars lengthen the epoch.
  step = at.task_epoch * unit + (at.step * (unit / at.num_steps)).astype(jnp.int32)
  if of_visits is None:
    return TaskScheduleState(task_id, step, jnp.int32(0), jnp.int32(0))
  return TaskScheduleState(task_id, step, *(_before(numbers)[at.visit] for numbers in of_visits))


def _order(visits: Sequence[int] | None, num_tasks: int) -> np.ndarray:
  """The tasks of all stays."""
  order = np.arange(num_tasks) if visits is None else np.asarray(visits)
  if order.dtype.kind not in "iu" or order.ndim != 1 or not order.size:
    raise ValueError(f"visits must be the tasks of the stays, integers, got {visits!r}")
  if order.min() < 0 or order.max() >= num_tasks:
    raise ValueError(f"visits must be tasks from 0 to {num_tasks - 1}, got {visits!r}")
  return order


def _before(numbers: np.ndarray) -> chex.Array:
  """The sum of the numbers before each."""
  return jnp.asarray(np.cumsum(numbers) - numbers, jnp.int32)


def _epoch(state: TaskScheduleState, told: EpochStep | None, epoch_steps) -> chex.Array:
  """Epochs of the task that have ended."""
  if told is not None:
    return told.task_epoch
  return state.step // _of_task(epoch_steps, state.task_id)


def _of_task(numbers: np.ndarray, task_id):
  """The number of the task; a Python int if it is the same for all."""
  if (numbers == numbers[0]).all():
    return int(numbers[0])
  return jnp.asarray(numbers)[task_id]


def _counts(name: str, value: Any) -> np.ndarray:
  """`value` as int32 `[T]`, all at least 1."""
  numbers = None if isinstance(value, jax.core.Tracer) else np.asarray(value)
  if numbers is None or numbers.dtype.kind not in "iu" or numbers.ndim != 1 or not numbers.size:
    raise ValueError(f"{name} must be one integer for each task, known in advance, got {value!r}")
  if (numbers < 1).any():
    raise ValueError(f"{name} must be integers of at least 1, got {value!r}")
  if numbers.sum() > np.iinfo(np.int32).max:
    raise ValueError(f"{name} adds up to {numbers.sum()}: steps are counted in int32")
  return numbers.astype(np.int32)


def _check_schedule(schedule: TaskSchedule, horizon, unit, longest: int) -> None:
  """Runs the schedule on shapes only, for each length of a task; what it raises comes out here."""
  if not callable(schedule):
    raise ValueError(f"schedule must be a function of the Progress, got {schedule!r}")
  count = jax.ShapeDtypeStruct((), jnp.int32)
  for num_steps, steps_per_epoch in sorted(set(zip(horizon.tolist(), unit.tolist(), strict=True))):

    def factor(step, epoch, task_id, num_steps=num_steps, steps_per_epoch=steps_per_epoch):
      place = Progress(step, num_steps, epoch, steps_per_epoch, longest, task_id, len(horizon))
      return jnp.asarray(schedule(place))

    found = jax.eval_shape(factor, count, count, count)
    if found.shape or not jnp.issubdtype(found.dtype, np.number):
      raise ValueError(f"schedule must return a real scalar, got {found.dtype}{found.shape}")


@register("step", kind="schedule")
def step(every: int | None = None, at: tuple[int, ...] = (), factor: float = 0.1) -> TaskSchedule:
  """`factor^n`, where n counts the drops that are due.

  `every=1` is exponential decay by epochs.

  Args:
    every: epochs from one drop to the next; give this or `at`.
    at: the epochs, counted from 0, before which it drops, such as `(5, 10, 15)`.
    factor: what a drop multiplies the rate by; at least 0.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: if neither or both of `every` and `at` are given, or an argument is out of range.

  Example:
    >>> where = Progress(step=0, num_steps=100, epoch=54, steps_per_epoch=1, longest=100)
    >>> print(f"{step(every=54, factor=0.5)(where):.2f}")
    0.50
  """
  epochs = np.asarray(at)
  if (every is None) == (epochs.size == 0):
    raise ValueError(f"every={every!r}, at={at!r}: give one of them, in epochs")
  check_range("factor", factor, 0.0, math.inf, "[0, inf)")
  if every is not None:
    check_count("every", every)
  elif epochs.dtype.kind not in "iu" or epochs.ndim != 1 or (epochs < 0).any():
    raise ValueError(f"at must be epochs, integers of at least 0, got {at!r}")

  def schedule(where: Progress) -> chex.Numeric:
    drops = where.epoch // every if every is not None else jnp.sum(where.epoch >= epochs)
    return jnp.power(jnp.asarray(factor, jnp.float32), drops)

  return schedule


@register("cosine", kind="schedule")
def cosine(end: float = 0.0, warmup: int = 0) -> TaskSchedule:
  """Half a cosine, `end + (1 - end) (1 + cos(pi x)) / 2`; x goes from 0 to 1.

  Args:
    end: the factor that it ends with; at least 0.
    warmup: epochs of warm-up, in which the factor rises in a straight line, `(n + 1) / steps`.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: for an argument out of range, or a warm-up that leaves no step.
  """
  check_range("end", end, 0.0, math.inf, "[0, inf)")
  return _after_warm_up(warmup, lambda x: end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * x)))


@register("linear", kind="schedule")
def linear(end: float = 0.0, warmup: int = 0) -> TaskSchedule:
  """A straight line, `1 - (1 - end) x`; x goes from 0 to 1.

  Args:
    end: the factor that it ends with; at least 0.
    warmup: epochs of warm-up, in which the factor rises in a straight line, `(n + 1) / steps`.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: for an argument out of range, or a warm-up that leaves no step.
  """
  check_range("end", end, 0.0, math.inf, "[0, inf)")
  return _after_warm_up(warmup, lambda x: 1 - (1 - end) * x)


@register("exponential", kind="schedule")
def exponential(end: float = 0.01, warmup: int = 0) -> TaskSchedule:
  """Exponential decay step by step, `end^x`; x goes from 0 to 1.

  Decay by a given factor an epoch is `step(every=1, factor=...)`.

  Args:
    end: the factor that it ends with; greater than 0.
    warmup: epochs of warm-up, in which the factor rises in a straight line, `(n + 1) / steps`.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: for an argument out of range, or a warm-up that leaves no step.
  """
  check_range("end", end, 0.0, math.inf, "(0, inf)")
  return _after_warm_up(warmup, lambda x: jnp.power(jnp.asarray(end, jnp.float32), x))


@register("inverse_time", kind="schedule")
def inverse_time(decay: float = 1e-4) -> TaskSchedule:
  """`1 / (1 + decay e)` in epoch e, counted from 0.

  LASEM's schedule: over the stream, with decay 1/4000 (CIFAR-100) or 1e-4 (Office-Home).

  Args:
    decay: how fast the rate falls, at least 0; 0 keeps it constant.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: for an argument out of range.
  """
  check_range("decay", decay, 0.0, math.inf, "[0, inf)")
  return lambda where: 1 / (1 + decay * where.epoch)


@register("by_task", kind="schedule")
def by_task(factors: tuple[float, ...] = ()) -> TaskSchedule:
  """A factor for each task, constant while it is learned.

  Args:
    factors: one for each task, at least 0.

  Returns:
    The schedule, for `scale_by_task_schedule`.

  Raises:
    ValueError: for an argument out of range, or, where the number of tasks is known, if there is
      not a factor for each.
  """
  values = np.asarray(factors, np.float32)
  if values.ndim != 1 or not values.size or not (values >= 0).all():
    raise ValueError(f"factors must be numbers of at least 0, one for each task, got {factors!r}")

  def schedule(where: Progress) -> chex.Numeric:
    if len(values) != where.num_tasks:
      raise ValueError(f"factors={factors!r}: give one for each of the {where.num_tasks} tasks")
    return jnp.asarray(values)[where.task_id]

  return schedule


def product(*schedules: TaskSchedule) -> TaskSchedule:
  """All of the schedules together: the product of their factors.

  Args:
    *schedules: from the `Progress` to a factor.

  Returns:
    The schedule, for `scale_by_task_schedule`.
  """
  return lambda where: math.prod(schedule(where) for schedule in schedules)


def _after_warm_up(warmup: int, decay: Callable[[chex.Numeric], chex.Numeric]) -> TaskSchedule:
  """`decay(x)`, where x goes from 0 to 1 in the steps after the warm-up."""
  if not isinstance(warmup, int | np.integer) or isinstance(warmup, bool) or warmup < 0:
    raise ValueError(f"warmup must be a number of epochs, an integer of at least 0, got {warmup!r}")

  def schedule(where: Progress) -> chex.Numeric:
    warm = warmup * where.steps_per_epoch
    left = where.num_steps - warm
    if isinstance(left, int) and left < 1:
      raise ValueError(f"warmup={warmup} epochs are {warm} of {where.num_steps} steps: shorten it")
    decayed = decay(jnp.clip((where.step - warm) / left, 0, 1))
    if not warmup:
      return decayed
    return jnp.where(where.step < warm, (where.step + 1) / warm, decayed)

  return schedule
