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
from jax.sharding import NamedSharding, PartitionSpec

from tagjax.transforms import _task_rows
from tagjax.transforms.checks import (
  check_choice,
  check_count,
  check_range,
  check_steps_per_epoch,
  check_task_id,
  nan_unless_task,
  steps_of_task,
)
from tagjax.transforms.columns import Columns

Base = Literal["rmsprop", "adagrad", "adam"]
BiasCorrection = Literal["task", "epoch"]
AxisName = str | tuple[str, ...]
ACCUMULATOR_DTYPES = ("float32", "bfloat16")

_DEFAULT_BETA2 = {"rmsprop": 0.99, "adagrad": None, "adam": 0.999}
# exp(b) times a second moment must stay a float32.
_LARGEST_B = 80.0


class CurrentTask(NamedTuple):
  """The rows of the task in progress as its steps accumulate them, where T rounded rows are kept.

  Attributes:
    task_id: int32 scalar, the task of the last step; -1 before the first.
    first_moment: pytree like params, leaves `[*p.shape]`, at least float32.
    second_moment: the same for the second moment.
  """

  task_id: chex.Array
  first_moment: optax.Updates
  second_moment: optax.Updates


class ScaleByTagState(NamedTuple):
  """State of `scale_by_tag`: T rows for each parameter tensor, row t written by task t only.

  A row has the shape of its tensor, so that it lies on the devices as its tensor does: of a
  parameter sharded by `PartitionSpec(*axes)` the moments are sharded by
  `PartitionSpec(None, *axes)`, and a step moves none of them between devices. `init` sees to that
  for arrays and for meshes with explicit axes; in a compiled `init` on a mesh with automatic axes
  give `jax.jit` the `out_shardings`.

  Attributes:
    first_moment: pytree like params, leaves `[T, *p.shape]` (`[T, width]` if devices share them by
      columns, see `tagjax.transforms.columns`), at least float32, or uint16: the bits of bfloat16,
      see `tagjax.transforms._task_rows`.
    second_moment: the same for the second moment.
    norm: `[P, T]`, a row for each of the P parameter tensors, in the order of `jax.tree.leaves`:
      the L2 norm of each row of its `first_moment`.
    relatedness: `[P, T]`, the weights of the last step, 0 where the task is not a past one; see
      `task_relatedness`.
    count: int32 `[T]`, steps taken in each task.
    current: see `CurrentTask`; None unless the rows are bfloat16.
  """

  first_moment: optax.Updates
  second_moment: optax.Updates
  norm: chex.Array
  relatedness: chex.Array
  count: chex.Array
  current: CurrentTask | None = None


class _Rule(NamedTuple):
  """The hyperparameters of `scale_by_tag`; the numbers may be traced."""

  base: str
  b: Any
  beta1: Any
  beta2: Any
  eps: Any
  axis_name: AxisName | None
  columns: Columns

  def total(self, part: chex.Array, size: int) -> chex.Array:
    """Sum over the devices that hold the parts of a tensor of `size` numbers."""
    if self.axis_name is not None:
      return jax.lax.psum(part, self.axis_name)
    return self.columns.total(part, size)


class _Moments(NamedTuple):
  """The moments of one parameter tensor; fields as in `ScaleByTagState` and `CurrentTask`.

  The last two are None where the rows themselves are accumulated.
  """

  first: chex.Array
  second: chex.Array
  current_first: chex.Array | None = None
  current_second: chex.Array | None = None


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
  axis_name: AxisName | None = None,
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

  The state holds `2 T` times the parameters, and every step reads it once: donate it. It is sharded
  as the parameters are, see `ScaleByTagState`: of it a step sends T numbers a tensor. With
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
    axis_name: in `jax.shard_map`, the mesh axes over which parameters are sharded. Each device
      gives its part of a gradient and gets that of the update; the products are summed over the
      devices. None where a device has whole tensors, and under `jax.jit`, whatever the shardings.
    columns: `Columns(axis_name, D)` shares the rows out over the D devices of a mapped axis, each
      of which must be given the same whole gradient; a step sends the update and T numbers for each
      tensor. Rows are flat then. `init` gives what one device holds, and need not be mapped.

  Returns:
    A transformation whose `update` takes the keyword `task_id` (0-based; Python int, or integer
    scalar, may be traced) and ignores other extra arguments. Updates keep the dtype of the
    gradients; arithmetic is in float32 at least. A tensor whose gradient is None is left alone. A
    traced task id cannot be refused: outside `[0, T)` it turns the updates into NaN.

  Raises:
    ValueError: for an argument out of its range, or both `axis_name` and `columns`; in `update`,
      for a known task id out of range.
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
  if columns.num_devices > 1 and axis_name is not None:
    raise ValueError("give axis_name if parameters are sharded, or columns if they are not")
  rule = _Rule(base, b, beta1, beta2, eps, axis_name, columns)
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

    structure = jax.tree.structure(state.first_moment)
    trees = (state.first_moment, state.second_moment, *(state.current[1:] if rounded else ()))
    new_updates, moments, norm, relatedness = _step(
      structure.flatten_up_to(updates),
      [_Moments(*leaves) for leaves in zip(*map(jax.tree.leaves, trees), strict=True)],
      state.norm,
      task_id=task_id,
      goes_on=state.current.task_id == task_id if rounded else None,
      step=step + 1,
      rule=rule,
    )
    first, second, *current = (
      structure.unflatten(getattr(one, name) for one in moments)
      for name in _Moments._fields[: len(trees)]
    )
    count = _task_rows.write(state.count, count + 1, task_id)
    exact = CurrentTask(task_id, *current) if rounded else None
    new_state = ScaleByTagState(first, second, norm, relatedness, count, exact)
    return structure.unflatten(new_updates), new_state

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
  axis_name: AxisName | None = None,
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
    axis_name: in `jax.shard_map`, the mesh axes over which parameters are sharded.
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
    axis_name=axis_name,
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
    Pytree like the params, each leaf `[T]`. A weight is greater than 0; 0 stands where the task is
    not a past one (the current one included, whose weight is the constant `exp(-b)`), and
    everywhere before the first step.

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
  structure, weights = jax.tree.structure(found[0].first_moment), found[0].relatedness
  return structure.unflatten(weights[..., i, :] for i in range(structure.num_leaves))


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
  def zeros(p, *tasks, dtype=None):
    shape = (*tasks, *columns.shape(jnp.shape(p)))
    sharding = _sharding_of_rows(p, len(tasks)) if columns.num_devices == 1 else None
    return jax.lax.full(shape, 0, dtype or _accumulator(p), sharding=sharding)

  def rows():
    dtype = jnp.uint16 if rounded else None
    return jax.tree.map(lambda p: zeros(p, num_tasks, dtype=dtype), params)

  def of_tensors():
    leaves = jax.tree.leaves(params)
    dtype = jnp.result_type(jnp.float32, *map(_accumulator, leaves))
    replicated = next(filter(None, map(_replicated, leaves)), None)
    return jax.lax.full((len(leaves), num_tasks), 0, dtype, sharding=replicated)

  def current():
    exact = (jax.tree.map(zeros, params) for _ in range(2))
    return CurrentTask(jnp.full((), -1, jnp.int32), *exact)

  return ScaleByTagState(
    first_moment=rows(),
    second_moment=rows(),
    norm=of_tensors(),
    relatedness=of_tensors(),
    count=jnp.zeros(num_tasks, jnp.int32),
    current=current() if rounded else None,
  )


def _accumulator(p: Any) -> jnp.dtype:
  """The dtype of a tensor's exact moments."""
  exact = jnp.result_type(p)
  if not jnp.issubdtype(exact, jnp.floating):
    raise TypeError(
      f"TAG needs real floating point parameters, got {exact}: leave it out with optax.masked"
    )
  return jnp.promote_types(exact, jnp.float32)


def _known_sharding(p: Any) -> NamedSharding | None:
  """How a tensor is sharded, where that is known: of arrays, or by the type on explicit axes."""
  if isinstance(p, jax.core.Tracer):
    sharding = jax.typeof(p).sharding
    return sharding if sharding.mesh.explicit_axes else None
  sharding = getattr(p, "sharding", None)
  return sharding if isinstance(sharding, NamedSharding) else None


def _sharding_of_rows(p: Any, num_axes: int) -> NamedSharding | None:
  """That of `p`, with `num_axes` axes in front which are not sharded."""
  sharding = _known_sharding(p)
  if sharding is None:
    return None
  return NamedSharding(sharding.mesh, PartitionSpec(*[None] * num_axes, *sharding.spec))


def _replicated(p: Any) -> NamedSharding | None:
  """That of an array which all devices of `p` hold whole."""
  sharding = _known_sharding(p)
  return None if sharding is None else NamedSharding(sharding.mesh, PartitionSpec())


def _step(grads, moments, norm, *, task_id, goes_on, step, rule: _Rule):
  """One step of all tensors.

  The sums over rows of all tensors stand together, which `_task_rows` needs.

  Args:
    grads: gradients, None for a tensor that is left alone.
    moments: `_Moments` of each tensor.
    norm: `[P, T]`.
    task_id: int32 scalar.
    goes_on: bool scalar, whether the last step was of this task; None if the rows are not rounded.
    step: int32 scalar, counts from 1 in this task (or epoch).
    rule: see `_Rule`.

  Returns:
    Updates and moments, lists; norms and the weights of past tasks, `[P, T]`.
  """
  updates, moments, norms = list(grads), list(moments), list(norm)
  weights = [jnp.zeros_like(row) for row in norms]
  told = [index for index, grad in enumerate(grads) if grad is not None]
  g, m, v, alphas = {}, {}, {}, {}
  for i in told:
    g[i] = rule.columns.own(grads[i].astype(_accumulator(grads[i])))
    moments[i], m[i], v[i] = _accumulate(g[i], moments[i], task_id, goes_on, rule)

  products = _task_rows.products([(moments[i].first, m[i]) for i in told], task_id)
  for i, dots in zip(told, products, strict=True):
    total = functools.partial(rule.total, size=grads[i].size)
    dots, own = total(dots), norms[i].astype(dots.dtype)
    norms[i], length = _task_rows.lengths(own, dots, moments[i].first, m[i], task_id, total)
    past, alphas[i] = _weights(dots, norms[i] * length, task_id, jnp.asarray(rule.b, dots.dtype))
    weights[i] = jnp.where(past, alphas[i], 0)

  sums = _task_rows.weighted_sums([(alphas[i], moments[i].second, v[i]) for i in told], task_id)
  for i, second_sum in zip(told, sums, strict=True):
    update = rule.columns.whole(_divided(g[i], m[i], second_sum, step, rule), grads[i].shape)
    updates[i] = update.astype(grads[i].dtype)
  return updates, moments, _stacked(norms, norm), _stacked(weights, norm)


def _accumulate(g, moments: _Moments, task_id, goes_on, rule: _Rule):
  """The moments of one tensor after one more gradient, and the task's own rows, exact."""
  first, second, current_first, current_second = moments
  first, m = _task_rows.accumulate(first, current_first, g, task_id, goes_on, rule.beta1)
  second, v = _task_rows.accumulate(second, current_second, g * g, task_id, goes_on, rule.beta2)
  current = (None, None) if current_first is None else (m, v)
  return _Moments(first, second, *current), m, v


def _divided(g, m, second_sum, step, rule: _Rule):
  """The gradient, or Adam's first moment, over the root of the weighted sum of second moments."""
  if rule.base == "adam":
    g = m / _one_minus_power(rule.beta1, step, g.dtype)
    second_sum = second_sum / _one_minus_power(rule.beta2, step, g.dtype)
  return g / (jnp.sqrt(second_sum) + jnp.asarray(rule.eps, g.dtype))


def _stacked(rows, like):
  """The rows of all tensors as one array; there may be none."""
  return jnp.stack([row.astype(like.dtype) for row in rows]) if rows else like


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
  others = jnp.where(past, jnp.exp(-b * jnp.clip(cosine, -1, 1)), 0)
  weight = jnp.where(tasks == task_id, itself, others)
  return past, nan_unless_task(weight, task_id, dots.size)


def _one_minus_power(beta, exponent, dtype):
  """`1 - beta ** exponent`, without the cancellation that costs four digits at the first step."""
  log = jnp.log(beta) if isinstance(beta, jax.Array) else _log(beta)
  return (-jnp.expm1(exponent * log)).astype(dtype)


def _log(beta):
  return math.log(beta) if beta else -math.inf
