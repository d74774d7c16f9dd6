"""BiC, bias correction: two numbers a task undo the preference of the new classes."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Query, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.memory import capacity as sizes
from tagjax.memory import class_quota
from tagjax.memory.capacity import Per
from tagjax.methods import lwf, quadratic, rehearsing
from tagjax.transforms.checks import check_range

_PENALTY = 0.1
_FIT_STEPS = 100


class Bias(NamedTuple):
  """The correction of each task's new outputs.

  Attributes:
    scale: float32 `[T]`, alpha; 1 where nothing has been fitted.
    offset: float32 `[T]`, beta; 0 where nothing has been fitted.
  """

  scale: chex.Array
  offset: chex.Array


class BicState(NamedTuple):
  """What BiC keeps.

  Attributes:
    memory: the exemplars that are rehearsed.
    held_out: those that the correction is fitted on, which are never trained on.
    teacher: tree like params, a copy of those at the last task's end (at first, the initial).
    bias: the corrections.
  """

  memory: class_quota.ClassQuotaState
  held_out: class_quota.ClassQuotaState
  teacher: chex.ArrayTree
  bias: Bias


class Corrected(NamedTuple):
  """`variables` of the model, and the `bias` that its logits are corrected by."""

  variables: Variables
  bias: Bias


@register("bic", kind="modifier", shares="memory", traced=("temperature",))
def bic(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  selection: class_quota.Selection = "herding",
  held_out: float = 0.1,
  temperature: float = 2.0,
) -> Method:
  """BiC: rehearsal and distillation, then a correction of the new classes' logits.

  First phase: the exemplars are mixed into the training set of every later task, whose loss, in the
  place of the learner's, is with n pairs of task and class seen before and m new ones

      (1 - lambda) CE + lambda H        lambda = n / (n + m)

  CE is the usual cross-entropy, H that between the softmax of the old network's logits and of the
  network's, both over `temperature`, over the groups of outputs that `tagjax.methods.lwf` names (in
  the scenario "class" one, all outputs of past tasks). The old network's logits are corrected.

  Second phase, when a task t > 0 ends: the network stays, and alpha and beta are fitted on held-out
  exemplars, as many of each class seen,

      z_k <- alpha z_k + beta      for the outputs k that no earlier task has taught
      argmin  mean CE(z, y) + 0.05 (beta² + (alpha - 1)²)

  and predictions are corrected by the pair of the last task; those of earlier tasks have been
  distilled into the network. The problem is strictly convex: Newton's method solves it within the
  compiled end of the task. In the scenarios "task" and "domain" there are no new outputs that
  compete with old ones: nothing is held out, and nothing corrected.

  Of the exemplars M, `round(held_out M)` are held out, at least one for each pair of task and
  class. They come from the share `held_out` of each task's examples, drawn by their `index`, that
  is not trained on: the loss leaves them out. Running averages of batch normalisation see them.
  See `tagjax.methods.icarl` for what a step costs, for the teacher, and for compositions.

  Args:
    spec: the stream.
    capacity: M: exemplars for each pair of task and class, or in total, held-out ones included;
      each pair seen has an equal share. 0: the method does nothing.
    per: `"class"` or `"total"`.
    selection: which examples become exemplars: `"first"`, `"random"` or `"herding"`; see
      `tagjax.memory.class_quota.update`. Those held out are random.
    held_out: share of the exemplars, and of each task's examples, that is held out, in (0, 1).
    temperature: of the distillation, greater than 0.

  Returns:
    The method; its state is a `BicState`, or `()` if `capacity` is 0. Herding requires `features`
    of the model.

  Raises:
    ValueError: if an argument is out of range, or M is too small for an exemplar of each pair in
      both parts.

  >>> import optax
  >>> from tagjax.core.chain import chain
  >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "class", (4, 4, 1))
  >>> state = chain(bic(spec, capacity=50, per="total"), optax.sgd(0.1)).init({})[0]
  >>> len(state.memory.exemplars.mask), len(state.held_out.exemplars.mask)
  (45, 5)

  References:
    Wu, Chen, Wang, Ye, Liu, Guo, Fu. Large Scale Incremental Learning. CVPR 2019.

  Differs from the reference code: alpha and beta are the optimum (there SGD with momentum, for
  twice the epochs of the first phase), and alpha is held to 1 as beta is to 0, by the same weight,
  since a few exemplars that can be told apart would drive it to infinity; a tenth of a task's
  examples is held out (there as many of each class as are kept); exemplars are chosen once, and not
  chosen anew among the kept ones after every task; the teacher runs in training mode.
  """
  class_quota.check_selection(selection)
  check_range("held_out", held_out, 0.0, 1.0, "(0, 1)")
  check_range("temperature", temperature, 0.0, math.inf, "(0, inf)")
  total, corrects = class_quota.total(spec, capacity, per, needed_by="bic"), _corrects(spec)
  if total == 0:
    return identity()
  kept_out = _held_out_size(spec, total, capacity, held_out) if corrects else 0

  def init(params) -> BicState:
    memory = class_quota.empty(spec, total - kept_out)
    # Without a second phase a single row stays empty: the state has one form.
    apart = class_quota.empty(spec, max(kept_out, 1))
    bias = Bias(jnp.ones(spec.num_tasks), jnp.zeros(spec.num_tasks))
    return BicState(memory, apart, quadratic.copy(params), bias)

  def is_trained(batch: Batch) -> chex.Array:
    return ~is_held_out(batch.index, held_out) if corrects else jnp.ones_like(batch.mask)

  def update(updates, state: BicState, params, *, at: Step):
    batch = at.batch._replace(mask=at.batch.mask & is_trained(at.batch))
    count = losses.mean_count(at._replace(batch=batch))
    target, share = _old_logits(spec, state, at), _past_share(spec, at.task_id)
    groups, past = lwf.past_groups(spec, at.task_id)

    def loss_fn(logits, batch: Batch):
      new = losses.cross_entropy(logits, batch.label, at.active_fn(batch))
      # Divided by tau²: H and the divergence have the same gradient but for that.
      old = lwf.divergence(target, logits, groups, temperature) / temperature**2
      old = jnp.sum(jnp.where(past & (share > 0), old, 0), axis=1)
      return losses.masked_mean((1 - share) * new + share * old, batch.mask, count)

    return rehearsing.exchange_loss(updates, params, batch, loss_fn, at=at), state

  def consolidate(state: BicState, variables, *, at: Boundary):
    assert at.chunk is not None, "a task has ended"
    features = None
    if selection == "herding":
      features = rehearsing.chunk_features(at.apply_fn, variables, at.chunk)
    rest = at.chunk.mask & is_trained(at.chunk)
    memory = class_quota.update(
      state.memory, at.chunk._replace(mask=rest), selection=selection, features=features
    )
    apart, bias = state.held_out, state.bias
    if corrects:
      chunk = at.chunk._replace(mask=at.chunk.mask & ~rest)
      apart = class_quota.update(apart, chunk, selection="random")
      bias = _fit_of_task(spec, bias, apart.exemplars, variables, at)
    return BicState(memory, apart, quadratic.copy(variables["params"]), bias), variables

  def rehearsal(state: BicState) -> Batch:
    return state.memory.exemplars

  def prepare(state: BicState, variables, *, at: Boundary) -> Corrected:
    del at
    return Corrected(variables, state.bias)

  def predict(served: Corrected, *, at: Query) -> chex.Array:
    logits, _ = at.apply_fn(served.variables, at.batch)
    return _correct(spec, served.bias, logits, at.current_task)

  method = Method(init, update, consolidate, rehearsal=rehearsal)
  if selection == "herding":
    method = method._replace(requires=frozenset({"features"}))
  return method._replace(prepare=prepare, predict=predict) if corrects else method


def _corrects(spec: StreamSpec) -> bool:
  return spec.scenario == "class"


def _held_out_size(spec: StreamSpec, total: int, capacity: int, share: float) -> int:
  pairs = sizes.num_pairs(spec)
  size = max(math.floor(share * total + 0.5), pairs)
  if total - size < pairs:
    raise ValueError(
      f"memory.capacity={capacity} is {total} exemplars for {pairs} pairs of task and class, and "
      f"bic needs one to rehearse and one to hold out of each: give at least {2 * pairs} in total, "
      "and a held_out that leaves as many to rehearse"
    )
  return size


def is_held_out(index: chex.Array, share: float) -> chex.Array:
  """Whether examples are held out, a function of their row in the data set alone; bool like it.

  Rows that are not known (-1) are not.

  >>> is_held_out(jnp.arange(-1, 10), 0.3).tolist()[0]
  False
  """
  flat = index.reshape(-1)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), flat.astype(jnp.uint32))
  draw = jax.vmap(jax.random.uniform)(keys)
  return ((draw < share) & (flat >= 0)).reshape(index.shape)


def _past_share(spec: StreamSpec, task_id: chex.Array) -> chex.Array:
  """lambda: the share of the pairs of task and class seen that belong to past tasks."""
  seen = np.cumsum(np.sum(spec.classes, axis=1))
  before = np.concatenate([[0], seen[:-1]])
  return jnp.asarray(before / np.maximum(seen, 1), jnp.float32)[task_id]


def _new_outputs(spec: StreamSpec) -> np.ndarray:
  """Bool `[T, K]`: the outputs that a task is the first to teach."""
  classes = np.asarray(spec.classes, bool)
  seen = np.logical_or.accumulate(classes, axis=0)
  seen = np.concatenate([np.zeros_like(seen[:1]), seen[:-1]])
  return classes & ~seen


def _correct(spec: StreamSpec, bias: Bias, logits: chex.Array, task_id: chex.Array) -> chex.Array:
  """`alpha z + beta` at the new outputs of the task."""
  is_new = jnp.asarray(_new_outputs(spec))[task_id]
  return corrected(logits, is_new, bias.scale[task_id], bias.offset[task_id])


def corrected(
  logits: chex.Array, is_new: chex.Array, scale: chex.Numeric, offset: chex.Numeric
) -> chex.Array:
  """`scale · z + offset` where `is_new`, bool `[K]`; else `z`, float `[B, K]`."""
  return jnp.where(is_new, scale * logits + offset, logits)


def _old_logits(spec: StreamSpec, state: BicState, at: Step) -> chex.Array:
  """The old network's corrected logits; zeros in the first task."""

  def ask(teacher):
    old = {**at.variables, "params": teacher}
    logits, _ = at.apply_fn(old, at.batch, key=at.key, train=True)
    return _correct(spec, state.bias, logits, at.task_id - 1) if _corrects(spec) else logits

  def nothing(teacher):
    del teacher
    return jnp.zeros_like(at.logits)

  return jax.lax.cond(at.task_id > 0, ask, nothing, state.teacher)


def _fit_of_task(
  spec: StreamSpec, bias: Bias, exemplars: Batch, variables: Variables, at: Boundary
) -> Bias:
  """`bias` with the pair of the task that has ended; that of the first stays 1 and 0."""
  is_new = jnp.asarray(_new_outputs(spec))[at.task_id]

  def fitted(bias):
    logits = rehearsing.of_exemplars(at.apply_fn, variables, exemplars)
    active = at.active_fn(exemplars)
    pair = fit(logits, exemplars.label, exemplars.mask, active, is_new)
    return Bias(
      *(values.at[at.task_id].set(value) for values, value in zip(bias, pair, strict=True))
    )

  return jax.lax.cond(at.task_id > 0, fitted, lambda bias: bias, bias)


def fit(
  logits: chex.Array,
  label: chex.Array,
  mask: chex.Array,
  active: chex.Array,
  is_new: chex.Array,
) -> chex.Array:
  """The optimum of `mean CE + 0.05 ((alpha - 1)² + beta²)`, see `bic`.

  Args:
    logits: float `[M, K]`.
    label: int32 `[M]`.
    mask: bool `[M]`, the examples that count; with none of them the optimum is (1, 0).
    active: bool `[M, K]`, the outputs that compete.
    is_new: bool `[K]`, the outputs that are corrected.

  Returns:
    float32 `[2]`, alpha and beta.
  """
  start = jnp.array([1.0, 0.0])

  def objective(pair):
    values = losses.cross_entropy(corrected(logits, is_new, *pair), label, active)
    mean = losses.masked_mean(values, mask, jnp.sum(mask, dtype=jnp.float32))
    return mean + _PENALTY / 2 * jnp.sum(jnp.square(pair - start))

  gradient, hessian = jax.grad(objective), jax.hessian(objective)

  def step(_, carry):
    """Newton's, damped where it would not go down."""
    pair, damping = carry
    step = jnp.linalg.solve(hessian(pair) + damping * jnp.eye(2), gradient(pair))
    goes_down = objective(pair - step) < objective(pair)
    damping = jnp.clip(damping * jnp.where(goes_down, 0.1, 10.0), 1e-9, 1e9)
    return jnp.where(goes_down, pair - step, pair), damping

  pair, _ = jax.lax.fori_loop(0, _FIT_STEPS, step, (start, jnp.float32(1e-3)))
  return pair
