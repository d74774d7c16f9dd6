"""GDumb: a class-balanced memory, and a network trained from scratch on it when it is asked."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.memory import class_quota
from tagjax.memory.capacity import Per
from tagjax.methods import quadratic
from tagjax.methods.er import check_replay
from tagjax.transforms.checks import check_count, check_range

_MOMENTUM, _WEIGHT_DECAY, _CLIP = 0.9, 1e-6, 10.0
_RATE_OF_FIRST_PASS = 0.1
_BITS = 31


class GdumbState(NamedTuple):
  """What GDumb keeps.

  Attributes:
    memory: the exemplars.
    start: tree like params: a copy of the initial ones, which every training begins with.
  """

  memory: class_quota.ClassQuotaState
  start: chex.ArrayTree


@register("gdumb", kind="modifier", shares="memory", traced=("max_rate", "min_rate"))
def gdumb(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 16,
  passes: int = 256,
  max_rate: float = 0.05,
  min_rate: float = 0.0005,
) -> Method:
  """GDumb: does not learn from the stream; before each evaluation it learns from its memory alone.

  The memory holds as many examples of each class as of any other, drawn at random when a task ends
  (`tagjax.memory.class_quota`, "random"). Before an evaluation a network with the initial
  parameters is trained on it by cross-entropy: SGD with momentum 0.9, weight decay 1e-6, the
  gradient clipped to the norm 10, and a learning rate of each pass

      max_rate / 10                                             in the first pass
      min_rate + (max_rate - min_rate) (1 + cos(pi i / n)) / 2  in pass i of each cycle of n passes

  where the cycles have 1, 2, 4, ... passes.

  What it shows is what a memory is worth by itself: a method with the same memory that learns from
  the stream as well should be better. Until the first task has ended the network is untrained.

  It stands first in a chain, and its updates are zero: regularisers, projections and the optimizer
  behind it have nothing to do, and the learning rate of the run does not matter.

  Args:
    spec: the stream.
    capacity: M: exemplars for each pair of task and class, or in total; each pair seen has
      `M // pairs seen` of them. 0: the method does nothing.
    per: `"class"` or `"total"`.
    batch_size: exemplars of a step of its training.
    passes: over the memory in each training, at least 1. It costs passes · M / batch_size steps.
    max_rate: largest learning rate of its training, greater than 0.
    min_rate: smallest learning rate of its training, greater than 0.

  Returns:
    The method; its state is a `GdumbState`, or `()` if `capacity` is 0.

  Raises:
    ValueError: if an argument is out of range, or M is less than the number of pairs.

  >>> import numpy as np
  >>> from tagjax.core.chain import chain
  >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "class", (4, 4, 1))
  >>> method = chain(gdumb(spec, capacity=20, per="total"), optax.sgd(0.1))
  >>> method.init({})[0].memory.exemplars.image.shape
  (20, 4, 4, 1)

  References:
    Prabhu, Torr, Dokania. GDumb: A Simple Approach that Questions Our Progress in Continual
    Learning. ECCV 2020.

  Differs from the reference code: the memory is filled when a task ends, not example by example,
  and keeps `M // pairs` of each, so that a rest of M is not used; the last pass is evaluated (there
  the best of all, chosen by test accuracy); every training begins with the same parameters; no
  CutMix; float32.
  """
  check_replay(batch_size)
  check_count("passes", passes)
  check_range("max_rate", max_rate, 0.0, math.inf, "(0, inf)")
  check_range("min_rate", min_rate, 0.0, math.inf, "(0, inf)")
  size = class_quota.total(spec, capacity, per, needed_by="gdumb")
  if size == 0:
    return identity()

  def init(params) -> GdumbState:
    return GdumbState(class_quota.empty(spec, size), quadratic.copy(params))

  def update(updates, state: GdumbState, params, *, at: Step):
    del params, at
    return jax.tree.map(jnp.zeros_like, updates), state

  def consolidate(state: GdumbState, variables, *, at: Boundary):
    assert at.chunk is not None, "a task has ended"
    memory = class_quota.update(state.memory, at.chunk, selection="random")
    return state._replace(memory=memory), variables

  def prepare(state: GdumbState, variables, *, at: Boundary) -> Variables:
    exemplars = state.memory.exemplars
    count = jnp.sum(exemplars.mask, dtype=jnp.int32)

    def one_pass(number, carry):
      order_key, key = jax.random.split(jax.random.fold_in(at.key, number))
      rows = _batches(order_key, exemplars.mask, batch_size)
      rate = learning_rate(number, max_rate, min_rate)

      def step(index, carry):
        batch = jax.tree.map(lambda leaf: leaf[rows[index]], exemplars)
        is_there = index * batch_size + jnp.arange(batch_size) < count
        return _step(
          *carry, batch._replace(mask=is_there), rate, jax.random.fold_in(key, index), at
        )

      return jax.lax.fori_loop(0, -(-count // batch_size), step, carry)

    start = {**variables, "params": state.start}
    trained, _ = jax.lax.fori_loop(0, passes, one_pass, (start, _optimizer.init(state.start)))
    return trained

  return Method(init, update, consolidate, prepare=prepare, ignores_updates=True)


def learning_rate(number: chex.Numeric, max_rate: float, min_rate: float) -> chex.Array:
  """Of a pass, from 0; see `gdumb`.

  >>> [round(float(learning_rate(number, 1.0, 0.0)), 3) for number in range(9)]
  [0.1, 1.0, 1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
  """
  place = jnp.maximum(jnp.asarray(number, jnp.int32), 1)
  # Pass `number` is pass `number - 2^k` of the cycle that has 2^k of them.
  length = 1 << (_BITS - jax.lax.clz(place))
  cosine = jnp.cos(jnp.pi * (place - length) / length)
  rate = min_rate + 0.5 * (max_rate - min_rate) * (1 + cosine)
  return jnp.where(number == 0, _RATE_OF_FIRST_PASS * max_rate, rate)


_optimizer = optax.chain(
  optax.clip_by_global_norm(_CLIP), optax.add_decayed_weights(_WEIGHT_DECAY), optax.trace(_MOMENTUM)
)


def _batches(key: chex.PRNGKey, mask: chex.Array, batch_size: int) -> chex.Array:
  """All rows in random order, those whose mask is False last; int32 `[N, B]`."""
  number = len(mask)
  order = jnp.argsort(jnp.where(mask, jax.random.uniform(key, (number,)), jnp.inf))
  lacking = -number % batch_size
  return jnp.pad(order.astype(jnp.int32), (0, lacking)).reshape(-1, batch_size)


def _step(variables, state, batch: Batch, rate, key, at: Boundary):
  """One step of SGD; the model's other variables are those after the pass."""

  def objective(params):
    logits, after = at.apply_fn({**variables, "params": params}, batch, key=key, train=True)
    values = losses.cross_entropy(logits, batch.label, at.active_fn(batch))
    return losses.masked_mean(values, batch.mask, jnp.sum(batch.mask, dtype=jnp.float32)), after

  grad, after = jax.grad(objective, has_aux=True)(variables["params"])
  updates, state = _optimizer.update(grad, state, variables["params"])
  params = jax.tree.map(lambda p, u: p - rate.astype(p.dtype) * u, variables["params"], updates)
  return {**after, "params": params}, state
