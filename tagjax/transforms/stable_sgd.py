r"""Stable SGD: a learning rate that decays from task to task, and momentum that restarts.

With dropout and small batches, which are the trainer's affair, this is all there is to it.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import EpochStep
from tagjax.core.register import register
from tagjax.transforms.checks import (
  check_choice,
  check_range,
  check_steps_per_epoch,
  check_task_id,
  steps_of_task,
)

Reset = Literal["task", "epoch"]


class RestartedTraceState(NamedTuple):
  """State of `restarted_trace`.

  Attributes:
    trace: pytree like params, the momentum.
    task_id: int32 scalar, the task of the last step; -1 before the first.
    step: int32 scalar, steps taken in a row in that task.
  """

  trace: optax.Updates
  task_id: chex.Array
  step: chex.Array


def scale_by_task_decay(
  learning_rate: float, decay: float = 1.0, floor: float = 5e-5
) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by minus the task's learning rate, `max(lr * decay^(t + 1), floor)`.

  The first task has t = 0, so that it already learns at `lr * decay`. A rate below the floor is
  raised to it, also where `decay` is 1.

  Args:
    learning_rate: lr, greater than 0.
    decay: gamma, greater than 0; 1 keeps the rate.
    floor: smallest rate, at least 0.

  Returns:
    A stateless transformation whose `update` takes the keyword `task_id` (0-based integer, may be
    traced) and ignores other extra arguments. Updates keep their dtype.

  Raises:
    ValueError: for an argument out of range; in `update`, for a known negative task id.
    TypeError: in `update`, if `task_id` is missing or not an integer.

  Example:
    >>> transform = scale_by_task_decay(0.1, decay=0.5)
    >>> updates, _ = transform.update(jnp.ones(()), transform.init(None), task_id=1)
    >>> print(f"{updates:.3f}")
    -0.025
  """
  check_range("learning_rate", learning_rate, 0.0, math.inf, "(0, inf)")
  check_range("decay", decay, 0.0, math.inf, "(0, inf)")
  check_range("floor", floor, 0.0, math.inf, "[0, inf)")

  def init(params: optax.Params) -> optax.EmptyState:
    del params
    return optax.EmptyState()

  def update(updates, state, params=None, *, task_id: chex.Numeric | None = None, **extra: Any):
    del params, extra
    power = check_task_id(task_id).astype(jnp.float32) + 1
    rate = jnp.maximum(learning_rate * decay**power, floor)
    return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), updates), state

  return optax.GradientTransformationExtraArgs(init, update)


def restarted_trace(
  momentum: float,
  reset: Reset = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Momentum `m <- momentum m + g` (returned), which starts at 0 with every task or epoch.

  Args:
    momentum: in [0, 1).
    reset: `"task"`: whenever the task id differs from the last step's. `"epoch"`: also after every
      `steps_per_epoch` steps in a row in a task, or as many as the loop tells.
    steps_per_epoch: steps in an epoch, or one number for each task; for `"epoch"` only.

  Returns:
    A transformation whose `update` takes the keywords `task_id` and `epoch_step` (see
    `tagjax.core.method.EpochStep`); state: `RestartedTraceState`.

  Raises:
    ValueError: for an argument out of range; in `update`, for a known negative task id.
    TypeError: in `update`, if `task_id` is missing or not an integer.
  """
  check_range("momentum", momentum, 0.0, 1.0, "[0, 1)")
  check_choice("reset", reset, get_args(Reset))
  by_epoch = reset == "epoch"
  check_steps_per_epoch(steps_per_epoch, "reset='epoch'" if by_epoch else None)

  def init(params: optax.Params) -> RestartedTraceState:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return RestartedTraceState(zeros, jnp.int32(-1), jnp.int32(0))

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
    task_id = check_task_id(task_id)
    step = jnp.where(task_id == state.task_id, state.step, 0)
    fresh = step == 0
    if by_epoch:
      steps = steps_of_task(steps_per_epoch, task_id)
      # Exemplars that are rehearsed lengthen an epoch.
      fresh = step % (steps if epoch_step is None else epoch_step.num_steps) == 0

    def accumulate(g, m):  # a tensor without gradient is left alone
      return None if g is None else jnp.where(fresh, g, (momentum * m + g).astype(g.dtype))

    def keep(g, m):
      return m if g is None else g.astype(m.dtype)

    is_none = lambda leaf: leaf is None  # noqa: E731
    updates = jax.tree.map(accumulate, updates, state.trace, is_leaf=is_none)
    trace = jax.tree.map(keep, updates, state.trace, is_leaf=is_none)
    return updates, RestartedTraceState(trace, task_id, step + 1)

  return optax.GradientTransformationExtraArgs(init, update)


@register("stable_sgd", kind="optimizer", traced=("learning_rate", "decay", "floor"))
def stable_sgd(
  learning_rate: float,
  decay: float = 1.0,
  floor: float = 5e-5,
  momentum: float = 0.0,
  reset: Reset = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
) -> optax.GradientTransformationExtraArgs:
  """SGD for a stream of tasks: `p <- p - max(lr * decay^(t + 1), floor) m` in task t = 0, 1, ...

  `m` is the gradient, or its momentum trace `m <- momentum m + g`, which restarts at 0.

  Differs from the reference code:
    * The reference makes a new optimizer for each task (TAG's benchmark: momentum 0) or each epoch
      (the original: momentum 0.8, here `momentum=0.8, reset="epoch"`); here the trace is reset.
    * There the tasks count from 1, here from 0: the rates are the same.

  Args:
    learning_rate: lr, greater than 0.
    decay: gamma, greater than 0; 1 keeps the rate.
    floor: smallest rate, at least 0.
    momentum: weight of the past gradients' trace, in [0, 1); 0 keeps no trace.
    reset: when the trace restarts, with each `"task"` or `"epoch"`.
    steps_per_epoch: steps in an epoch, or one number for each task; for `reset="epoch"`.

  Returns:
    The transformation; its `update` takes the keyword `task_id` (0-based, may be traced).

  Raises:
    ValueError: for an argument out of range; in `update`, for a known negative task id.
    TypeError: in `update`, if `task_id` is missing or not an integer.

  Example:
    >>> transform = stable_sgd(0.1, decay=0.9)
    >>> state = transform.init(jnp.zeros(2))
    >>> updates, state = transform.update(jnp.ones(2), state, task_id=0)
    >>> print(updates.round(3))
    [-0.09 -0.09]

  References:
    Mirzadeh, Farajtabar, Pascanu, Ghasemzadeh. Understanding the Role of Training Regimes in
    Continual Learning. NeurIPS 2020.
    Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
    CoLLAs 2022.
  """
  scale = scale_by_task_decay(learning_rate, decay, floor)
  trace = restarted_trace(momentum, reset, steps_per_epoch)
  # Only a plain 0 is known both in init and in a compiled update: see optax.inject_hyperparams.
  if isinstance(momentum, (int, float)) and momentum == 0:
    return optax.chain(scale)
  return optax.chain(trace, scale)
