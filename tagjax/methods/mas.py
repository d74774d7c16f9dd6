"""MAS: memory aware synapses, with the sensitivity of the outputs as importance."""

from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core.method import Boundary, Method, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.memory import ring
from tagjax.methods import per_example, quadratic
from tagjax.transforms.checks import check_choice, check_count, is_off

Norm = Literal["L2", "L1", "vector"]
Sequence = Literal["accumulate", "last", "recompute"]
Normalise = Literal["none", "max", "mean"]

_LEGACY_BATCH = 10


class MasState(NamedTuple):
  """What MAS keeps between steps.

  Attributes:
    importance: tree like params, float32 or wider: Omega; starts at 0.
    anchor: tree like params: a copy of them at the end of the last task.
    memory: for `sequence="recompute"`, a `RingState` with a slot of `capacity` images for each
      task, as they are stored, `[T, capacity, ...]`; labels are not needed. Else `()`.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  memory: ring.RingState | tuple[()]


@register("mas", kind="modifier", traced=("strength",))
def mas(
  strength: float = 1.0,
  *,
  norm: Norm = "L2",
  per_batch: bool = False,
  sequence: Sequence = "accumulate",
  examples: int | None = None,
  normalise: Normalise = "none",
  clip: float | None = None,
  capacity: int = 200,
  legacy: bool = False,
  spec: StreamSpec | None = None,
) -> Method:
  """MAS: pulls each parameter to its value after the last task, as hard as it moves the outputs.

      updates += clip_by_norm(2 · strength · Omega · (params - anchor), clip)

  The penalty is `strength Σ Omega (p - anchor)²`, without a factor 1/2. After each task, with z the
  active logits of an example, in evaluation mode and without labels:

      Omega_t = 1/n Σ_i |g_i|      g_i = ∂ Σ_c z_c² / ∂p     ("L2", its factor 2 included)
                                   g_i = ∂ Σ_c |z_c| / ∂p    ("L1")
      Omega_t = 1/n Σ_i Σ_c |∂ z_c / ∂p|                     ("vector", K backward passes)

  Outputs that are not active count as 0, so the rows of the head of other tasks get no importance.

  Args:
    strength: lambda, weight of the penalty, at least 0. 0 gives a method that does nothing.
    norm: what of the outputs is differentiated: `"L2"`, `"L1"` or `"vector"`; see
      `tagjax.methods.mas`.
    per_batch: whether the absolute value is taken of the sum over each training batch, as the
      authors' code does, and not of each example: gradients of opposite sign then cancel.
    sequence: the Omega of several tasks. `"accumulate"`: their sum. `"last"`: the last task's.
      `"recompute"`: the sum, with that of earlier tasks made anew from kept examples and the
      current parameters (one pass over the memory at each task's end; needs `spec`).
    examples: the most examples of a task that its Omega is made from, at least 1; None: all.
    normalise: each task's Omega is divided by its `"max"` or `"mean"` over the whole network, so
      that strengths compare between data sets and all tasks weigh the same; `"none"`: it is not.
    clip: largest global L2 norm of the pull, greater than 0; the task's gradient is not clipped.
      None: no limit.
    capacity: examples kept of each task, at least 1, for `"recompute"`.
    legacy: what A-GEM's repository does: only the last task counts, and the absolute value is taken
      of sums over batches of 10 examples, whatever batches the run trains on; a smaller last one is
      left out, but its examples count in n. Takes the places of `sequence` and `per_batch`.
    spec: the stream's tasks and image shape, for `"recompute"`.

  Returns:
    The method; its state is a `MasState`.

  Raises:
    ValueError: if an argument is out of range, or if `"recompute"` is asked for without a `spec`.

  Differs from the reference code: absolute values of single examples by default; batches count
  with their true size (there the last, smaller batch is miscounted); the importance is made when a
  task ends and not when the next begins; heads of other tasks are part of one head, masked.

  References:
    Aljundi et al. Memory Aware Synapses: Learning what (not) to forget. ECCV 2018.

  >>> import optax
  >>> from tagjax.core.chain import chain
  >>> method = chain(mas(0.1), optax.sgd(0.1))
  >>> method.init({"w": jnp.ones(2)})[0].importance["w"].tolist()
  [0.0, 0.0]
  """
  if legacy:
    sequence, per_batch = "last", True
  _check(strength, norm, sequence, examples, normalise, clip, capacity, spec)
  if is_off(strength):
    return identity()

  def init(params):
    memory = _empty_memory(spec, capacity) if sequence == "recompute" else ()
    return MasState(quadratic.zeros(params), quadratic.copy(params), memory)

  def update(updates, state, params, *, at):
    del at
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state

  def consolidate(state, variables, *, at):
    of_chunk = _importance(at, variables, norm, per_batch, normalise, legacy)
    importance = of_chunk(per_example.first_examples(at.chunk, examples))
    memory = state.memory
    if sequence == "recompute":
      past = _past_importance(of_chunk, memory, at)
      importance = jax.tree.map(jnp.add, importance, past)
      memory = _remember(memory, at)
    elif sequence == "accumulate":
      importance = jax.tree.map(jnp.add, state.importance, importance)
    return MasState(importance, quadratic.copy(variables["params"]), memory), variables

  if examples is not None and sequence == "recompute":
    return Method(init, update, consolidate, num_boundary_examples=max(examples, capacity))
  return Method(init, update, consolidate, num_boundary_examples=examples)


def _importance(
  at: Boundary, variables: Variables, norm: str, per_batch: bool, normalise: str, legacy: bool
) -> per_example.BatchFunction:
  """The function `chunk [N, B, ...] -> Omega` of its examples."""
  if norm == "vector":
    gradient = _output_gradients(at, variables)
  else:
    gradient = per_example.gradient(at, variables, _output_norm(at, norm))

  def magnitude(batch):
    return jax.tree.map(jnp.abs, gradient(batch))

  def of_chunk(chunk):
    if per_batch:
      batches = _whole_batches(chunk, _LEGACY_BATCH) if legacy else chunk
      omega = per_example.divide_by_count(per_example.sum_over_batches(magnitude, batches), chunk)
    else:
      omega = per_example.mean_over_examples(gradient, chunk, of=jnp.abs)
    return _normalised(omega, normalise)

  return of_chunk


def _whole_batches(chunk: Batch, size: int) -> Batch:
  """The chunk in batches of `size` rows, of which those that are not full are masked."""
  number = chunk.mask.size
  rows = -(-number // size) * size

  def arrange(leaf):
    flat = leaf.reshape(number, *leaf.shape[2:])
    return _padded(flat, rows).reshape(-1, size, *flat.shape[1:])

  batches = jax.tree.map(arrange, chunk)
  return batches._replace(mask=batches.mask & batches.mask.all(axis=1, keepdims=True))


def _output_norm(at: Boundary, norm: str):
  """The norm of the active logits, summed over the valid rows."""

  def objective(logits, batch):
    active = at.active_fn(batch) & batch.mask[:, None]
    # Replaced before the norm: what stands for a masked logit must have no size.
    logits = jnp.where(active, logits, 0)
    return jnp.sum(jnp.square(logits) if norm == "L2" else jnp.abs(logits))

  return objective


def _output_gradients(at: Boundary, variables: Variables) -> per_example.BatchFunction:
  """`Σ_c |∂ Σ_rows z_c / ∂p|` over the active logits of the valid rows."""

  def magnitude(batch):
    active = at.active_fn(batch) & batch.mask[:, None]

    def outputs(params):
      logits, _ = at.apply_fn({**variables, "params": params}, batch)
      return jnp.sum(jnp.where(active, logits, 0), axis=0)

    sums, pull_back = jax.vjp(outputs, variables["params"])

    def body(total, cotangent):
      (grad,) = pull_back(cotangent)
      return jax.tree.map(lambda t, g: t + jnp.abs(g), total, grad), None

    start = jax.tree.map(jnp.zeros_like, variables["params"])
    total, _ = jax.lax.scan(body, start, jnp.eye(sums.shape[0], dtype=sums.dtype))
    return total

  return magnitude


def _normalised(omega: chex.ArrayTree, normalise: str) -> chex.ArrayTree:
  if normalise == "none":
    return omega
  values = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(omega)])
  size = jnp.max(values) if normalise == "max" else jnp.mean(values)
  # Not 0 / 0 where the network is dead.
  return jax.tree.map(lambda o: o / jnp.maximum(size, jnp.finfo(o.dtype).tiny), omega)


def _empty_memory(spec: StreamSpec, capacity: int) -> ring.RingState:
  sizes = np.full(spec.num_tasks, capacity)
  return ring.empty(sizes, jax.ShapeDtypeStruct(spec.image_shape, spec.image_dtype))


def _remember(memory: ring.RingState, at: Boundary) -> ring.RingState:
  """Keeps the first examples of the task, and no others: they stand in random order."""
  assert at.chunk is not None, "a task has ended"
  capacity = memory.items.shape[1]
  image, mask = (
    leaf.reshape(-1, *leaf.shape[2:])[:capacity] for leaf in (at.chunk.image, at.chunk.mask)
  )
  return memory._replace(
    items=memory.items.at[at.task_id].set(_padded(image, capacity)),
    pointer=memory.pointer.at[at.task_id].set(jnp.sum(mask, dtype=jnp.int32)),
  )


def _past_importance(
  of_chunk: per_example.BatchFunction, memory: ring.RingState, at: Boundary
) -> chex.ArrayTree:
  """The sum of Omega over the kept examples of each earlier task."""
  assert at.chunk is not None, "a task has ended"
  capacity, batch_size = memory.items.shape[1], at.chunk.mask.shape[1]
  size = -(-capacity // batch_size) * batch_size

  def of_task(task):
    image, mask = (
      _padded(leaf[task], size).reshape(-1, batch_size, *leaf.shape[2:])
      for leaf in (memory.items, ring.valid(memory))
    )
    task_id = jnp.full(mask.shape, task, jnp.int32)
    return of_chunk(Batch(image, jnp.zeros_like(task_id), task_id, mask))

  def add(task, total):
    return jax.tree.map(jnp.add, total, of_task(task))

  start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_task, 0))
  return jax.lax.fori_loop(0, at.task_id, add, start)


def _padded(rows: chex.Array, size: int) -> chex.Array:
  return jnp.pad(rows, ((0, size - rows.shape[0]),) + ((0, 0),) * (rows.ndim - 1))


def _check(strength, norm, sequence, examples, normalise, clip, capacity, spec) -> None:
  quadratic.check(strength, clip)
  check_choice("norm", norm, get_args(Norm))
  check_choice("sequence", sequence, get_args(Sequence))
  check_choice("normalise", normalise, get_args(Normalise))
  per_example.check_examples(examples)
  if sequence == "recompute":
    check_count("capacity", capacity)
    if spec is None:
      raise ValueError(
        'sequence="recompute" needs spec, the StreamSpec that its memory is made for'
      )
