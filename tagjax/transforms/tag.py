r"""TAG: task-based accumulated gradients, as an Optax transformation.

Each task keeps its own first and second gradient moments. A step is divided by the root of a
weighted sum of the second moments of all tasks so far; the weight of a past task is large where the
current direction opposes that task's last direction, so that the step shrinks where the past task
cared and the two conflict. The task id is the only thing that TAG needs to be told.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.transforms._checks import (
  check_choice,
  check_count,
  check_range,
  check_steps_per_epoch,
  check_task_id,
  steps_of_task,
)

BASES = ("rmsprop", "adagrad", "adam")
BIAS_CORRECTIONS = ("task", "epoch")

_DEFAULT_BETA2 = {"rmsprop": 0.99, "adagrad": None, "adam": 0.999}
# exp(b) times a second moment must stay a float32.
_LARGEST_B = 80.0


class ScaleByTagState(NamedTuple):
  """State of `scale_by_tag`: T rows for each parameter tensor, row t written by task t only.

  Attributes:
    first_moment: pytree like params, leaves `[T, p.size]`, at least float32. Flat, because XLA
      copies the whole array when one of more dimensions is reshaped after a row was written.
    second_moment: the same for the second moment.
    norm: pytree like params, leaves `[T]`: the L2 norm of each row of `first_moment`.
    relatedness: pytree like params, leaves `[T]`: the weights of the last step, NaN where the task
      is not a past one; see `task_relatedness`.
    count: int32 `[T]`, steps taken in each task.
  """

  first_moment: optax.Updates
  second_moment: optax.Updates
  norm: optax.Updates
  relatedness: optax.Updates
  count: chex.Array


class _Rule(NamedTuple):
  """The hyperparameters of `scale_by_tag`, all of which may be traced save `base`."""

  base: str
  b: Any
  beta1: Any
  beta2: Any
  eps: Any


class _Tensor(NamedTuple):
  """What one step makes of one parameter tensor; fields as in `ScaleByTagState`."""

  update: chex.Array | None
  first_moment: chex.Array
  second_moment: chex.Array
  norm: chex.Array
  relatedness: chex.Array


def scale_by_tag(
  num_tasks: int,
  b: float = 5.0,
  base: str = "rmsprop",
  *,
  beta1: float = 0.9,
  beta2: float | None = None,
  eps: float = 1e-8,
  bias_correction: str = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
) -> optax.GradientTransformationExtraArgs:
  r"""Divides gradients by the task-weighted root of the accumulated second moments.

  For every parameter tensor on its own, with gradient `g` in task `t`:

      m_t <- beta1 m_t + (1 - beta1) g
      v_t <- beta2 v_t + (1 - beta2) g^2           (base "adagrad": v_t <- v_t + g^2)
      alpha_s = exp(-b <m_t, m_s> / (|m_t| |m_s|))  for s < t;  alpha_t = exp(-b), or 1 if t = 0
      update  = u / (sqrt(sum_{s <= t} alpha_s v_s / c2) + eps)

  with `u = g`, `c2 = 1`; base "adam" has `u = m_t / (1 - beta1^n)`, `c2 = 1 - beta2^n` after the
  task's n-th step. Task 0 is therefore exactly the base optimizer in PyTorch's form (epsilon
  outside the root, accumulators that start at 0). From the second task on the learning rate is in
  effect about `exp(b / 2)` times larger where past tasks left no second moment.

  The state holds `2 T` times the parameters, and every step reads it once: donate it.

  Differs from the reference code:
    * There a task's direction `m_s / |m_s|` is frozen by a call at its end. Here it is computed
      from row s, which nothing but task s writes, so no call is needed and the values are the same,
      also when a task is revisited (only tasks of smaller index count as past).
    * A zero norm gives weight 1 instead of NaN.
    * Adam's bias correction counts the steps of the task; there, those of the epoch
      (`bias_correction="epoch"`).

  Args:
    num_tasks: T, the number of tasks; used by `init` only.
    b: strength of the weights, in [0, 80].
    base: `"rmsprop"`, `"adagrad"` or `"adam"`.
    beta1: decay of the first moment, in [0, 1).
    beta2: decay of the second moment, in [0, 1); default 0.99 for RMSProp and 0.999 for Adam,
      Adagrad has none.
    eps: added to the root; greater than 0.
    bias_correction: for Adam: `"task"` counts steps from the task's first (a revisited task goes
      on counting), `"epoch"` from the start of each epoch, as the reference code does.
    steps_per_epoch: steps in an epoch, or one number for each task; for `"epoch"` only.

  Returns:
    A transformation whose `update` takes the keyword `task_id` (0-based; Python int, or integer
    scalar, may be traced) and ignores other extra arguments. Updates keep the dtype of the
    gradients; moments are float32 at least. A tensor whose gradient is None is left alone. A traced
    task id cannot be refused: outside `[0, T)` it turns the updates into NaN.

  Raises:
    ValueError: for an argument out of its range; in `update`, for a known task id out of range.
    TypeError: in `update`, if `task_id` is missing or not an integer; in `init`, for parameters
      that are not real floating point.

  Example:
    >>> import jax.numpy as jnp
    >>> transform = scale_by_tag(num_tasks=2)
    >>> state = transform.init({"w": jnp.zeros(3)})
    >>> updates, state = transform.update({"w": jnp.array([1.0, 2.0, 0.0])}, state, task_id=0)
    >>> [round(float(x), 3) for x in updates["w"]]
    [10.0, 10.0, 0.0]

  References:
    Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
    Conference on Lifelong Learning Agents (CoLLAs), 2022.
  """
  check_choice("base", base, BASES)
  check_choice("bias_correction", bias_correction, BIAS_CORRECTIONS)
  check_count("num_tasks", num_tasks)
  check_range("b", b, 0.0, _LARGEST_B, f"[0, {_LARGEST_B:g}]")
  check_range("beta1", beta1, 0.0, 1.0, "[0, 1)")
  check_range("eps", eps, 0.0, math.inf, "(0, inf)")
  if beta2 is None:
    beta2 = _DEFAULT_BETA2[base]
  elif base == "adagrad":
    raise ValueError(f"beta2 has no meaning for base='adagrad': leave it None, got {beta2!r}")
  else:
    check_range("beta2", beta2, 0.0, 1.0, "[0, 1)")
  by_epoch = bias_correction == "epoch"
  if by_epoch and base != "adam":
    raise ValueError(f"bias_correction='epoch' is for base='adam' only, got base={base!r}")
  check_steps_per_epoch(
    steps_per_epoch, "bias_correction='epoch'" if by_epoch else None, num_tasks=num_tasks
  )
  rule = _Rule(base, b, beta1, beta2, eps)

  def init(params: optax.Params) -> ScaleByTagState:
    if isinstance(num_tasks, jax.core.Tracer):
      raise ValueError(
        "num_tasks sets the shapes of the state and cannot be traced: "
        "optax.inject_hyperparams(tag, static_args='num_tasks')"
      )
    return _init(params, int(num_tasks))

  def update(
    updates: optax.Updates,
    state: ScaleByTagState,
    params: optax.Params | None = None,
    *,
    task_id: chex.Numeric | None = None,
    **extra: Any,
  ) -> tuple[optax.Updates, ScaleByTagState]:
    del params, extra
    task_id = check_task_id(task_id, state.count.shape[0])
    step = count = _row(state.count, task_id)
    if by_epoch:
      step = count % steps_of_task(steps_per_epoch, task_id)

    def one(grad, *tensor):
      return _step(grad, *tensor, task_id=task_id, step=step + 1, rule=rule)

    tensors = jax.tree.map(one, updates, *state[:4], is_leaf=lambda leaf: leaf is None)
    new_updates, *moments = (_field(tensors, name) for name in _Tensor._fields)
    return new_updates, ScaleByTagState(*moments, _write(state.count, count + 1, task_id))

  return optax.GradientTransformationExtraArgs(init, update)


def tag(
  learning_rate: optax.ScalarOrSchedule,
  num_tasks: int,
  b: float = 5.0,
  base: str = "rmsprop",
  *,
  beta1: float = 0.9,
  beta2: float | None = None,
  eps: float = 1e-8,
  bias_correction: str = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
) -> optax.GradientTransformationExtraArgs:
  """The TAG optimizer: `scale_by_tag`, then the learning rate.

  Args:
    learning_rate: number, scalar array, or schedule of the steps since the start of the stream.
      Good values are about `exp(b / 2)` times smaller than the base optimizer's.
    num_tasks: T; see `scale_by_tag` for this and all others.
    b: strength of the weights.
    base: `"rmsprop"`, `"adagrad"` or `"adam"`.
    beta1: decay of the first moment.
    beta2: decay of the second moment.
    eps: added to the root.
    bias_correction: `"task"` or `"epoch"`.
    steps_per_epoch: for `bias_correction="epoch"`.

  Returns:
    The transformation; its `update` takes the keyword `task_id`. It composes with
    `optax.chain`, `masked`, `partition`, `MultiSteps` and `inject_hyperparams` (there with
    `static_args="num_tasks"` if its `init` is compiled).

  Raises:
    ValueError: see `scale_by_tag`.
    TypeError: see `scale_by_tag`.

  Example:
    >>> import jax.numpy as jnp
    >>> transform = optax.chain(optax.clip_by_global_norm(1.0), tag(1e-3, num_tasks=5))
    >>> params = {"w": jnp.zeros(2)}
    >>> state = transform.init(params)
    >>> updates, state = transform.update({"w": jnp.ones(2)}, state, params, task_id=0)

  References:
    Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
    Conference on Lifelong Learning Agents (CoLLAs), 2022.
  """
  scale = scale_by_tag(
    num_tasks,
    b,
    base,
    beta1=beta1,
    beta2=beta2,
    eps=eps,
    bias_correction=bias_correction,
    steps_per_epoch=steps_per_epoch,
  )
  return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))


def task_relatedness(state: optax.OptState) -> chex.ArrayTree:
  """The weights alpha that TAG's last step gave to the past tasks.

  Above 1: that step opposed the past task's direction, so it was held back by that task; below 1:
  they agreed; 1: unrelated, or the task has left no direction in this tensor.

  Args:
    state: TAG's state, or that of any optimizer that contains TAG once.

  Returns:
    Pytree like the params, each leaf `[T]`; NaN where the task is not a past one (the current one
    included, whose weight is the constant `exp(-b)`), and everywhere before the first step.

  Raises:
    ValueError: if the state contains no TAG state, or several.
  """
  is_tag = lambda node: isinstance(node, ScaleByTagState)  # noqa: E731
  found = [node for node in jax.tree.leaves(state, is_leaf=is_tag) if is_tag(node)]
  if len(found) != 1:
    raise ValueError(
      f"expected the state of an optimizer with tag() in it once, found {len(found)} TAG states"
      + ("; pass the state of one of them" if found else "")
    )
  return found[0].relatedness


def _field(tensors: chex.ArrayTree, name: str) -> chex.ArrayTree:
  """The tree of one field out of a tree of `_Tensor`."""
  is_tensor = lambda node: isinstance(node, _Tensor)  # noqa: E731
  return jax.tree.map(lambda tensor: getattr(tensor, name), tensors, is_leaf=is_tensor)


def _init(params: optax.Params, num_tasks: int) -> ScaleByTagState:
  def rows(value, *, flat):
    def one(p):
      dtype = jnp.result_type(p)
      if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
          f"TAG needs real floating point parameters, got {dtype}: leave it out with optax.masked"
        )
      shape = (num_tasks, math.prod(jnp.shape(p))) if flat else (num_tasks,)
      return jnp.full(shape, value, jnp.promote_types(dtype, jnp.float32))

    return jax.tree.map(one, params)

  return ScaleByTagState(
    first_moment=rows(0.0, flat=True),
    second_moment=rows(0.0, flat=True),
    norm=rows(0.0, flat=False),
    relatedness=rows(jnp.nan, flat=False),
    count=jnp.zeros(num_tasks, jnp.int32),
  )


def _step(grad, first, second, norm, relatedness, *, task_id, step, rule: _Rule) -> _Tensor:
  """One step of one tensor; `step` counts from 1 in this task (or epoch)."""
  if grad is None:
    nowhere = None if relatedness is None else jnp.full_like(relatedness, jnp.nan)
    return _Tensor(None, first, second, norm, nowhere)
  dtype = first.dtype
  g = grad.astype(dtype).reshape(-1)
  first, m = _accumulate(first, g, task_id, rule.beta1)
  second, _ = _accumulate(second, g * g, task_id, rule.beta2)
  dots = jnp.matmul(first, m, precision="highest")
  norm = _write(norm, jnp.sqrt(_row(dots, task_id)), task_id)
  past, weight = _weights(dots, norm, task_id, jnp.asarray(rule.b, dtype))
  total = jnp.matmul(weight, second, precision="highest")
  if rule.base == "adam":
    g = m / _one_minus_power(rule.beta1, step, dtype)
    total = total / _one_minus_power(rule.beta2, step, dtype)
  update = g / (jnp.sqrt(total) + jnp.asarray(rule.eps, dtype))
  relatedness = jnp.where(past, weight, jnp.nan)
  return _Tensor(update.reshape(grad.shape).astype(grad.dtype), first, second, norm, relatedness)


def _accumulate(rows, x, task_id, beta):
  """Row `task_id` moves towards `x`, or sums it up where `beta` is None: all rows, and this one."""
  row = _row(rows, task_id)
  if beta is None:
    row = row + x
  else:
    row = jnp.asarray(beta, x.dtype) * row + jnp.asarray(1 - beta, x.dtype) * x
  rows = _write(rows, row, task_id)
  # Read back: XLA would otherwise compute the row twice, once from the old rows, and copy them all.
  return rows, _row(rows, task_id)


def _weights(dots, norm, task_id, b):
  """Which of the T tasks are past, and the weight of each: 0 for those to come."""
  tasks = jnp.arange(dots.size)
  length = norm * _row(norm, task_id)
  # A tensor that has seen no gradient yet, here or in the past task, has no direction: cosine 0.
  cosine = jnp.where(length > 0, dots / jnp.where(length > 0, length, 1), 0)
  past = tasks < task_id
  itself = jnp.where(task_id == 0, jnp.ones_like(b), jnp.exp(-b))
  # A traced id out of range must not go unnoticed: dynamic slices would clamp it in silence.
  known = (task_id >= 0) & (task_id < dots.size)
  others = jnp.where(past, jnp.exp(-b * jnp.clip(cosine, -1, 1)), 0)
  weight = jnp.where(tasks == task_id, itself, others)
  return past, jnp.where(known, weight, jnp.nan)


def _row(rows, task_id):
  return jax.lax.dynamic_index_in_dim(rows, task_id, 0, keepdims=False)


def _write(rows, row, task_id):
  return jax.lax.dynamic_update_index_in_dim(rows, row, task_id, 0)


def _one_minus_power(beta, exponent, dtype):
  """`1 - beta ** exponent`, without the cancellation that costs four digits at the first step."""
  log = jnp.log(beta) if isinstance(beta, jax.Array) else _log(beta)
  return (-jnp.expm1(exponent * log)).astype(dtype)


def _log(beta):
  return math.log(beta) if beta else -math.inf
