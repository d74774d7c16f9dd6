r"""PackNet: each task prunes the weights that it has trained, and the next one takes the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.by_task import by_task
from tagjax.core.method import Boundary, Method, Phase, Query, Step, num_boundary_examples
from tagjax.core.passes import most_of_lanes
from tagjax.core.register import register
from tagjax.core.types import StreamSpec, Variables
from tagjax.methods import isolation
from tagjax.methods.isolation import own_part
from tagjax.transforms import parameter_names
from tagjax.transforms.checks import check_count, check_range

_TRAIN, _RETRAIN = "train", "retrain"
_AVERAGES = "batch_stats"


class PacknetState(NamedTuple):
  """State of `packnet`.

  Attributes:
    inner: of the optimizer.
    owner: by name of each parameter that is packed, int16 of its shape: the task that each weight
      belongs to, T where it is free.
    learned: bool `[T]`, the tasks that have ended.
  """

  inner: Any
  owner: dict[str, chex.Array]
  learned: chex.Array


class Packed(NamedTuple):
  """What `packnet` serves: the model's variables, and `PacknetState.owner`."""

  variables: Variables
  owner: dict[str, chex.Array]


@register("packnet", kind="modifier")
def packnet(
  spec: StreamSpec,
  inner: optax.GradientTransformation | Method,
  *,
  prune: float | None = None,
  retrain_epochs: int | None = None,
  head: str = "head/*",
  stacked: chex.ArrayTree | None = None,
) -> Method:
  r"""PackNet: packs all tasks into one network by pruning and retraining after each.

  Task t of T, on any model whose tasks have outputs of their own:

      1. phase "train":   the free weights move; those of tasks < t are used and frozen
      2. prune:           in each kernel, the share `prune` of the free weights that is smallest in
                          magnitude becomes 0 and stays free; the others belong to t
      3. phase "retrain": the weights of t move, those that are free stay 0

  A test example of task t is computed with the weights of tasks <= t, all others 0. So later tasks
  change no output of t, to the bit. A task that comes again trains its own weights.

  What is not a kernel of several axes is not pruned. Of the head the outputs of t move in task t
  only, and so do rows of task-stacked parameters. Biases and scales of normalisation move in the
  first task and are frozen then, as in the paper; so are running averages (BatchNorm), and from the
  second task on the gradient is that of evaluation mode, by these averages and without dropout. A
  model without running averages is trained as ever. These are the collection "batch_stats"; other
  variables must stay as they are in training.

  It stands around the optimizer and whatever is chained with it, and masks the finished step: no
  momentum or weight decay moves a frozen weight. Methods that replay examples have nothing to do.

  Args:
    spec: the stream, of the scenario `"task"`.
    inner: the optimizer: an Optax transformation, or a method or chain that ends with one.
    prune: share of a task's weights that is freed, in [0, 1). None: all tasks get as many weights
      as each other, so after task t, from 0, `(T - t - 1) / (T - t)` of what was free.
    retrain_epochs: of the second phase; None: as many as the run has for each task.
    head: pattern of the names of the head's parameters, whose last axis is the K outputs.
    stacked: see `tagjax.task_stacked`; None: no parameter has a row a task.

  Returns:
    The method; its state is a `PacknetState`. It makes its step from the task's own gradient, so it
    stands first. `outcome` tells `share_packed`, the share of the weights that belong to a task.

  Raises:
    ValueError: if an argument is out of range, the stream does not tell tasks apart, the head is
      not found, nothing can be pruned, or `inner` has a memory, exemplars, phases or a prediction;
      in a step, if training changes other variables than parameters and running averages.

  Example:
    >>> import numpy as np
    >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "task", (4, 4, 1))
    >>> method = packnet(spec, optax.sgd(0.1), prune=0.75)
    >>> [phase.name for phase in method.phases]
    ['train', 'retrain']

  References:
    Mallya, Lazebnik. PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning. CVPR
      2018, arXiv:1711.05769.

  Differs from the reference code:
    * That starts from a network that was trained on ImageNet, which is task 0; here the first task
      starts from random weights.
    * That prunes everything up to the magnitude of rank `prune`; here equal magnitudes are told
      apart by their places, so the number is exact.
    * The head belongs to the tasks by outputs; there each task has a head of its own.
  """
  isolation.check_scenario(spec, "packnet")
  if prune is not None:
    check_range("prune", prune, 0.0, 1.0, "[0, 1)")
  if retrain_epochs is not None:
    check_count("retrain_epochs", retrain_epochs)
  inner = isolation.checked_inner(inner, "packnet", memories=False)
  free = spec.num_tasks

  def init(params):
    kinds = isolation.kinds(params, spec, head, stacked)
    owner = {
      name: jnp.full(leaf.shape, free, jnp.int16)
      for name, kind, leaf in zip(
        parameter_names(params), jax.tree.leaves(kinds), jax.tree.leaves(params), strict=True
      )
      if kind == "shared" and leaf.ndim > 1
    }
    if not owner:
      raise ValueError("packnet finds no kernel to prune besides the head: use a deeper model")
    return PacknetState(inner.init(params), owner, jnp.zeros(spec.num_tasks, bool))

  def trainable(state: PacknetState, params, at: Step):
    """Tree of bools: what moves in a step."""
    is_first = ~_any_other(state.learned, at.task_id)
    again = state.learned[at.task_id]
    wanted = jnp.where(again | (at.phase == _RETRAIN), at.task_id, free)

    def part(kind, name, leaf):
      if kind != "shared":
        return own_part(kind, leaf, spec, at.task_id)
      return state.owner[name] == wanted if name in state.owner else is_first

    names = jax.tree.unflatten(jax.tree.structure(params), parameter_names(params))
    return jax.tree.map(part, isolation.kinds(params, spec, head, stacked), names, params)

  def update(updates, state: PacknetState, params, *, at: Step):
    del updates
    # The same for all seeds side by side, so that a condition on it stays a condition.
    again = most_of_lanes(state.learned[at.task_id].astype(jnp.int32)) > 0
    later = most_of_lanes(_any_other(state.learned, at.task_id).astype(jnp.int32)) > 0
    averages = _running_averages(at)
    is_frozen = later if averages else jnp.zeros((), bool)

    def anew():
      """The gradient at the task's own weights, by the running averages if these are frozen."""
      own = _visible(state.owner, params, at.task_id, jnp.where(again, free + 1, free))
      given = {**at.variables, **averages}
      return jax.lax.cond(
        is_frozen,
        lambda: at.grad_fn(own, at.batch, variables=given, train=False)[1],
        lambda: at.grad_fn(own, at.batch)[1],
      )

    moving = trainable(state, params, at)
    grad = isolation.masked(moving, jax.lax.cond(again | is_frozen, anew, lambda: at.grad))
    updates, inner_state, *moved = inner.update(
      grad, state.inner, params, at=at._replace(grad=grad)
    )
    state = state._replace(inner=inner_state)
    now = {name: at.variables[name] for name in averages} | (moved[0] if moved else {})
    kept = jax.tree.map(lambda new, old: jnp.where(is_frozen, old, new), now, {**now, **averages})
    return isolation.masked(moving, updates), state, kept

  def consolidate(state: PacknetState, variables, *, at: Boundary):
    if at.phase == _TRAIN:
      owner, params = pruned(state, variables["params"], at.task_id)
      return state._replace(owner=owner), {**variables, "params": params}
    inner_state, variables = inner.consolidate(state.inner, variables, at=at)
    learned = state.learned.at[at.task_id].set(True)
    return PacknetState(inner_state, state.owner, learned), variables

  def pruned(state: PacknetState, params, task):
    """Owners and parameters after the first phase of a task."""
    share = (free - task - 1) / (free - task) if prune is None else prune
    candidates = {name: (own == free) & ~state.learned[task] for name, own in state.owner.items()}
    values = dict(zip(parameter_names(params), jax.tree.leaves(params), strict=True))
    owner = dict(state.owner)
    for name, is_candidate in candidates.items():
      is_kept = kept_weights(values[name], is_candidate, share)
      owner[name] = jnp.where(is_kept, task, owner[name]).astype(jnp.int16)
      values[name] = jnp.where(is_candidate & ~is_kept, 0, values[name])
    return owner, jax.tree.unflatten(jax.tree.structure(params), list(values.values()))

  def prepare(state: PacknetState, variables, *, at: Boundary):
    # Free weights that are not 0 belong to the task in progress.
    last = jnp.where(state.learned[at.task_id], free, at.task_id)
    owner = {
      name: jnp.where(own == free, last, own).astype(jnp.int16) for name, own in state.owner.items()
    }
    return Packed(variables, owner)

  def predict(served: Packed, *, at: Query):
    variables = served.variables

    def forward(task):
      params = _visible(served.owner, variables["params"], task, free + 1)
      return at.apply_fn({**variables, "params": params}, at.batch)[0]

    return by_task(forward, spec.num_tasks, at.batch.task_id, at.batch.mask)

  def in_use(state: PacknetState, params, used):
    packed = {name: own < free for name, own in state.owner.items()}
    return _by_name(lambda flag, mine: flag & mine, used, packed, parameter_names(params))

  def outcome(state: PacknetState, task_id):
    del task_id
    owners = state.owner.values()
    packed = sum(jnp.sum(own < free, dtype=jnp.float32) for own in owners)
    return {"share_packed": packed / sum(own.size for own in owners)}

  return isolation.around(
    inner,
    init,
    update,
    consolidate,
    prepare=prepare,
    predict=predict,
    in_use=in_use,
    outcome=outcome,
    phases=(Phase(_TRAIN), Phase(_RETRAIN, retrain_epochs)),
    num_boundary_examples=num_boundary_examples(inner),
  )


def _running_averages(at: Step) -> Variables:
  """The collection of running averages before the step's forward pass; empty without any.

  Raises:
    ValueError: if that pass has changed another collection: what earlier tasks compute would change
      with it, or would not be what they were trained with.
  """
  before = dict(at.before or {})
  averages = {_AVERAGES: before.pop(_AVERAGES)} if _AVERAGES in before else {}
  for name, old in before.items():
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(at.variables[name]), strict=True)
    if any(value is not now for value, now in pairs):
      raise ValueError(
        f"packnet can freeze running averages in {_AVERAGES!r} alone, and training changes the "
        f"model's {name!r} as well: keep these variables as they are, or in {_AVERAGES!r} if they "
        "are running averages"
      )
  return averages


def _any_other(learned: chex.Array, task: chex.Array) -> chex.Array:
  """Whether a task besides this one has ended."""
  return jnp.any(learned.at[task].set(False))


def _visible(
  owner: Mapping[str, chex.Array], params: chex.ArrayTree, task: chex.Array, free: chex.Numeric
) -> chex.ArrayTree:
  """The parameters as a task has them: the weights of later tasks are 0.

  Weights whose owner is `free` are there as well; a number that is no owner stands for none.
  """

  def part(value, own):
    return jnp.where((own <= task) | (own == free), value, 0)

  return _by_name(part, params, owner, parameter_names(params))


def _by_name(
  function: Callable, tree: chex.ArrayTree, parts: Mapping[str, Any], names: Sequence[str]
) -> chex.ArrayTree:
  """`function(leaf, part)` where there is a part of the parameter's name; else the leaf."""
  leaves, structure = jax.tree.flatten(tree)
  changed = [
    function(leaf, parts[name]) if name in parts else leaf
    for name, leaf in zip(names, leaves, strict=True)
  ]
  return jax.tree.unflatten(structure, changed)


def kept_weights(value: chex.Array, candidates: chex.Array, share: chex.Numeric) -> chex.Array:
  """Bool: the candidates that are left when the share that is smallest in magnitude is pruned.

  Args:
    value: the weights.
    candidates: bool, those that may be pruned.
    share: in [0, 1); the number of those pruned is rounded.

  >>> kept_weights(jnp.array([3.0, -1.0, 2.0, 9.0]), jnp.array([1, 1, 1, 0], bool), 0.66).tolist()
  [True, False, False, False]
  """
  number = jnp.round(share * jnp.sum(candidates)).astype(jnp.int32)
  size = jnp.where(candidates, jnp.abs(value), jnp.inf).reshape(-1)
  order = jnp.argsort(size, stable=True)
  rank = jnp.zeros(len(order), jnp.int32).at[order].set(jnp.arange(len(order), dtype=jnp.int32))
  return candidates & (rank >= number).reshape(value.shape)
