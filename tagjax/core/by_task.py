"""How a batch is computed by what belongs to its tasks: one pass for each task that is in it."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp


@jax.custom_batching.custom_vmap
def only_task(task_id: chex.Array, mask: chex.Array) -> tuple[chex.Array, chex.Array]:
  """The task of the first valid row, and whether all valid rows are of it.

  Under `vmap`, such as over seeds, it is asked of all batches together, so that a condition on it
  stays a condition.

  Args:
    task_id: int32 `[B]`.
    mask: bool `[B]`, the valid rows.

  Returns:
    int32 scalar and bool scalar.
  """
  task = task_id[jnp.argmax(mask)]
  return task, jnp.all((task_id == task) | ~mask)


@only_task.def_vmap
def _(axis_size, in_batched, task_id, mask):
  task_id, mask = _together(axis_size, in_batched, task_id, mask)
  return only_task(task_id, mask), (False, False)


def present_tasks(num_tasks: int, task_id: chex.Array, mask: chex.Array) -> chex.Array:
  """Bool `[T]`: the tasks of the valid rows; under `vmap`, of all batches together."""

  @jax.custom_batching.custom_vmap
  def present(task_id, mask):
    is_of = task_id[None, :] == jnp.arange(num_tasks)[:, None]
    return jnp.any(is_of & mask[None, :], axis=1)

  @present.def_vmap
  def _(axis_size, in_batched, task_id, mask):
    return present(*_together(axis_size, in_batched, task_id, mask)), False

  return present(task_id, mask)


def _together(axis_size, in_batched, *arrays):
  """The batches of all lanes as one."""
  return [
    (array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))).reshape(-1)
    for array, batched in zip(arrays, in_batched, strict=True)
  ]


def by_task(
  forward: Callable[[chex.Array], chex.Array],
  num_tasks: int,
  task_id: chex.Array,
  mask: chex.Array,
) -> chex.Array:
  """`forward(task)[b]` for each row b of its own task.

  A batch of one task takes one pass. One of several, such as replayed exemplars, takes a pass for
  each task that is in it, and its gradient computes these passes a second time.

  Args:
    forward: int32 scalar -> `[B, K]`, all rows as if they were of that task.
    num_tasks: T.
    task_id: int32 `[B]`.
    mask: bool `[B]`; other rows may be given any task's values.

  Returns:
    `[B, K]`; NaN where the task is not one of the T.
  """
  task, is_only = only_task(task_id, mask)
  if num_tasks == 1:
    logits = forward(jnp.zeros_like(task))
  else:
    one = jnp.clip(task, 0, num_tasks - 1)
    logits = jax.lax.cond(
      is_only, lambda: forward(one), lambda: _each(forward, num_tasks, task_id, mask)
    )
  known = (task_id >= 0) & (task_id < num_tasks) | ~mask
  return jnp.where(known[:, None], logits, jnp.nan)


def _each(forward, num_tasks, task_id, mask):
  """A loop over the tasks that leaves out those that are not there."""
  shape = jax.eval_shape(forward, jax.ShapeDtypeStruct((), jnp.int32))

  @jax.checkpoint
  def add(logits, turn):
    task, is_present = turn

    def here(logits):
      return jnp.where((task_id == task)[:, None], forward(task), logits)

    return jax.lax.cond(is_present, here, lambda logits: logits, logits), None

  turns = jnp.arange(num_tasks, dtype=jnp.int32), present_tasks(num_tasks, task_id, mask)
  return jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), turns)[0]
