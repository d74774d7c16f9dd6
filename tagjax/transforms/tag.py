r"""TAG: task-based accumulated gradients, as an Optax transformation.

Each task keeps its own first and second gradient moments. A step is divided by the root of a
weighted sum of the second moments of all tasks so far; the weight of a past task is large where the
current direction opposes that task's last direction, so that the step shrinks where the past task
cared and the two conflict. The task id is the only thing that TAG needs to be told.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.transforms import _task_rows
from tagjax.transforms.checks import (
  check_choice,
  check_count,
  check_range,
  check_steps_per_epoch,
  check_task_id,
  steps_of_task,
)
from tagjax.transforms.columns import Columns

Base = Literal["rmsprop", "adagrad", "adam"]
BiasCorrection = Literal["task", "epoch"]
ACCUMULATOR_DTYPES = ("float32", "bfloat16")

_DEFAULT_BETA2 = {"rmsprop": 0.99, "adagrad": None, "adam": 0.999}
# exp(b) times a second moment must stay a float32.
_LARGEST_B = 80.0


class CurrentTask(NamedTuple):
  """The rows of the task in progress as its steps accumulate them, where T rounded rows are kept.

  Attributes:
    task_id: int32 scalar, the task of the last step; -1 before the first.
    first_moment: pytree like params, leaves `[p.size]`, at least float32.
    second_moment: the same for the second moment.
  """

  task_id: chex.Array
  first_moment: optax.Updates
  second_moment: optax.Updates


class ScaleByTagState(NamedTuple):
  """State of `scale_by_tag`: T rows for each parameter tensor, row t written by task t only.

  Attributes:
    first_moment: pytree like params, leaves `[T, p.size]` (or this device's columns of them, see
      `tagjax.transforms.columns`), at least float32, or uint16: the bits of bfloat16 (see
      `tagjax.transforms._task_rows`). Flat, because XLA copies the whole array when
      one of more dimensions is reshaped after a row was written; bits, because a CPU would convert
      all rows to float32 and back to write one.
    second_moment: the same for the second moment.
    norm: pytree like params, leaves `[T]`: the L2 norm of each row of `first_moment`.
    relatedness: pytree like params, leaves `[T]`: the weights of the last step, NaN where the task
      is not a past one; see `task_relatedness`.
    count: int32 `[T]`, steps taken in each task.
    current: see `CurrentTask`; None unless the rows are bfloat16.
  """

  first_moment: optax.Updates
  second_moment: optax.Updates
  norm: optax.Updates
  relatedness: optax.Updates
  count: chex.Array
  current: CurrentTask | None = None


class _Rule(NamedTuple):
  """The hyperparameters of `scale_by_tag`; the numbers may be traced."""

  base: str
  b: Any
  beta1: Any
  beta2: Any
  eps: Any
  columns: Columns


class _Tensor(NamedTuple):
  """What one step makes of one parameter tensor; fields as in `ScaleByTagState`.

  The last two are those of `CurrentTask`, None where the rows themselves are accumulated.
  """

  update: chex.Array | None
  first_moment: chex.Array
  second_moment: chex.Array
  norm: chex.Array
  relatedness: chex.Array
  current_first: chex.Array | None
  current_second: chex.Array | None


def scale_by_tag(
  num_tasks: int,
  b: float = 5.0,
  base: Base = "rmsprop",
  *,
  beta1: float = 0.9,
  beta2: float | None = None,
  eps: float = 1e-8,
  bias_correction: BiasCorrection = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
  accumulator_dtype: Any = None,
  columns: Columns = Columns(),  # noqa: B008  (it is immutable)
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

  The state holds `2 T` times the parameters, and every step reads it once: donate it. With
  `accumulator_dtype=jnp.bfloat16` it holds half of that and two float32 rows. What is rounded are
  the moments that past tasks have left; those of the task in progress are accumulated and used in
  float32, as is all arithmetic. They must be: in bfloat16, with 8 bits of precision, what a step
  adds to a moment is mostly less than half of its last digit. Adagrad's sum stops growing at about
  300 squared gradients, Adam's second moment does not decay at all, and RMSProp's follows its
  gradients only where they change by a third.

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
    accumulator_dtype: of the moments of past tasks: None or `jnp.float32` (float32, or the dtype of
      the parameters where it is wider), or `jnp.bfloat16`. To `optax.inject_hyperparams` give it by
      name, `"bfloat16"`.
    columns: `Columns(axis_name, D)` shares the rows out over the D devices of a mapped axis, each
      of which must be given the same gradient; a step sends the update and T numbers for each
      tensor. `init` gives what one device holds, and need not be mapped.

  Returns:
    A transformation whose `update` takes the keyword `task_id` (0-based; Python int, or integer
    scalar, may be traced) and ignores other extra arguments. Updates keep the dtype of the
    gradients; arithmetic is in float32 at least. A tensor whose gradient is None is left alone. A
    traced task id cannot be refused: outside `[0, T)` it turns the updates into NaN.

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
  check_choice("base", base, get_args(Base))
  check_choice("bias_correction", bias_correction, get_args(BiasCorrection))
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
  rule = _Rule(base, b, beta1, beta2, eps, columns)
  rounded = _check_accumulator_dtype(accumulator_dtype)

  def init(params: optax.Params) -> ScaleByTagState:
    if isinstance(num_tasks, jax.core.Tracer):
      raise ValueError(
        "num_tasks sets the shapes of the state and cannot be traced: "
        "optax.inject_hyperparams(tag, static_args='num_tasks')"
      )
    return _init(params, int(num_tasks), rounded, columns)

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
    step = count = _task_rows.read(state.count, task_id)
    if by_epoch:
      step = count % steps_of_task(steps_per_epoch, task_id)

    goes_on = None if state.current is None else state.current.task_id == task_id

    def one(grad, *tensor):
      tensor = _Tensor(None, *tensor, *(() if rounded else (None, None)))
      return _step(grad, tensor, task_id=task_id, goes_on=goes_on, step=step + 1, rule=rule)

    fields = (*state[:4], *(state.current[1:] if rounded else ()))
    tensors = jax.tree.map(one, updates, *fields, is_leaf=lambda leaf: leaf is None)
    new_updates, *moments = (_field(tensors, name) for name in _Tensor._fields)
    count = _task_rows.write(state.count, count + 1, task_id)
    current = CurrentTask(task_id, *moments[4:]) if rounded else None
    return new_updates, ScaleByTagState(*moments[:4], count, current)

  return optax.GradientTransformationExtraArgs(init, update)


def tag(
  learning_rate: optax.ScalarOrSchedule,
  num_tasks: int,
  b: float = 5.0,
  base: Base = "rmsprop",
  *,
  beta1: float = 0.9,
  beta2: float | None = None,
  eps: float = 1e-8,
  bias_correction: BiasCorrection = "task",
  steps_per_epoch: int | Sequence[int] | None = None,
  accumulator_dtype: Any = None,
  columns: Columns = Columns(),  # noqa: B008  (it is immutable)
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
    accumulator_dtype: of the moments of past tasks; `jnp.bfloat16` halves the state.
    columns: `Columns(axis_name, D)`: each of D devices holds a share of the state.

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
    accumulator_dtype=accumulator_dtype,
    columns=columns,
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


def _check_accumulator_dtype(value: Any) -> bool:
  """Whether the rows are bfloat16; refuses what is neither that nor float32."""
  try:
    name = "float32" if value is None else jnp.dtype(value).name
  except TypeError:
    name = None
  if name not in ACCUMULATOR_DTYPES:
    # float16 among them: squares of gradients below 2e-4 would be 0 there.
    raise ValueError(f"accumulator_dtype must be None, float32 or bfloat16, got {value!r}")
  return name == "bfloat16"


def _init(params: optax.Params, num_tasks: int, rounded: bool, columns: Columns) -> ScaleByTagState:
  def full(value, *shape, flat=False, dtype=None):
    def one(p):
      exact = jnp.result_type(p)
      if not jnp.issubdtype(exact, jnp.floating):
        raise TypeError(
          f"TAG needs real floating point parameters, got {exact}: leave it out with optax.masked"
        )
      size = (columns.width(math.prod(jnp.shape(p))),) if flat else ()
      return jnp.full(shape + size, value, dtype or jnp.promote_types(exact, jnp.float32))

    return jax.tree.map(one, params)

  dtype = jnp.uint16 if rounded else None
  current = CurrentTask(jnp.full((), -1, jnp.int32), full(0.0, flat=True), full(0.0, flat=True))
  return ScaleByTagState(
    first_moment=full(0.0, num_tasks, flat=True, dtype=dtype),
    second_moment=full(0.0, num_tasks, flat=True, dtype=dtype),
    norm=full(0.0, num_tasks),
    relatedness=full(jnp.nan, num_tasks),
    count=jnp.zeros(num_tasks, jnp.int32),
    current=current if rounded else None,
  )


def _step(grad, tensor: _Tensor, *, task_id, goes_on, step, rule: _Rule) -> _Tensor:
  """One step of one tensor; `step` counts from 1 in this task (or epoch)."""
  _, first, second, norm, relatedness, current_first, current_second = tensor
  if grad is None:
    nowhere = None if relatedness is None else jnp.full_like(relatedness, jnp.nan)
    return tensor._replace(relatedness=nowhere)
  dtype = norm.dtype
  total = functools.partial(rule.columns.total, size=grad.size)
  g = rule.columns.own(grad.astype(dtype).reshape(-1))
  first, m = _task_rows.accumulate(first, current_first, g, task_id, goes_on, rule.beta1)
  second, v = _task_rows.accumulate(second, current_second, g * g, task_id, goes_on, rule.beta2)
  dots = total(_task_rows.products(first, m))
  norm, length = _task_rows.lengths(norm, dots, first, m, task_id, total)
  past, weight = _weights(dots, norm * length, task_id, jnp.asarray(rule.b, dtype))
  second_sum = _task_rows.weighted_sum(weight, second, v, task_id)
  if rule.base == "adam":
    g = m / _one_minus_power(rule.beta1, step, dtype)
    second_sum = second_sum / _one_minus_power(rule.beta2, step, dtype)
  update = g / (jnp.sqrt(second_sum) + jnp.asarray(rule.eps, dtype))
  update = rule.columns.whole(update, grad.size).reshape(grad.shape).astype(grad.dtype)
  current = (None, None) if current_first is None else (m, v)
  return _Tensor(update, first, second, norm, jnp.where(past, weight, jnp.nan), *current)


def _weights(dots, length, task_id, b):
  """Which of the T tasks are past, and the weight of each: 0 for those to come.

  Args:
    dots: `[T]`, products of each task's direction and the current one.
    length: `[T]`, products of their norms.
    task_id: int32 scalar.
    b: scalar.
  """
  tasks = jnp.arange(dots.size)
  # A tensor that has seen no gradient yet, here or in the past task, has no direction: cosine 0.
  cosine = jnp.where(length > 0, dots / jnp.where(length > 0, length, 1), 0)
  past = tasks < task_id
  itself = jnp.where(task_id == 0, jnp.ones_like(b), jnp.exp(-b))
  # A traced id out of range must not go unnoticed: dynamic slices would clamp it in silence.
  known = (task_id >= 0) & (task_id < dots.size)
  others = jnp.where(past, jnp.exp(-b * jnp.clip(cosine, -1, 1)), 0)
  weight = jnp.where(tasks == task_id, itself, others)
  return past, jnp.where(known, weight, jnp.nan)


def _one_minus_power(beta, exponent, dtype):
  """`1 - beta ** exponent`, without the cancellation that costs four digits at the first step."""
  log = jnp.log(beta) if isinstance(beta, jax.Array) else _log(beta)
  return (-jnp.expm1(exponent * log)).astype(dtype)


def _log(beta):
  return math.log(beta) if beta else -math.inf
