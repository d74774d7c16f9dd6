"""Small methods of every kind that the core must hold, to test the core before they all exist.

They are not the library's: each shows one thing that a kind needs from `Method`.
"""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import Method, lift
from tagjax.core.types import Batch


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


class MemoryState(NamedTuple):
  memory: Batch
  seen: chex.Array


def projection(capacity: int, image_shape: tuple[int, ...]) -> Method:
  """A-GEM in short: a ring of examples from all devices, projection on their gradient."""

  def init(params):
    del params
    memory = Batch(
      jnp.zeros((capacity, *image_shape), jnp.uint8),
      jnp.zeros((capacity,), jnp.int32),
      jnp.zeros((capacity,), jnp.int32),
      jnp.zeros((capacity,), bool),
    )
    return MemoryState(memory, jnp.zeros((), jnp.int32))

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


def inner_loop(learning_rate: float, num_tasks: int) -> Method:
  """iTAML in short: inner steps for each task in the batch, interpolation, own adaptation."""

  def update(updates, state, params, *, at):
    del updates

    def inner(task):
      part = at.batch._replace(mask=at.batch.mask & (at.batch.task_id == task))
      _, grad = at.grad_fn(params, part)
      return jax.tree.map(lambda g: -learning_rate * g, grad), jnp.any(part.mask)

    steps, present = jax.vmap(inner)(jnp.arange(num_tasks))
    weight = present / jnp.maximum(jnp.sum(present), 1)
    return jax.tree.map(lambda s: jnp.tensordot(weight, s, 1), steps), state

  def adapt(state, variables, *, at):
    del state
    shift = 1e-3 * (1 + at.task_id)
    params = jax.tree.map(lambda p: p + shift, variables["params"])
    return {**variables, "params": params}

  return Method(lambda params: (), update, adapt=adapt, replaces=True)


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

  return Method(init, update, consolidate, phases=("select", "expand"))
