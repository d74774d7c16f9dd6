r"""iTAML: meta-learning over the tasks of a batch, and a task that is found out at test time."""

import functools
import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core import losses, passes
from tagjax.core.method import (
  Boundary,
  Method,
  Query,
  Step,
  lift,
  predicts,
  prepares,
  rehearses,
)
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.memory import class_quota
from tagjax.memory.capacity import Per
from tagjax.methods import rehearsing
from tagjax.methods.fine_tuning import restarted
from tagjax.transforms import parameter_names
from tagjax.transforms.checks import check_choice, check_count, check_range

Variant = Literal["paper", "reference"]
ClassifierMerge = Literal["mean", "own"]


class ItamlState(NamedTuple):
  """State of `itaml`.

  Attributes:
    inner: state of the inner optimizer, carried through all inner steps of a session.
    memory: the exemplars, see `tagjax.memory.class_quota`; `()` with capacity 0.
  """

  inner: Any
  memory: class_quota.ClassQuotaState | tuple[()]


class Copies(NamedTuple):
  """What `itaml` serves to its predictions.

  Attributes:
    general: the model's variables as training has left them.
    adapted: the same tree with a first axis of T: row t is adapted to the exemplars of task t. Rows
      of tasks not seen yet, or of which there is no exemplar, hold the general model.
  """

  general: Variables
  adapted: Variables


@register("itaml", kind="modifier", shares="memory", traced=("beta",))
def itaml(
  spec: StreamSpec,
  inner: optax.GradientTransformation | Method,
  *,
  beta: float = 1.0,
  r: int = 1,
  variant: Variant = "paper",
  classifier_merge: ClassifierMerge = "mean",
  head: str = "head/*",
  capacity: int = 1,
  per: Per = "class",
  selection: class_quota.Selection = "first",
  adapt_learning_rate: float = 1e-3,
  adapt_batch_size: int = 64,
) -> Method:
  r"""iTAML: learns for each task of a batch apart, and finds out at test time which task it is.

  In session s = 0, 1, ... of T the exemplars of all classes seen are mixed into the training set.
  A minibatch has rows of k of the tasks 0 .. s; in ascending order each of these tasks i starts at
  the parameters `p` and takes r steps of the inner optimizer on its own rows:

      phi_i <- p;  r times:  phi_i <- phi_i + inner(∇ (1/n_i) Σ_{(x, y) of task i} BCE(x, y))
      p     <- p + eta (1/k) Σ_i (phi_i - p)                  eta = exp(-beta s / T)

  BCE is the mean binary cross-entropy over the task's own outputs against a one-hot target; n_i
  counts the rows of task i on all devices, so every task that is present weighs the same. The inner
  optimizer starts anew with each session, and its state is carried through all inner steps: neither
  set back with the parameters nor averaged. A task without rows takes no step. Running averages
  (BatchNorm) follow the pass over the whole batch, then each inner pass, and are neither set back
  nor averaged.

  **Prediction.** Before an evaluation, from the second session on, one copy of the model for each
  task seen takes one epoch over that task's exemplars: a new Adam, batches of `adapt_batch_size`,
  training mode, augmentation, the same loss. At test the examples come in runs of
  `Query.continuum` = p of one task: the general model votes with the mean over the run of its
  largest output of each task, and the copy of the task with the most votes classifies. The logits
  of a task's outputs are always those of its own copy; where they are not of the chosen task, they
  are shifted below its outputs. So argmax gives the class, the largest k come from the chosen task
  first, and among the outputs of a known task argmax is the task-aware prediction.

  **The inner optimizer** is an Optax transformation, or a chain: on the command line all that
  follows, schedule and `freeze` included, such as `itaml+ewc+tag`. What it sees as `at` is the
  inner step: the rows, loss, gradient and logits of task i. `at.task_id` stays s; `at.inner_task`,
  which Optax transformations get as `task_id`, is i: TAG has a row of moments a task. Penalties
  (EWC, MAS, SI, RWalk, LwF) pull at every inner step; the path of SI and RWalk is measured from one
  inner step's start to the next one's. TAG's moments and what has a consolidation survive the
  session. Refused is what replays or projects: it would bring all tasks into the steps of one.

  **Cost.** One task's rows are a part of the batch: a minibatch costs a forward pass over all rows
  and a training pass over less than 4 B + 8 k rows (`tagjax.core.passes`), and k r optimizer steps.
  An evaluation costs an epoch over the exemplars, and s + 2 forward passes an example.

  Args:
    spec: the stream; tasks must have outputs of their own, so not in the scenario "domain".
    inner: the inner optimizer: an Optax transformation, or a method or chain that ends with one.
    beta: how fast eta falls, at least 0; 0 takes the whole mean.
    r: inner steps of each task in a minibatch, at least 1.
    variant: `"paper"`, or `"reference"`: what the authors' code does, see below.
    classifier_merge: `"mean"`: all parameters are merged as above. `"own"`: of the head the outputs
      of task i move by `eta (phi_i - p)`, and only if task i is present; `"paper"` only.
    head: the parameters of the head, a pattern of names, for `"own"`; their last axis is K.
    capacity: exemplars, for each pair of task and class or in total (M); each class seen keeps M
      over the number of classes seen. Where that is less than 1, or 0 is given, there are none: the
      general model classifies.
    per: `"class"` or `"total"`.
    selection: which examples of a class are kept: the `"first"` of the data set, as the authors'
      code does, at `"random"`, or by `"herding"`, which requires `features` of the model.
    adapt_learning_rate: Adam's, of the copies, greater than 0.
    adapt_batch_size: exemplars in a step of a copy, at least 1.

  Returns:
    The method; its state is an `ItamlState`. It makes the whole step, so it stands first.

  Raises:
    ValueError: if an argument is out of range; the tasks share their outputs; `"own"` is asked of
      the reference variant, or `head` matches no parameter whose last axis is K; or `inner` has
      exemplars, phases or a prediction of its own.

  Example:
    >>> import numpy as np, optax
    >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "class", (4, 4, 1))
    >>> method = itaml(spec, optax.sgd(0.1, momentum=0.9), capacity=20, per="total")
    >>> state = method.init({"head": {"kernel": jnp.zeros((16, 4))}})
    >>> state.memory.exemplars.image.shape
    (20, 4, 4, 1)

  References:
    Rajasegaran, Khan, Hayat, Khan, Shah. iTAML: An Incremental Task-Agnostic Meta-learning
    Approach. CVPR 2020, arXiv:2003.11652.

  Differs from the reference code:
    * There the parameters are not set back before each task, and the mean is of references to one
      tensor: tasks follow one another, and the last one's parameters are merged. That is
      `variant="reference"`.
    * r is a constant; there it becomes 1 (4 for the last task of SVHN).
    * The parameters of a session are those of its last epoch, or chosen by validation examples;
      there by test examples.
    * A run that is shorter than p, the last one of a task, votes by itself.
    * Heads with a bias are allowed; the authors' have none, but for one network.
  """
  _check(spec, variant, classifier_merge, selection)
  check_range("beta", beta, 0.0, math.inf, "[0, inf)")
  check_count("r", r)
  check_range("adapt_learning_rate", adapt_learning_rate, 0.0, math.inf, "(0, inf)")
  check_count("adapt_batch_size", adapt_batch_size)
  inner = _checked_inner(inner)
  size = class_quota.total(spec, capacity, per)
  head_of = functools.partial(_head_of, head if classifier_merge == "own" else None, spec)

  def init(params):
    head_of(params)
    state = inner.init(params)
    _refuse_memories(state)
    return ItamlState(state, class_quota.empty(spec, size) if size else ())

  def update(updates, state: ItamlState, params, *, at: Step):
    del updates
    end = _inner_loops(
      at, inner, spec, r, params, state.inner, head_of(params), sequential=variant == "reference"
    )
    eta = jnp.exp(-beta * at.task_id / spec.num_tasks)
    updates = jax.tree.map(lambda d, p: (eta * d).astype(p.dtype), end.moved, params)
    return updates, state._replace(inner=end.state), end.others

  def consolidate(state: ItamlState, variables, *, at: Boundary):
    inner_state, variables = inner.consolidate(state.inner, variables, at=at)
    memory = state.memory
    if size:
      assert at.chunk is not None, "a task has ended"
      assert isinstance(memory, class_quota.ClassQuotaState)
      features = None
      if selection == "herding":
        features = rehearsing.chunk_features(at.apply_fn, variables, at.chunk)
      memory = class_quota.update(memory, at.chunk, selection=selection, features=features)
    return ItamlState(restarted(inner, inner_state, variables["params"]), memory), variables

  def prepare(state: ItamlState, variables, *, at: Boundary):
    if not size:
      return _copies_of(variables, spec.num_tasks)
    assert isinstance(state.memory, class_quota.ClassQuotaState)
    exemplars = state.memory.exemplars

    def rows_of(task):
      is_of_task = exemplars.mask & (exemplars.task_id == task)
      return _shuffled(jax.random.fold_in(at.key, task), is_of_task, adapt_batch_size)

    return adapt(at, spec, variables, exemplars, rows_of=rows_of, learning_rate=adapt_learning_rate)

  method = Method(
    init,
    update,
    consolidate,
    prepare=prepare,
    predict=functools.partial(_predict, spec),
    ignores_updates=True,
    pads_batches=True,
    requires=inner.requires | ({"features"} if size and selection == "herding" else set()),
    diagnose=lambda state: inner.diagnose(state.inner),
    monitor=lambda state: inner.monitor(state.inner),
    notes=inner.notes,
    num_boundary_examples=None if size else inner.num_boundary_examples,
  )
  if size:
    method = method._replace(rehearsal=lambda state: state.memory.exemplars)
  return method


def _check(spec, variant, classifier_merge, selection) -> None:
  check_choice("variant", variant, get_args(Variant))
  check_choice("classifier_merge", classifier_merge, get_args(ClassifierMerge))
  class_quota.check_selection(selection)
  if spec.scenario == "domain":
    raise ValueError(
      "scenario='domain': the tasks share their outputs, so none of them tells the task, which "
      'itaml finds out: choose "class" or "task"'
    )
  if (classifier_merge, variant) == ("own", "reference"):
    raise ValueError(
      "classifier_merge='own': the reference variant has one set of parameters after its inner "
      'loops: use "mean", or variant="paper"'
    )


def _checked_inner(inner: optax.GradientTransformation | Method) -> Method:
  inner = lift(inner)
  for has, what in (
    (inner.ignores_updates, "makes its step of the whole batch"),
    (rehearses(inner), "mixes exemplars of its own into the training set"),
    (prepares(inner) or predicts(inner), "has a prediction of its own"),
    (len(inner.phases) > 1, "has phases of its own"),
  ):
    if has:
      name = f" ({inner.name})" if inner.name else ""
      raise ValueError(f"inner{name} {what}: itaml has its own, leave that member away")
  return inner


def _refuse_memories(state: Any) -> None:
  """Refuses methods that replay or project, which are known by the examples that they keep."""
  nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Batch))
  if any(isinstance(node, Batch) for node in nodes):
    raise ValueError(
      "inner keeps a memory of examples of all tasks, and would bring them into the steps of one: "
      "itaml has its own memory, which it mixes into the training set; leave that member away"
    )


def _head_of(pattern: str | None, spec: StreamSpec, params: chex.ArrayTree) -> chex.ArrayTree:
  """Tree of bools like the parameters: which are the head's; no pattern, no head."""
  names = parameter_names(params)
  flags = [pattern is not None and fnmatchcase(name, pattern) for name in names]
  leaves, tree = jax.tree.flatten(params)
  if pattern is not None:
    found = [leaf.shape for leaf, flag in zip(leaves, flags, strict=True) if flag]
    if not found or any(shape[-1:] != (spec.num_outputs,) for shape in found):
      raise ValueError(
        f"head={pattern!r} must match parameters whose last axis is the {spec.num_outputs} "
        f"outputs, and matches {found or 'none'}; there are: {', '.join(names)}"
      )
  return jax.tree.unflatten(tree, flags)


class _Inner(NamedTuple):
  """What goes through the inner loops of a minibatch.

  Attributes:
    params: where the next task starts, if tasks follow one another; else `()`.
    state: of the inner optimizer.
    others: the model's collections besides "params".
    moved: what the tasks have moved the parameters by, summed up; at the end merged.
  """

  params: chex.ArrayTree
  state: Any
  others: Variables
  moved: chex.ArrayTree


def _inner_loops(
  at: Step,
  inner: Method,
  spec: StreamSpec,
  r: int,
  base: chex.ArrayTree,
  state: Any,
  is_head: chex.ArrayTree,
  *,
  sequential: bool,
) -> _Inner:
  """The inner loops of all tasks that are present; `moved` of the result is before eta."""
  order, start, count = passes.rows_by_task(at.batch, spec.num_tasks)
  of_devices = at.gather(count[None])
  total, most = jnp.sum(of_devices, axis=0), jnp.max(of_devices, axis=0)
  tasks = jnp.arange(spec.num_tasks)
  last = passes.most_of_lanes(jnp.max(jnp.where(total > 0, tasks, -1)))
  classes = jnp.asarray(spec.classes)

  def own(moved, task):
    """Of the head the outputs of the task."""
    return jax.tree.map(
      lambda d, is_own: jnp.where(_wide(classes[task], d), d, 0) if is_own else d, moved, is_head
    )

  def inner_loop(task, size, carry: _Inner) -> _Inner:
    part = passes.part_of(at.batch, order, start[task], count[task], size)
    told = at._replace(batch=part, inner_task=task, key=jax.random.fold_in(at.key, task))
    step = functools.partial(
      _inner_step, told, inner, classes[task], total[task] / of_devices.shape[0]
    )
    params = carry.params if sequential else base
    loop = (params, carry.state, carry.others)
    loop = jax.lax.fori_loop(0, r, step, loop) if r > 1 else step(0, loop)
    params, new_state, others = loop
    moved = jax.tree.map(jnp.subtract, params, base)
    if sequential:
      return _Inner(params, new_state, others, moved)
    moved = jax.tree.map(jnp.add, carry.moved, own(moved, task))
    return _Inner((), new_state, others, moved)

  def body(task, carry):
    run = functools.partial(inner_loop, task)
    return passes.run_pass(run, most[task], at.batch.mask.shape[0], carry)

  others = {name: tree for name, tree in at.variables.items() if name != "params"}
  zero = jax.tree.map(jnp.zeros_like, base)
  begin = _Inner(base if sequential else (), state, others, zero)
  end = jax.lax.fori_loop(0, last + 1, body, begin)
  if sequential:
    return end
  present = total > 0
  number = jnp.maximum(jnp.sum(present), 1)
  of_output = jnp.maximum(jnp.sum(classes & present[:, None], axis=0), 1)
  moved = jax.tree.map(
    lambda d, is_own: d / (_wide(of_output, d) if is_own else number), end.moved, is_head
  )
  return end._replace(moved=moved)


def _wide(values: chex.Array, leaf: chex.Array) -> chex.Array:
  """`values [K]` beside a leaf whose last axis is K."""
  return values.reshape((1,) * (leaf.ndim - 1) + (-1,))


def _inner_step(
  at: Step, inner: Method, classes: chex.Array, count: chex.Array, number: chex.Numeric, carry
):
  """One step of the inner optimizer on the rows of one task.

  Args:
    at: the outer step, with the rows, the number and a key of the inner task.
    inner: the inner optimizer.
    classes: bool `[K]`, the task's outputs.
    count: the task's rows a device.
    number: of the inner step.
    carry: `(params, state, other collections)`.
  """
  params, state, others = carry
  forward_key, method_key = jax.random.split(jax.random.fold_in(at.key, number))
  loss_fn = functools.partial(_slice_loss, classes, count)
  loss, grad = at.grad_fn(params, at.batch, variables=others, loss_fn=loss_fn, key=forward_key)
  # XLA makes one of this forward pass and the one in the gradient, and drops it where nothing that
  # it gives is used.
  logits, variables = at.apply_fn(
    {**others, "params": params}, at.batch, key=forward_key, train=True
  )
  told = at._replace(
    loss=loss,
    grad=grad,
    logits=logits,
    variables={**variables, "params": params},
    grad_fn=functools.partial(at.grad_fn, loss_fn=loss_fn),
    key=method_key,
  )
  updates, state, *moved = inner.update(grad, state, params, at=told)
  others = {name: variables[name] for name in others} | (moved[0] if moved else {})
  return optax.apply_updates(params, updates), state, others


def _slice_loss(
  classes: chex.Array, count: chex.Numeric, logits: chex.Array, batch: Batch
) -> chex.Array:
  """Binary cross-entropy over the outputs of one task, mean over the valid rows."""
  active = jnp.broadcast_to(classes, logits.shape)
  values = losses.binary_cross_entropy(logits, batch.label, active)
  return losses.masked_mean(values, batch.mask, count)


def adapt(
  at: Boundary,
  spec: StreamSpec,
  variables: Variables,
  exemplars: Batch,
  *,
  rows_of: Callable[[chex.Array], chex.Array],
  learning_rate: float,
) -> Copies:
  """A copy of the model for each task seen, after an epoch of Adam over its exemplars.

  Args:
    at: the boundary; after the first task, 0, there is only one, and nothing is adapted.
    spec: the stream.
    variables: the general model.
    exemplars: `[M, ...]`.
    rows_of: from the task, a traced int32 scalar, to the exemplars of each of its batches, int32
      `[N, b]`; -1 where there is none. Batches without any, the last ones, take no step.
    learning_rate: Adam's.
  """
  optimizer = optax.adam(learning_rate)

  def of_task(task):
    rows = rows_of(task)
    steps = jnp.sum(jnp.any(rows >= 0, axis=1))
    classes, key = jnp.asarray(spec.classes)[task], jax.random.fold_in(at.key, task)

    def step(number, carry):
      variables, state = carry
      own = rows[number]
      batch = jax.tree.map(lambda leaf: leaf[jnp.maximum(own, 0)], exemplars)
      batch = batch._replace(mask=own >= 0)
      count = jnp.sum(batch.mask, dtype=jnp.float32)

      def objective(params):
        logits, changed = at.apply_fn(
          {**variables, "params": params},
          batch,
          key=jax.random.fold_in(key, number),
          train=True,
        )
        return _slice_loss(classes, count, logits, batch), changed

      params = variables["params"]
      grad, changed = jax.grad(objective, has_aux=True)(params)
      updates, state = optimizer.update(grad, state, params)
      return {**changed, "params": optax.apply_updates(params, updates)}, state

    start = (dict(variables), optimizer.init(variables["params"]))
    return jax.lax.fori_loop(0, steps, step, start)[0]

  def write(task, copies):
    return jax.tree.map(lambda rows, row: rows.at[task].set(row), copies, of_task(task))

  copies = _copies_of(variables, spec.num_tasks)
  tasks_seen = jnp.where(at.task_id > 0, at.task_id + 1, 0)
  return copies._replace(adapted=jax.lax.fori_loop(0, tasks_seen, write, copies.adapted))


def _copies_of(variables: Variables, num_tasks: int) -> Copies:
  repeated = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_tasks), dict(variables))
  return Copies(variables, repeated)


def _shuffled(key: chex.PRNGKey, valid: chex.Array, batch_size: int) -> chex.Array:
  """The valid places in random order, int32 `[N, b]`; -1 behind them."""
  size = min(batch_size, valid.shape[0])
  draws = jnp.where(valid, jax.random.uniform(key, valid.shape), jnp.inf)
  order = jnp.argsort(draws).astype(jnp.int32)
  order = jnp.where(jnp.arange(order.shape[0]) < jnp.sum(valid), order, -1)
  missing = -order.shape[0] % size
  return jnp.pad(order, (0, missing), constant_values=-1).reshape(-1, size)


def _predict(spec: StreamSpec, served: Copies, *, at: Query) -> chex.Array:
  """Logits `[B, K]`, each task's of its own copy, those of the chosen task above all others.

  All but the vote is the same whatever the continuum is.
  """
  general, logits = at.once("logits", functools.partial(_own_logits, spec, served, at))
  chosen = vote(spec, general, at.batch.mask, at.current_task, at.continuum)
  return _lifted_above(logits, jnp.asarray(spec.classes)[jnp.repeat(chosen, at.continuum)])


def _own_logits(spec: StreamSpec, served: Copies, at: Query) -> tuple[chex.Array, chex.Array]:
  """Logits of the general model, and each task's of its own copy."""
  classes = jnp.asarray(spec.classes)
  general, _ = at.apply_fn(served.general, at.batch)

  def add(task, logits):
    variables = jax.tree.map(lambda copies: copies[task], served.adapted)
    own, _ = at.apply_fn(variables, at.batch)
    return jnp.where(classes[task], own, logits)

  return general, jax.lax.fori_loop(0, at.current_task + 1, add, general)


def vote(
  spec: StreamSpec,
  logits: chex.Array,
  mask: chex.Array,
  current_task: chex.Array,
  continuum: int,
) -> chex.Array:
  """The task of each run of the continuum.

  `argmax_t Σ_j max_{c of t} z_{j, c}` over the tasks seen, the first of equal ones.

  Args:
    spec: the stream.
    logits: float `[B, K]`, of the general model.
    mask: bool `[B]`; rows where it is False do not vote.
    current_task: int32 scalar, the last task learned.
    continuum: p, see `Query`.

  Returns:
    int32 `[B / p]`.
  """
  classes = jnp.asarray(spec.classes)
  best = jnp.max(losses.mask_logits(logits[:, None], classes[None]), axis=-1)
  votes = jnp.sum(jnp.where(mask[:, None], best, 0).reshape(-1, continuum, spec.num_tasks), axis=1)
  is_seen = jnp.arange(spec.num_tasks) <= current_task
  return jnp.argmax(jnp.where(is_seen, votes, -jnp.inf), axis=-1).astype(jnp.int32)


def _lifted_above(logits: chex.Array, chosen: chex.Array) -> chex.Array:
  """The logits, those that are not chosen shifted together until all are below the chosen ones."""
  lowest = jnp.min(jnp.where(chosen, logits, jnp.inf), axis=-1, keepdims=True)
  highest = jnp.max(jnp.where(chosen, -jnp.inf, logits), axis=-1, keepdims=True)
  shift = jnp.maximum(highest - lowest, 0) + 1
  return jnp.where(chosen, logits, logits - shift)
