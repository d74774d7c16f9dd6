"""Small methods of every kind that the core must hold, to test the core before they all exist.

They are not the library's: each shows one thing that a kind needs from `Method`.
"""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core.losses import MASKED_LOGIT
from tagjax.core.method import Method, Phase, identity, lift
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import items


class AnchorState(NamedTuple):
  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  tasks: chex.Array


def regulariser(strength: float) -> Method:
  """EWC in short: a quadratic pull towards an anchor, importance from the task's examples."""

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return AnchorState(zeros, jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

  def update(updates, state, params, *, at):
    del at
    pull = jax.tree.map(
      lambda f, p, a: 2 * strength * f * (p - a), state.importance, params, state.anchor
    )
    return jax.tree.map(jnp.add, updates, pull), state

  def consolidate(state, variables, *, at):
    first = jax.tree.map(lambda leaf: leaf[0], at.chunk)
    _, grad = at.grad_fn(variables["params"], first)
    importance = jax.tree.map(lambda f, g: f + g * g, state.importance, grad)
    anchor = jax.tree.map(jnp.copy, variables["params"])
    return AnchorState(importance, anchor, state.tasks + 1), variables

  return Method(init, update, consolidate)


def _empty(capacity: int, spec: StreamSpec) -> Batch:
  return jax.tree.map(
    lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), items.exemplar(spec)
  )


class MemoryState(NamedTuple):
  memory: Batch
  seen: chex.Array


def projection(capacity: int, spec: StreamSpec) -> Method:
  """A-GEM in short: a ring of examples from all devices, projection on their gradient."""

  def init(params):
    del params
    return MemoryState(_empty(capacity, spec), jnp.zeros((), jnp.int32))

  def update(updates, state, params, *, at):
    past = state.memory._replace(mask=state.memory.mask & (state.memory.task_id < at.task_id))
    _, reference = at.grad_fn(params, past, key=at.key)
    inner = optax.tree.vdot(updates, reference)
    norm = optax.tree.vdot(reference, reference)
    scale = jnp.where((inner < 0) & (norm > 0), inner / jnp.maximum(norm, 1e-30), 0.0)
    updates = jax.tree.map(lambda g, r: g - scale * r, updates, reference)
    batch = at.gather(at.batch)
    places = (state.seen + jnp.arange(batch.label.shape[0])) % capacity
    memory = jax.tree.map(lambda m, b: m.at[places].set(b), state.memory, batch)
    return updates, MemoryState(memory, state.seen + batch.label.shape[0])

  return Method(init, update)


class Copies(NamedTuple):
  """What `inner_loop` serves: the variables, and a copy of their parameters for each task."""

  general: dict
  adapted: chex.ArrayTree


def inner_loop(learning_rate: float, spec: StreamSpec) -> Method:
  """iTAML in short: inner steps for each task in the batch, interpolation, a copy a task at test.

  A run of the continuum votes for the task whose best output is the largest, and is then classified
  by that task's copy, among that task's outputs.
  """
  tasks = np.arange(spec.num_tasks)

  def update(updates, state, params, *, at):
    del updates
    everywhere = at.gather(at.batch)

    def inner(task):
      part = at.batch._replace(mask=at.batch.mask & (at.batch.task_id == task))
      _, grad = at.grad_fn(params, part)
      present = jnp.any(everywhere.mask & (everywhere.task_id == task))
      return jax.tree.map(lambda g: -learning_rate * g, grad), present

    steps, present = jax.vmap(inner)(tasks)
    weight = present / jnp.maximum(jnp.sum(present), 1)
    return jax.tree.map(lambda s: jnp.tensordot(weight, s, 1), steps), state

  def prepare(state, variables, *, at):
    del state

    def adapt(task):
      shift = jnp.where(task <= at.task_id, 1e-3 * (1 + task), 0.0)
      return jax.tree.map(lambda p: p + shift, variables["params"])

    return Copies(variables, jax.vmap(adapt)(tasks))

  def predict(served, *, at):
    classes = jnp.asarray(spec.classes)
    logits, _ = at.apply_fn(served.general, at.batch)
    best = jnp.max(jnp.where(classes[None], logits[:, None], MASKED_LOGIT), axis=-1)
    best = jnp.where((tasks <= at.current_task)[None], best, MASKED_LOGIT)
    votes = jnp.where(at.batch.mask[:, None], best, 0)
    chosen = jnp.argmax(votes.reshape(-1, at.continuum, spec.num_tasks).sum(axis=1), axis=-1)

    def of_run(task, run):
      params = jax.tree.map(lambda copies: copies[task], served.adapted)
      logits, _ = at.apply_fn({**served.general, "params": params}, run)
      return jnp.where(classes[task][None], logits, MASKED_LOGIT)

    runs = jax.tree.map(lambda x: x.reshape(-1, at.continuum, *x.shape[1:]), at.batch)
    return jax.vmap(of_run)(chosen, runs).reshape(-1, spec.num_outputs)

  return identity()._replace(update=update, prepare=prepare, predict=predict, ignores_updates=True)


def rehearsing(capacity: int, spec: StreamSpec) -> Method:
  """iCaRL without its herding: the first exemplars of each class join the next tasks' training.

  Args:
    capacity: exemplars of each class.
    spec: the stream.
  """

  def init(params):
    del params
    return _empty(capacity * spec.num_outputs, spec)

  def update(updates, state, params, *, at):
    del params, at
    return updates, state

  def consolidate(state, variables, *, at):
    batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), at.chunk)
    held = jnp.zeros(spec.num_outputs, jnp.int32)
    held = held.at[jnp.arange(len(state.mask)) // capacity].add(state.mask)
    is_of = (batch.label[:, None] == jnp.arange(spec.num_outputs)[None]) & batch.mask[:, None]
    before = (jnp.cumsum(is_of, axis=0) - is_of)[jnp.arange(len(batch.label)), batch.label]
    place = held[batch.label] + before
    is_kept = batch.mask & (place < capacity)
    place = jnp.where(is_kept, batch.label * capacity + place, len(state.mask))
    return jax.tree.map(lambda m, b: m.at[place].set(b, mode="drop"), state, batch), variables

  return Method(init, update, consolidate, rehearsal=lambda state: state)


class TaskColumns(nn.Module):
  """A progressive net in short: one small network a task, stacked on the first axis."""

  num_tasks: int
  num_outputs: int
  width: int = 8

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del mask, train
    x = image.reshape(image.shape[0], -1)
    uniform = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", batch_axis=0)
    hidden = self.param("hidden", uniform, (self.num_tasks, x.shape[-1], self.width))
    output = self.param("output", uniform, (self.num_tasks, self.width, self.num_outputs))
    h = nn.relu(jnp.einsum("bi,bih->bh", x, hidden[task_id]))
    return jnp.einsum("bh,bho->bo", h, output[task_id])


def only_current_task(inner) -> Method:
  """Lets the current task's rows of task-stacked parameters move, and no others."""
  inner = lift(inner)

  def update(updates, state, params, *, at):
    updates, state = inner.update(updates, state, params, at=at)

    def own(update):
      rows = jnp.arange(update.shape[0]) == at.task_id
      return jnp.where(rows.reshape(-1, *[1] * (update.ndim - 1)), update, 0)

    return jax.tree.map(own, updates), state

  return inner._replace(update=update)


def two_phases(learning_rate: float) -> Method:
  """DEN in short: the phases of a task differ, and a consolidation follows each."""

  def update(updates, state, params, *, at):
    del params
    rate = {"select": 0.1 * learning_rate, "expand": learning_rate}[at.phase]
    return jax.tree.map(lambda g: -rate * g, updates), state

  def consolidate(state, variables, *, at):
    return {**state, at.phase: state[at.phase] + 1}, variables

  def init(params):
    del params
    return {"select": jnp.zeros((), jnp.int32), "expand": jnp.zeros((), jnp.int32)}

  return Method(init, update, consolidate, phases=(Phase("select", 2), Phase("expand")))


class Routed(nn.Module):
  """Two hidden layers side by side, of which a variable says how much of each is used."""

  num_outputs: int
  width: int = 8

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    gate = self.variable("routing", "gate", lambda: jnp.array([1.0, 0.0]))
    x = image.reshape(image.shape[0], -1)
    h = jnp.stack([nn.relu(nn.Dense(self.width, name=f"route{i}")(x)) for i in range(2)])
    return nn.Dense(self.num_outputs)(jnp.tensordot(gate.value, h, 1))


def routed(learning_rate: float) -> Method:
  """LASEM in short: gradients under each routing; a task's end chooses the one of least loss."""
  gates = np.eye(2, dtype=np.float32)

  def under(at, params, batch):
    """Loss and gradient under each routing, stacked."""
    return jax.vmap(lambda gate: at.grad_fn(params, batch, variables={"routing": {"gate": gate}}))(
      gates
    )

  def update(updates, state, params, *, at):
    del updates
    _, grads = under(at, params, at.batch)
    return jax.tree.map(lambda g: -learning_rate * jnp.mean(g, axis=0), grads), state

  def consolidate(state, variables, *, at):
    first = jax.tree.map(lambda leaf: leaf[0], at.chunk)
    losses, _ = under(at, variables["params"], first)
    return losses, {**variables, "routing": {"gate": jnp.asarray(gates)[jnp.argmin(losses)]}}

  def init(params):
    del params
    return jnp.zeros(2)

  return Method(
    init, update, consolidate, ignores_updates=True, requires=frozenset({"routing", "task_id"})
  )
