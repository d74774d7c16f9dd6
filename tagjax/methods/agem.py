r"""A-GEM: the gradient is kept from raising the mean loss on exemplars of earlier tasks."""

from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary, Method, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import items, ring
from tagjax.memory.capacity import Per
from tagjax.transforms import projection
from tagjax.transforms.checks import check_choice, check_count
from tagjax.transforms.projection import agem_project

Fill = Literal["ring", "end"]
Constraint = Literal["mean", "random_task"]


class AgemState(NamedTuple):
  """State of `agem`.

  Attributes:
    memory: `RingState` of `Batch` items, a slot for each pair of task and class: `items` leaves
      `[S, M, ...]`, `pointer` and `size` int32 `[S]`. The same on every device.
  """

  memory: ring.RingState


@register("agem", kind="modifier", shares="memory", family=projection.FAMILY)
def agem(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 10,
  fill: Fill = "ring",
  constraint: Constraint = "mean",
) -> Method:
  r"""A-GEM: projects the gradient on that of a reference batch.

  A step of task t (0-based):

      1. the batch is written into the memory, over the oldest exemplars of its classes
      2. if t > 0: r = gradient of the mean loss on `batch_size` exemplars of tasks < t
      3.           g <- g - min(0, <g, r>) / <r, r> r

  g is what arrives from the left of the chain, a regulariser's part included. In task 0 nothing
  changes. The reference pass uses training mode, batch statistics and dropout of its own, and
  leaves running averages alone; the current batch takes one forward pass, the learner's.

  Args:
    spec: the stream.
    capacity: exemplars kept, for each pair of task and class or in total. 0: the method does
      nothing.
    per: `"class"` or `"total"`, what `capacity` counts.
    batch_size: exemplars in a reference batch, drawn without replacement; all of them if fewer
      are stored.
    fill: how the memory gets its exemplars. `"ring"`: as above, so that it holds the last ones of
      each class. `"end"`: they are drawn from all examples of a class, uniformly, when the task has
      ended; the paper's figures were made so.
    constraint: what the gradient must not raise. `"mean"`: the mean loss on exemplars of all
      earlier tasks. `"random_task"`: that of one of these tasks, drawn anew in each step; S-GEM.

  Returns:
    The method; its state is an `AgemState`, `()` with capacity 0.

  Raises:
    ValueError: if `capacity` or `per` is refused by `tagjax.memory.capacity.slot_sizes`, or
      `batch_size` is less than 1, or `fill` or `constraint` is unknown.

  Differs from the reference code:
    * That takes a second forward pass of the current batch, so that BatchNorm's running averages
      move twice a step. Here once.
    * Places of the memory that were never written are random there, and zeros that count in the
      mean in A-GEM's own code; here they are masked.
    * A-GEM's own code divides a smaller last batch by the size of a whole one, here by its own.

  References:
    Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019.
    The step order is that of Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients
      for Lifelong Learning. CoLLAs 2022.

  Example:
    >>> import numpy as np, optax
    >>> from tagjax.core.chain import chain
    >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "task", (4, 4, 1))
    >>> method = chain(agem(spec, capacity=5), optax.sgd(0.1))
    >>> method.init({})[0].memory.items.image.shape
    (4, 5, 4, 4, 1)
  """
  check_count("batch_size", batch_size)
  check_choice("fill", fill, get_args(Fill))
  check_choice("constraint", constraint, get_args(Constraint))
  slot_sizes = sizes.slot_sizes(spec, capacity, per)
  if not slot_sizes.any():
    return identity()
  slot_table, slot_tasks = sizes.slot_table(spec), sizes.slot_tasks(spec)
  most = int(slot_sizes[slot_tasks < spec.num_tasks - 1].sum())

  def init(params):
    del params
    return AgemState(ring.empty(slot_sizes, items.exemplar(spec)))

  def remember(memory: ring.RingState, batch: Batch) -> ring.RingState:
    slots = jnp.asarray(slot_table)[batch.task_id, batch.label]
    return ring.insert(memory, batch, slots, batch.mask)

  def constrained(key: chex.PRNGKey, task_id: chex.Array) -> chex.Array:
    """Bool `[S]`: the slots that the reference batch is drawn from."""
    tasks = jnp.asarray(slot_tasks)
    if constraint == "mean":
      return tasks < task_id
    return tasks == jax.random.randint(key, (), 0, jnp.maximum(task_id, 1))

  def update(updates, state, params, *, at: Step):
    memory = state.memory
    if fill == "ring":
      memory = remember(memory, items.gather_in_order(at.gather, at.batch))

    def project(updates):
      sample_key, dropout_key = jax.random.split(at.key)
      eligible = constrained(jax.random.fold_in(sample_key, 1), at.task_id)
      exemplars, mask = ring.sample(memory, sample_key, batch_size, eligible)
      reference_batch = exemplars._replace(mask=mask)
      _, reference = at.grad_fn(params, reference_batch, key=dropout_key)
      return agem_project(updates, reference)

    updates = jax.lax.cond(at.task_id > 0, project, lambda updates: updates, updates)
    return updates, AgemState(memory)

  def consolidate(state, variables, *, at: Boundary):
    # The chunk is in random order: the last rows of each class are a uniform draw.
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), at.chunk)
    return AgemState(remember(state.memory, rows)), variables

  method = Method(init, update, consolidate) if fill == "end" else Method(init, update)
  return method._replace(notes=_notes(most, batch_size) if spec.num_tasks > 1 else ())


def _notes(most: int, batch_size: int) -> tuple[str, ...]:
  """What to say of a memory that is never as large as a reference batch."""
  if most >= batch_size:
    return ()
  return (
    f"memory.batch_size={batch_size}: the memory never holds so many exemplars of earlier tasks, "
    f"only {most}: every reference batch is all of them (memory.capacity)",
  )
