"""ER, experience replay: each step also learns from exemplars of a reservoir."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Method, identity
from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import items, reservoir
from tagjax.memory.capacity import Per
from tagjax.transforms.checks import check_range, is_off


class ErState(NamedTuple):
  """`memory`: reservoir of N exemplars, each a row of a `Batch`, images as they are stored."""

  memory: reservoir.ReservoirState


@register("er", kind="modifier", shares="memory", traced=("strength",), family=reservoir.FAMILY)
def er(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 10,
  variant: reservoir.Variant = "item",
  strength: float = 1.0,
) -> Method:
  """Experience replay: adds the gradient of a replay batch to the updates, from the second task on.

  In each step, in this order:

      R ~ memory, uniformly, without replacement, `batch_size` exemplars (all, if it holds fewer)
      offer the current batch to the memory (a reservoir)
      updates <- updates + strength · ∇ (1/|R|) Σ_{(x, y) in R} CE(x, y)      if task_id > 0

  The memory is filled from the first step of the stream on; R comes from the whole of it, exemplars
  of the current task included. Each exemplar's softmax runs over its own task's outputs (scenario
  "task"), over those seen so far ("class") or over all ("domain"). Batch normalisation takes its
  statistics from R by itself; the running averages follow the current batch only. Over several
  epochs an example is offered each time that it comes, as in the reference. What other methods made
  of the updates before is kept: replay is added to it.

  Args:
    spec: the stream.
    capacity: exemplars for each pair of task and class, or in total; 0: no memory.
    per: `"class"` or `"total"`.
    batch_size: exemplars replayed a step.
    variant: `"item"`: a true reservoir; `"reference"`: the reference implementation's, see
      `tagjax.memory.reservoir.insert`.
    strength: weight of the replay loss, at least 0.

  Returns:
    The method; its state is an `ErState`, or `()` if `capacity` or `strength` is 0: the updates
    then pass as they are.

  Raises:
    ValueError: if an argument is out of range.

  >>> import numpy as np, optax
  >>> from tagjax.core.chain import chain
  >>> spec = StreamSpec(2, 2, np.eye(2, dtype=bool), "task", (4, 4, 1))
  >>> method = chain(er(spec, capacity=5), optax.sgd(0.1))
  >>> method.init({})[0].memory.items.image.shape
  (10, 4, 4, 1)

  References:
    Chaudhry et al. On Tiny Episodic Memories in Continual Learning. 2019, arXiv:1902.10486.
    The variant of TAG's benchmark: Malviya, Ravindran, Chandar. CoLLAs 2022.

  Differs from the reference code (TAG's benchmark): the reservoir counts item by item;
  `capacity` is for each pair of task and class, where the permuted and rotated benchmarks of the
  reference count the shared classes once for all tasks (use `per="total"`); running averages of
  batch normalisation do not see the replay batch.
  """
  check_replay(batch_size, strength=strength)
  reservoir.check_variant(variant)
  size = sizes.total_capacity(spec, capacity, per)
  if size == 0 or is_off(strength):
    return identity()

  def init(params):
    del params
    return ErState(reservoir.empty(size, items.exemplar(spec)))

  def update(updates, state, params, *, at):
    draw_key, insert_key, forward_key = jax.random.split(at.key, 3)
    replay, mask = reservoir.sample(state.memory, draw_key, batch_size)
    batch = items.gather_in_order(at.gather, at.batch)
    memory = reservoir.insert(
      state.memory, batch, batch.mask, insert_key, variant=variant, after=replay
    )

    def rehearse(updates):
      _, grad = at.grad_fn(params, replay._replace(mask=mask), key=forward_key)
      return add_gradient(updates, grad, strength, jnp.any(mask))

    # A branch, so that the first task pays no second pass through the network.
    updates = jax.lax.cond(at.task_id > 0, rehearse, lambda updates: updates, updates)
    return updates, ErState(memory)

  return Method(init, update)


def add_gradient(
  updates: chex.ArrayTree, grad: chex.ArrayTree, strength: float, present: chex.Array
) -> chex.ArrayTree:
  """`updates + strength · grad` where `present`, else `updates` bit for bit; keeps their dtypes."""
  return jax.tree.map(
    lambda u, g: jnp.where(present, u + (strength * g).astype(u.dtype), u), updates, grad
  )


_LARGEST_BATCH = 10_000_000


def check_replay(batch_size: int, **strengths: float) -> None:
  """Raises a ValueError unless `batch_size` is 1 to 10 million and no strength is negative."""
  if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
    raise ValueError(
      f"memory.batch_size={batch_size} must be a whole number, at least 1; to replay nothing set "
      "memory.capacity=0"
    )
  if batch_size > _LARGEST_BATCH:
    raise ValueError(f"memory.batch_size={batch_size} must be at most {_LARGEST_BATCH}")
  for name, strength in strengths.items():
    check_range(name, strength, 0.0, math.inf, "[0, inf)")
