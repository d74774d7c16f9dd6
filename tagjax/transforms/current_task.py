r"""Task-stacked parameters: only the row of the task in progress moves, by its own optimizer state.

Some models keep one set of some parameters for each task, stacked on the first axis. Their other
rows have a gradient of zero, but momentum, weight decay and a common step count would move them
all the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.transforms.checks import check_task_id, nan_unless_task
from tagjax.transforms.tag import ScaleByTagState


class OnlyCurrentTaskState(NamedTuple):
  """State of `only_current_task`.

  Attributes:
    shared: the state of `inner` for the parameters that all tasks share.
    rows: the state of `rows` for one row of the task-stacked parameters, each leaf stacked over T;
      an empty tuple if there are none.
  """

  shared: optax.OptState
  rows: optax.OptState


def only_current_task(
  inner: optax.GradientTransformation,
  stacked: chex.ArrayTree | Callable[[optax.Params], chex.ArrayTree],
  *,
  rows: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Gives every task its own optimizer for its own row of the task-stacked parameters.

  For a task-stacked parameter `p` `[T, ...]` in task t, with the t-th of T states:

      u_t, state_t <- rows.update(g_t, state_t, p_t)        u_s = 0, state_s as it was, for s != t

  The shared parameters go through `inner`, with one state. Each of the two sees its own leaves
  only: what looks at all gradients at once, such as clipping by the global norm, belongs before it
  in a chain.

  TAG of T tasks over T-stacked rows would keep T² rows, of which T can differ from zero. Give
  `rows=tagjax.tag(learning_rate, num_tasks=1)`: in a row there is one task, so TAG is told task 0
  there and is its base optimizer. All else is told the true task.

  Args:
    inner: an Optax transformation.
    stacked: tree of bools like the parameters (or a prefix of it), True where the first axis is the
      task; or a function of the parameters that gives it. See `tagjax.task_stacked`.
    rows: the transformation for the task-stacked rows; default: `inner`.

  Returns:
    A transformation whose `update` takes the keyword `task_id` (0-based, may be traced) and hands
    it on with all other extra arguments; of `grad`, a tree like the parameters, each part gets its
    own. A traced task id outside `[0, T)` turns the updates of the rows into NaN.

  Raises:
    TypeError: if `inner` or `rows` is not an Optax transformation; in `update`, if `task_id` is
      missing or not an integer.
    ValueError: in `init`, if task-stacked parameters have first axes that differ, or `rows` holds
      TAG of more than one task; in `update`, for a known task id out of range.

  Example:
    >>> import optax
    >>> transform = only_current_task(optax.sgd(1.0, momentum=0.9), {"head": True, "trunk": False})
    >>> params = {"head": jnp.zeros((2, 1)), "trunk": jnp.zeros(1)}
    >>> grads = jax.tree.map(jnp.ones_like, params)
    >>> updates, state = transform.update(grads, transform.init(params), params, task_id=1)
    >>> updates["head"].tolist(), updates["trunk"].tolist()
    ([[0.0], [-1.0]], [-1.0])
  """
  shared, own = (_checked(given) for given in (inner, inner if rows is None else rows))

  def split(tree, mask):
    """The leaves that are shared and those that are stacked, each with nothing at the others."""
    return _where(mask, tree, stacked=False), _where(mask, tree, stacked=True)

  def init(params: optax.Params) -> OnlyCurrentTaskState:
    of_all, of_tasks = split(params, _mask(stacked, params))
    if _num_rows(of_tasks) is None:
      return OnlyCurrentTaskState(shared.init(of_all), ())
    _refuse_tag_of_tasks(own, of_tasks)
    return OnlyCurrentTaskState(shared.init(of_all), jax.vmap(own.init)(of_tasks))

  def update(
    updates: optax.Updates,
    state: OnlyCurrentTaskState,
    params: optax.Params | None = None,
    *,
    task_id: chex.Numeric | None = None,
    **extra: Any,
  ) -> tuple[optax.Updates, OnlyCurrentTaskState]:
    mask = _mask(stacked, updates if params is None else params)
    all_grads, task_grads = split(updates, mask)
    all_params, task_params = (None, None) if params is None else split(params, mask)
    all_extra, task_extra = extra, extra
    if extra.get("grad") is not None:
      all_extra, task_extra = ({**extra, "grad": part} for part in split(extra["grad"], mask))

    task_id = check_task_id(task_id, _num_rows(task_grads))
    new_updates, shared_state = shared.update(
      all_grads, state.shared, all_params, task_id=task_id, **all_extra
    )
    rows_state = state.rows
    if _num_rows(task_grads) is not None:
      task_grads, rows_state = _update_row(
        own, task_grads, state.rows, task_params, task_id, task_extra
      )
    new_updates = jax.tree.map(lambda m, a, b: b if m else a, mask, new_updates, task_grads)
    return new_updates, OnlyCurrentTaskState(shared_state, rows_state)

  return optax.GradientTransformationExtraArgs(init, update)


def _checked(transform: Any) -> optax.GradientTransformationExtraArgs:
  if not isinstance(transform, optax.GradientTransformation):
    raise TypeError(
      f"only_current_task takes an Optax transformation, got {type(transform).__name__}: chain "
      "methods before it, tagjax.chain(method, only_current_task(...))"
    )
  return optax.with_extra_args_support(transform)


def _mask(stacked, params: optax.Params) -> chex.ArrayTree:
  return stacked(params) if callable(stacked) else stacked


def _where(mask: chex.ArrayTree, tree: chex.ArrayTree, *, stacked: bool) -> chex.ArrayTree:
  """`tree` with nothing where `mask` is not `stacked`, as Optax has it."""
  return jax.tree.map(
    lambda is_stacked, part: part if bool(is_stacked) is stacked else optax.MaskedNode(), mask, tree
  )


def _num_rows(stacked: chex.ArrayTree) -> int | None:
  """T, the first axis of all leaves; None if there is no leaf."""
  shapes = {
    jax.tree_util.keystr(path): leaf.shape
    for path, leaf in jax.tree_util.tree_flatten_with_path(stacked)[0]
  }
  if not shapes:
    return None
  if len({shape[:1] for shape in shapes.values()}) > 1 or () in shapes.values():
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise ValueError(
      f"task-stacked parameters must have the same number of tasks on their first axis, got {shown}"
    )
  return next(iter(shapes.values()))[0]


def _update_row(own, grads, state, params, task_id, extra) -> tuple[optax.Updates, optax.OptState]:
  """One step of row `task_id` by its own state; the other rows' updates are zero."""
  num_rows = _num_rows(grads)
  row_grads, row_state, row_params = (_row(tree, task_id) for tree in (grads, state, params))
  if extra.get("grad") is not None:
    extra = {**extra, "grad": _row(extra["grad"], task_id)}
  told = jnp.zeros_like(task_id) if _tags(row_state) else task_id
  row_updates, row_state = own.update(row_grads, row_state, row_params, task_id=told, **extra)

  def placed(row):
    others = jnp.zeros((num_rows, *row.shape), row.dtype)
    return _write(others, nan_unless_task(row, task_id, num_rows), task_id)

  state = jax.tree.map(lambda rows, row: _write(rows, row, task_id), state, row_state)
  return jax.tree.map(placed, row_updates), state


def _row(tree: chex.ArrayTree, task_id: chex.Array) -> chex.ArrayTree:
  return jax.tree.map(
    lambda leaf: jax.lax.dynamic_index_in_dim(leaf, task_id, 0, keepdims=False), tree
  )


def _write(rows: chex.Array, row: chex.Array, task_id: chex.Array) -> chex.Array:
  return jax.lax.dynamic_update_index_in_dim(rows, row, task_id, 0)


def _tags(state: optax.OptState) -> list[ScaleByTagState]:
  def is_tag(node):
    return isinstance(node, ScaleByTagState)

  return [node for node in jax.tree.leaves(state, is_leaf=is_tag) if is_tag(node)]


def _refuse_tag_of_tasks(own: optax.GradientTransformation, stacked: chex.ArrayTree) -> None:
  state = jax.eval_shape(lambda params: own.init(_row(params, jnp.int32(0))), stacked)
  counts = [tag.count.shape[0] for tag in _tags(state)]
  if max(counts, default=1) > 1:
    raise ValueError(
      f"TAG of num_tasks={max(counts)} over task-stacked parameters of {_num_rows(stacked)} rows "
      "would keep a row a task for each row: give rows=tagjax.tag(learning_rate, num_tasks=1)"
    )
