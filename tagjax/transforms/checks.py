"""Checks of arguments that the transformations share.

Every check lets traced values pass: under `jax.jit`, or injected by `optax.inject_hyperparams`, a
number is not known until the computation runs.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np


def check_range(name: str, value: Any, low: float, high: float, interval: str) -> None:
  """Raises unless `value` is a real number within the bounds that `interval` spells.

  Args:
    name: the argument, for the message.
    value: the number; traced ones pass.
    low: lower bound; allowed if `interval` starts with `[`.
    high: upper bound; allowed if `interval` ends with `]`.
    interval: the range as shown to the user, such as `"[0, 1)"`.

  Raises:
    ValueError: if it is not a number, or outside.
  """
  if isinstance(value, jax.core.Tracer):
    return
  try:
    number = math.nan if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    number = math.nan
  above = number >= low if interval.startswith("[") else number > low
  below = number <= high if interval.endswith("]") else number < high
  if not (above and below):
    hint = "; schedules go through optax.inject_hyperparams" if callable(value) else ""
    raise ValueError(f"{name} must be a number in {interval}, got {value!r}{hint}")


def is_off(strength: Any) -> bool:
  """Whether `strength` is known to be 0: a number, and not a traced value."""
  return isinstance(strength, int | float) and strength == 0


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
  """Raises a ValueError that lists `choices` unless `value` is one of them."""
  if not (isinstance(value, str) and value in choices):
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_count(name: str, value: Any) -> None:
  """Raises a ValueError unless `value` is an integer of at least 1; traced values pass."""
  if isinstance(value, jax.core.Tracer):
    return
  if _as_int(value) is None or _as_int(value) < 1:
    raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_steps_per_epoch(value: Any, needed_by: str | None, num_tasks: Any = None) -> None:
  """Raises a ValueError unless `value` is a count, or a sequence of one count a task.

  Args:
    value: `steps_per_epoch` as given; None passes if nothing needs it.
    needed_by: the setting that needs it, such as `'reset="epoch"'`; None if none does.
    num_tasks: T, if known: the length that a sequence must have.
  """
  if value is None:
    if needed_by is not None:
      raise ValueError(f"{needed_by} needs steps_per_epoch: an integer, or one for each task")
    return
  if isinstance(value, jax.core.Tracer):
    return
  counts = np.asarray(value)
  if counts.dtype.kind not in "iu" or counts.ndim > 1 or counts.size == 0 or (counts < 1).any():
    raise ValueError(
      f"steps_per_epoch must be an integer of at least 1, or one for each task, got {value!r}"
    )
  known = num_tasks is not None and not isinstance(num_tasks, jax.core.Tracer)
  if known and counts.ndim and counts.size != int(num_tasks):
    raise ValueError(f"steps_per_epoch has {counts.size} entries for {int(num_tasks)} tasks")


def steps_of_task(steps_per_epoch: Any, task_id: chex.Array) -> chex.Array:
  """The int32 number of steps in an epoch of task `task_id`."""
  steps = jnp.asarray(steps_per_epoch, jnp.int32)
  return steps[task_id] if steps.ndim else steps


def check_task_id(task_id: Any, num_tasks: int | None = None) -> chex.Array:
  """Turns a task id into an int32 scalar and refuses what cannot be one.

  Args:
    task_id: Python or NumPy integer, or integer scalar array, concrete or traced.
    num_tasks: T, or None if any number of tasks is allowed.

  Returns:
    The int32 scalar. A traced id passes unchecked.

  Raises:
    TypeError: if it is missing (None) or not an integer scalar.
    ValueError: if it is known and outside `[0, num_tasks)`.
  """
  if task_id is None:
    raise TypeError("update() needs the task: call update(grads, state, params, task_id=t)")
  if isinstance(task_id, jax.core.Tracer):
    if not jnp.issubdtype(task_id.dtype, jnp.integer) or task_id.ndim:
      raise TypeError(f"task_id must be an integer scalar, got {task_id.aval}")
    return task_id.astype(jnp.int32)
  number = _as_int(task_id)
  if number is None:
    raise TypeError(f"task_id must be an integer scalar, got {task_id!r}")
  if number < 0 or (num_tasks is not None and number >= num_tasks):
    upper = "" if num_tasks is None else f" and below num_tasks={num_tasks}"
    raise ValueError(f"task_id must be at least 0{upper}, got {number}")
  return jnp.asarray(number, jnp.int32)


def nan_unless_task(value: chex.Array, task_id: chex.Array, num_tasks: int) -> chex.Array:
  """`value`, or NaN where a traced `task_id` is outside `[0, num_tasks)`, which cannot raise.

  Dynamic slices would clamp it in silence. Other ids have passed `check_task_id`.
  """
  if not isinstance(task_id, jax.core.Tracer):
    return value
  return jnp.where((task_id >= 0) & (task_id < num_tasks), value, jnp.nan)


def _as_int(value: Any) -> int | None:
  """`value` as a Python integer; None if it is not an integer scalar (booleans are not)."""
  if isinstance(value, (bool, np.bool_)) or getattr(value, "ndim", 0) or callable(value):
    return None
  if getattr(value, "dtype", None) == np.bool_:
    return None
  try:
    return operator.index(value)
  except TypeError:
    return None
