"""The task bound to an optimizer, for wrappers that hand on no extra arguments."""

import chex
import optax

from tagjax.transforms.checks import check_task_id


def with_task(
  optimizer: optax.GradientTransformation, task: chex.Numeric
) -> optax.GradientTransformation:
  """`optimizer` as a transformation that is told the task without being asked.

  `optax.lookahead`, `optax.contrib.sam` and Flax's `TrainState.apply_gradients` call `update`
  without extra arguments, so `task_id` cannot pass through them. Make the transformation anew in
  each step, where the task is a value (which may be traced): it holds no state, and `init` is that
  of `optimizer`, whatever the task.

  Args:
    optimizer: an Optax transformation that takes `task_id`, such as `tagjax.tag`, or a chain with
      it. Others ignore the task.
    task: 0-based; Python int, or integer scalar, may be traced.

  Returns:
    A transformation whose `update(updates, state, params)` is that of `optimizer` with
    `task_id=task`. Do not return it from a compiled function if `task` is traced there: put the
    former `tx` back into a `TrainState`.

  Raises:
    TypeError: if `optimizer` is not an Optax transformation, or `task` not an integer.
    ValueError: if `task` is negative; in `update`, if it is out of range.

  Example:
    >>> import jax.numpy as jnp
    >>> import tagjax
    >>> optimizer = tagjax.tag(0.1, num_tasks=2)
    >>> params = optax.LookaheadParams.init_synced({"w": jnp.zeros(2)})
    >>> state = optax.lookahead(with_task(optimizer, 0), 5, 0.5).init(params)
    >>> ahead = optax.lookahead(with_task(optimizer, 1), 5, 0.5)  # in each step of task 1
    >>> updates, state = ahead.update({"w": jnp.ones(2)}, state, params)
    >>> state.fast_state[0].count.tolist()
    [0, 1]
  """
  if not isinstance(optimizer, optax.GradientTransformation):
    raise TypeError(f"with_task takes an Optax transformation, got {type(optimizer).__name__}")
  check_task_id(task)
  told = optax.with_extra_args_support(optimizer)

  def update(
    updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
  ) -> tuple[optax.Updates, optax.OptState]:
    return told.update(updates, state, params, task_id=task)

  return optax.GradientTransformation(told.init, update)
