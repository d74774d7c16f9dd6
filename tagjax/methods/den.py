r"""DEN: a network that retrains what a task needs, grows where that fails, and splits units."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Phase, Step
from tagjax.core.register import register
from tagjax.core.types import StreamSpec, Variables
from tagjax.core.units import (
  STAMPS,
  UNBORN,
  below_head,
  edges_in_use,
  hidden_layers,
  inputs_of,
  repeated,
  wide,
)
from tagjax.methods import isolation, sparsity
from tagjax.methods.expandable import (
  Stamps,
  Units,
  drifts,
  first_of,
  grown,
  planned,
  reached,
  split_units,
  without_edges,
)
from tagjax.transforms.checks import check_count, check_range

SELECT, RETRAIN, EXPAND, SPLIT = "select", "retrain", "expand", "split"

Masks = dict[str, dict[str, chex.Array]]
"""Bools that broadcast to kernel and bias of each layer and the head."""


class DenState(NamedTuple):
  """State of `den`.

  Attributes:
    inner: of the optimizer.
    anchor: kernel and bias of each hidden layer, at the end of the task before.
    selected: bool `[U]` by layer, the sub-network of the task being learned.
    fresh: bool `[U]` by layer, its new units and copies.
    stamps: those of the network after the last phase, for reports.
    learned: bool `[T]`, the tasks that have ended.
    share: float32 `[T]`, the share of its units that each task has selected.
    loss: float32 `[T]`, the loss of each task after its retraining.
    lacking: int32 `[T]`, units that each task was to get and for which there was no room.
  """

  inner: Any
  anchor: chex.ArrayTree
  selected: Units
  fresh: Units
  stamps: Stamps
  learned: chex.Array
  share: chex.Array
  loss: chex.Array
  lacking: chex.Array


@register("den", kind="modifier")
def den(
  spec: StreamSpec,
  inner: optax.GradientTransformation | Method,
  *,
  l1: float = 1e-3,
  head_l1: float = 0.01,
  l2: float = 1e-4,
  group: float = 0.01,
  drift: float = 0.1,
  threshold: float = 0.01,
  expand_by: int = 10,
  split_above: float = 0.1,
  select_epochs: int | None = None,
  expand_epochs: int | None = None,
  split_epochs: int | None = None,
) -> Method:
  r"""DEN: dynamically expandable networks.

  The first task t = 0 trains the units of the start, with the l1 penalty, through all phases. Each
  later one has four, with W' the weights at the end of the task before:

      1. "select":  min CE + head_l1 ‖W_L,t‖₁ over the task's outputs. Then a breadth-first
                    search from these along edges that are not 0 finds the sub-network S
      2. "retrain": min CE + l2/2 ‖W_S‖² + drift/2 ‖W_S − W'_S‖² over the edges within S
      3. "expand":  if the loss of the task is above `threshold`, each layer gets `expand_by` units:
                    min CE + l1 ‖W_N‖₁ + group Σ_g ‖W_N,g‖₂ over the edges of new units, a group
                    for the incoming edges of each. Units of no edge are removed, from the top down
      4. "split":   units that were there before and whose incoming edges have moved by more than
                    `split_above`, ‖w_i − w'_i‖₂, are split: the unit returns to w'_i, its copy
                    keeps w_i and the outgoing edges. New units, copies and the head train on

  **Time stamps.** A unit has the number of the task that it was born in, and one from which its
  copy stands in its place. Task t is computed with the units that are there in t, so that units of
  later tasks do not change its outputs; nor does a split change those of the task in progress.
  What changes an earlier task is the drift of units that are not split. With `split_above=0` there
  is none: earlier tasks keep their outputs to the bit.

  **Room.** Shapes are static, so the network has all units that it can have from the start
  (`expandable_mlp`, `expandable_cnn`). Where a layer has less room than is asked for, it gets what
  there is, and units that have moved farthest are split first; those for which there is no room
  return to w'_i without a copy: earlier tasks are not forgotten, the task does with less.
  `outcome` tells how many units were lacking.

  Weights under the penalties l1 and group stop at 0, see `tagjax.methods.sparsity`.

  It stands around the optimizer and whatever is chained with it (`den+ewc+sgd`, `den+er+tag`), and
  masks the finished step. A task that comes again trains its outputs of the head in "select" and
  nothing else.

  Args:
    spec: the stream, of the scenario `"task"`.
    inner: the optimizer: an Optax transformation, or a method or chain that ends with one.
    l1: strength of the penalty that makes edges of the first task and of new units 0, at least 0.
    head_l1: the same of later tasks' outputs in "select", at least 0: the sparser they are, the
      fewer units are retrained; at 0 all are.
    l2: strength of the weight decay of what moves, at least 0.
    group: strength of the penalty that removes new units, at least 0.
    drift: pull of the units in S to where they were, at least 0.
    threshold: of the cross-entropy over the task's training examples, in nats; above it the network
      grows; at least 0.
    expand_by: k, new units a layer, at least 1.
    split_above: sigma, how far a unit may move without being split, at least 0.
    select_epochs: of the phase "select"; None: as many as the run has for each task, as "retrain".
    expand_epochs: of "expand"; None: the same.
    split_epochs: of "split"; None: the same.

  Returns:
    The method; its state is a `DenState`. It stands first. `outcome` tells `units`, the units of
    each layer that are taken, `share_selected`, `retrained_loss` and `units_lacking`.

  Raises:
    ValueError: if an argument is out of range, the stream does not tell tasks apart, or `inner` has
      exemplars in the training set, phases or a prediction of its own.

  Example:
    >>> import numpy as np
    >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "task", (4, 4, 1))
    >>> [phase.name for phase in den(spec, optax.sgd(0.1)).phases]
    ['select', 'retrain', 'expand', 'split']

  References:
    Yoon, Yang, Lee, Hwang. Lifelong Learning with Dynamically Expandable Networks. ICLR 2018,
      arXiv:1708.01547.

  Differs from the reference code:
    * The search starts from all outputs of the task; there from the first class's alone.
    * Splitting does not depend on the loss; there it is left out with the expansion. Units that
      have moved farthest are split first, and as many as there is room for; there k of those that
      have moved least.
    * A unit's copy stands in its place, so that splitting changes no output of the task.
    * After a split only copies, new units and the head move, so that no old unit drifts farther
      than `split_above`.
    * Edges from new units to old ones start at 0.
    * Phases have a number of epochs; there they end when the loss on validation examples stays.
    * Cross-entropy over the task's outputs; there a sigmoid for each class.
  """
  isolation.check_scenario(spec, "den")
  for name, value in (
    ("l1", l1),
    ("head_l1", head_l1),
    ("l2", l2),
    ("group", group),
    ("drift", drift),
    ("threshold", threshold),
    ("split_above", split_above),
  ):
    check_range(name, value, 0.0, math.inf, "[0, inf)")
  check_count("expand_by", expand_by)
  epochs = {"select_epochs": select_epochs, "expand_epochs": expand_epochs}
  for name, number in {**epochs, "split_epochs": split_epochs}.items():
    if number is not None:
      check_count(name, number)
  inner = isolation.checked_inner(inner, "den", memories=True)

  def init(params):
    names = hidden_layers(params)
    widths = {name: params[name]["bias"].shape[0] for name in names}
    none = {name: jnp.zeros(width, bool) for name, width in widths.items()}
    born, until = (
      {name: jnp.full(width, UNBORN, jnp.int32) for name, width in widths.items()} for _ in range(2)
    )
    return DenState(
      inner=inner.init(params),
      anchor=_anchor_of(params),
      selected=none,
      fresh=jax.tree.map(jnp.copy, none),
      stamps=Stamps(born, until),
      learned=jnp.zeros(spec.num_tasks, bool),
      share=jnp.zeros(spec.num_tasks),
      loss=jnp.zeros(spec.num_tasks),
      lacking=jnp.zeros(spec.num_tasks, jnp.int32),
    )

  def trainable(state: DenState, params, stamps: Stamps, task, phase: str) -> Masks:
    """What moves in a step."""
    active = stamps.active(task)
    again = state.learned[task]
    is_first = ~jnp.any(state.learned)
    whole = {name: units & is_first for name, units in active.items()}
    if phase == SELECT:
      masks, rows = edges_in_use(params, whole), active
    elif phase == RETRAIN:
      chosen = {name: whole[name] | state.selected[name] & active[name] for name in active}
      masks, rows = edges_in_use(params, chosen), chosen
    else:
      masks = _either(edges_in_use(params, whole), _edges_of(params, state.fresh, active))
      kept = state.fresh if phase == EXPAND else _union(state.fresh, state.selected)
      rows = {name: whole[name] | kept[name] & active[name] for name in active}
    goes_on = ~again | (phase == SELECT)
    own = jnp.asarray(spec.classes)[task] & goes_on
    of_head = repeated(rows[hidden_layers(params)[-1]], params["head"]["kernel"])
    head = {"kernel": of_head[:, None] & own[None, :], "bias": own}
    hidden = {name: jax.tree.map(lambda m: m & ~again, masks[name]) for name in active}
    return {**hidden, "head": head}

  def update(updates, state: DenState, params, *, at: Step):
    del updates
    stamps = _stamps_of(at.variables)
    moving = trainable(state, params, stamps, at.task_id, at.phase)
    is_first = ~jnp.any(state.learned)
    grad = _plus_decay(at.grad, params, l2)
    if at.phase == RETRAIN:
      grad = _plus_pull(grad, params, state.anchor, jnp.where(is_first, 0.0, drift))
    later = {SELECT: head_l1, EXPAND: l1}.get(at.phase, 0.0)
    sparse = jnp.where(is_first, l1, later)
    groups = _groups(params, state.fresh, stamps.active(at.task_id)) if at.phase == EXPAND else {}
    grad = isolation.masked(moving, _sparse_gradient(grad, params, groups, sparse, group))
    updates, inner_state, *moved = inner.update(
      grad, state.inner, params, at=at._replace(grad=grad)
    )
    new = jax.tree.map(lambda m, p, u: jnp.where(m, p + u, p), moving, params, updates)
    new = _stopped(new, params, grad, groups, moving, sparse)
    updates = jax.tree.map(jnp.subtract, new, params)
    return updates, state._replace(inner=inner_state), *moved

  def after_select(state: DenState, variables, stamps: Stamps, at: Boundary):
    active = stamps.active(at.task_id)
    outputs = jnp.asarray(spec.classes)[at.task_id]
    found = reached(variables["params"], outputs, active)
    whole = ~jnp.any(state.learned)
    again = state.learned[at.task_id]
    selected = {name: (found[name] | whole & active[name]) & ~again for name in active}
    share = _number(selected) / jnp.maximum(_number(active), 1)
    share = state.share.at[at.task_id].set(jnp.where(again, state.share[at.task_id], share))
    return state._replace(selected=selected, share=share), variables, stamps

  def after_retrain(state: DenState, variables, stamps: Stamps, at: Boundary):
    loss = _mean_loss(variables, at)
    again = state.learned[at.task_id]
    grows = (loss > threshold) & jnp.any(state.learned) & ~again
    fresh = {
      name: first_of(units, jnp.where(grows, expand_by, 0))
      for name, units in stamps.reserve().items()
    }
    wanted = jnp.where(grows, expand_by * len(fresh), 0)
    lacking = wanted - sum(jnp.sum(units, dtype=jnp.int32) for units in fresh.values())
    stamps = stamps.with_born(fresh, at.task_id)
    params = grown(variables["params"], fresh, stamps.active(at.task_id), at.key)
    state = state._replace(
      fresh=fresh,
      loss=state.loss.at[at.task_id].set(jnp.where(again, state.loss[at.task_id], loss)),
      lacking=state.lacking.at[at.task_id].add(lacking),
    )
    return state, {**variables, "params": params}, stamps

  def after_expand(state: DenState, variables, stamps: Stamps, at: Boundary):
    params, task = variables["params"], at.task_id
    outputs = jnp.asarray(spec.classes)[task]
    useless = without_edges(params, state.fresh, stamps.active(task), outputs)
    born = {name: jnp.where(gone, UNBORN, stamps.born[name]) for name, gone in useless.items()}
    stamps = stamps._replace(born=born)
    fresh = {name: units & ~useless[name] for name, units in state.fresh.items()}
    active = stamps.active(task)
    old = {name: active[name] & ~fresh[name] for name in active}
    moved = drifts(params, state.anchor, old)
    may_split = jnp.any(state.learned) & ~state.learned[task]
    apart = {name: old[name] & (moved[name] > split_above) & may_split for name in old}
    reserve = stamps.reserve()
    plans = {name: planned(moved[name], apart[name], reserve[name]) for name in old}
    params = split_units(params, state.anchor, plans, apart, old)
    copies = {name: plan.is_copy for name, plan in plans.items()}
    stamps = stamps.with_born(copies, task)
    until = {
      name: jnp.where(plan.is_split, task, stamps.until[name]) for name, plan in plans.items()
    }
    lacking = sum(
      jnp.sum(apart[name], dtype=jnp.int32) - jnp.sum(plans[name].is_split, dtype=jnp.int32)
      for name in apart
    )
    state = state._replace(
      fresh=_union(fresh, copies),
      selected={
        name: state.selected[name][plan.source] & ~plan.is_split for name, plan in plans.items()
      },
      lacking=state.lacking.at[task].add(lacking),
    )
    return state, {**variables, "params": params}, Stamps(stamps.born, until)

  def after_split(state: DenState, variables, stamps: Stamps, at: Boundary):
    variables = {**variables, STAMPS: stamps._asdict()}
    inner_state, variables = inner.consolidate(state.inner, variables, at=at)
    none = {name: jnp.zeros_like(units) for name, units in state.selected.items()}
    state = state._replace(
      inner=inner_state,
      anchor=_anchor_of(variables["params"]),
      selected=none,
      fresh=jax.tree.map(jnp.copy, none),
      learned=state.learned.at[at.task_id].set(True),
    )
    return state, variables, stamps

  ends: Mapping[str, Callable] = {
    SELECT: after_select,
    RETRAIN: after_retrain,
    EXPAND: after_expand,
    SPLIT: after_split,
  }

  def consolidate(state: DenState, variables, *, at: Boundary):
    end = ends[at.phase]
    state, variables, stamps = end(state, variables, _stamps_of(variables), at)
    variables = {**variables, STAMPS: stamps._asdict()}
    return state._replace(stamps=jax.tree.map(jnp.copy, stamps)), variables

  def in_use(state: DenState, params, used):
    needed = edges_in_use(params, {name: ~units for name, units in state.stamps.reserve().items()})
    return {name: jax.tree.map(jnp.logical_and, used[name], needed[name]) for name in used}

  def outcome(state: DenState, task_id):
    taken = state.stamps.reserve()
    units = [jnp.sum(~taken[name], dtype=jnp.float32) for name in hidden_layers(taken)]
    return {
      "units": jnp.stack(units),
      "share_selected": state.share[task_id],
      "retrained_loss": state.loss[task_id],
      "units_lacking": state.lacking[task_id].astype(jnp.float32),
    }

  return isolation.around(
    inner,
    init,
    update,
    consolidate,
    in_use=in_use,
    outcome=outcome,
    phases=(
      Phase(SELECT, select_epochs),
      Phase(RETRAIN),
      Phase(EXPAND, expand_epochs),
      Phase(SPLIT, split_epochs),
    ),
    num_boundary_examples=None,
    requires={STAMPS},
  )


def _stamps_of(variables: Variables) -> Stamps:
  return Stamps(variables[STAMPS]["born"], variables[STAMPS]["until"])


def _anchor_of(params: Mapping[str, Any]) -> dict[str, Any]:
  return {name: jax.tree.map(jnp.copy, params[name]) for name in hidden_layers(params)}


def _union(one: Units, other: Units) -> Units:
  return {name: one[name] | other[name] for name in one}


def _number(units: Units) -> chex.Array:
  return sum(jnp.sum(value, dtype=jnp.float32) for value in units.values())


def _edges_of(params, units: Units, others: Units) -> Masks:
  """The edges of these units to each other and to the others, and the biases of these units."""
  masks = {}
  for layer in below_head(params):
    kernel = params[layer.name]["kernel"]
    into = inputs_of(others, layer, kernel) & wide(units[layer.name], kernel)
    if layer.below is not None:
      into |= inputs_of(units, layer, kernel) & wide(others[layer.name], kernel)
    masks[layer.name] = {"kernel": into, "bias": units[layer.name]}
  return masks


def _either(one: Masks, other: Masks) -> Masks:
  return {name: jax.tree.map(jnp.logical_or, one[name], other[name]) for name in other}


def _plus_decay(grad, params, l2):
  """The gradient with that of `l2/2 ‖kernel‖²`."""
  return {
    name: {**part, "kernel": part["kernel"] + l2 * params[name]["kernel"]}
    for name, part in grad.items()
  }


def _plus_pull(grad, params, anchor, drift):
  """The gradient with that of `drift/2 ‖w − anchor‖²` over the hidden layers."""

  def pull(g, p, a):
    return g + drift * (p - a)

  pulled = {name: jax.tree.map(pull, grad[name], params[name], anchor[name]) for name in anchor}
  return {**grad, **pulled}


def _groups(params, units: Units, active: Units) -> dict[str, chex.Array]:
  """By layer, the incoming edges of these units, bool; broadcasts to the kernel."""
  return {
    layer.name: inputs_of(active, layer, params[layer.name]["kernel"])
    & wide(units[layer.name], params[layer.name]["kernel"])
    for layer in below_head(params)
  }


def _sparse_gradient(grad, params, groups, l1, group):
  """The gradient with those of the penalties that make kernels sparse."""
  new = dict(grad)
  for name, part in grad.items():
    kernel = sparsity.with_l1(part["kernel"], params[name]["kernel"], l1)
    if name in groups:
      kernel = sparsity.with_group(kernel, params[name]["kernel"], groups[name], group)
    new[name] = {**part, "kernel": kernel}
  return new


def _stopped(new, params, grad, groups, moving: Masks, l1):
  """The parameters after a step, kernels where they move stopped at 0."""
  ended = dict(new)
  for name, part in new.items():
    before = params[name]["kernel"]
    kernel = sparsity.stopped(part["kernel"], before, grad[name]["kernel"])
    kernel = jnp.where(l1 > 0, kernel, part["kernel"])
    if name in groups:
      kernel = sparsity.stopped_groups(kernel, before, groups[name])
    ended[name] = {**part, "kernel": jnp.where(moving[name]["kernel"], kernel, part["kernel"])}
  return ended


def _mean_loss(variables, at: Boundary) -> chex.Array:
  """The cross-entropy over the task's training examples, in evaluation mode."""

  def add(sums, batch):
    logits, _ = at.apply_fn(variables, batch)
    values = losses.cross_entropy(logits, batch.label, at.active_fn(batch))
    total, count = sums
    total = total + jnp.sum(jnp.where(batch.mask, values, 0))
    return (total, count + jnp.sum(batch.mask, dtype=jnp.float32)), None

  (total, count), _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros(())), at.chunk)
  return total / jnp.maximum(count, 1)
