r"""GEM: the gradient is kept from raising the loss on the exemplars of any earlier task."""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core.mapping import factored, is_thin
from tagjax.core.method import Method, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import items, ring
from tagjax.memory.capacity import Per
from tagjax.transforms import projection
from tagjax.transforms.checks import check_count, check_range
from tagjax.transforms.projection import gem_project


class GemState(NamedTuple):
  """State of `gem`.

  Attributes:
    memory: `RingState` of `Batch` items, a slot for each pair of task and class: `items` leaves
      `[S, M, ...]`, `pointer` and `size` int32 `[S]`. The same on every device.
  """

  memory: ring.RingState


@register(
  "gem", kind="modifier", shares="memory", traced=("margin", "eps"), family=projection.FAMILY
)
def gem(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  margin: float = 0.5,
  eps: float = 1e-3,
  batch_size: int = 256,
) -> Method:
  r"""GEM: projects the gradient out of conflict with every earlier task.

  A step of task t (0-based):

      1. the batch is written into the memory, over the oldest exemplars of its classes
      2. g_k = gradient of the mean loss on all exemplars of task k, for each k < t
      3. if any <g, g_k> < 0:  g <- g + sum_k v_k g_k, where v minimises
         1/2 v' (G G' + eps I) v + (G g)' v  over  v >= margin,  the rows of G being the g_k

  g is what arrives from the left of the chain, a regulariser's part included. In task 0 nothing
  changes. A step costs t passes over a task's memory, and `T - 1` gradients are held at once. Where
  a network of products has few exemplars of a task, all tasks pass together, and none of their
  gradients is written down (`tagjax.core.mapping.factored`). The passes use training mode, batch
  statistics and dropout of their own, and leave running averages alone.

  Args:
    spec: the stream.
    capacity: exemplars kept, for each pair of task and class or in total. 0: the method does
      nothing.
    per: `"class"` or `"total"`, what `capacity` counts.
    margin: least weight of every earlier task's gradient once there is a conflict, at least 0
      ("memory strength").
    eps: added to the diagonal of the dual, at least 0.
    batch_size: exemplars in one pass; a task's larger memory takes several, whose gradients are
      averaged.

  Returns:
    The method; its state is a `GemState`, `()` with capacity 0.

  Raises:
    ValueError: if `capacity` or `per` is refused by `tagjax.memory.capacity.slot_sizes`, `margin`
      or `eps` is negative, or `batch_size` is less than 1.

  Differs from the reference code:
    * The memory holds the last exemplars of each class of a task, not of the task; its counters
      are not shared by the tasks, and no rows of a batch are lost at the end of the buffer.
    * The dual is solved on the device in float32 (`tagjax.transforms.gem_dual`).

  References:
    Lopez-Paz, Ranzato. Gradient Episodic Memory for Continual Learning. NeurIPS 2017.

  Example:
    >>> import optax
    >>> from tagjax.core.chain import chain
    >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "task", (4, 4, 1))
    >>> method = chain(gem(spec, capacity=128), optax.sgd(0.1))
    >>> method.init({})[0].memory.items.image.shape
    (4, 128, 4, 4, 1)
  """
  check_range("margin", margin, 0.0, math.inf, "[0, inf)")
  check_range("eps", eps, 0.0, math.inf, "[0, inf)")
  check_count("batch_size", batch_size)
  slot_sizes = sizes.slot_sizes(spec, capacity, per)
  if not slot_sizes.any():
    return identity()
  slot_table = sizes.slot_table(spec)
  task_slots = _slots_of_tasks(spec)
  # A stream of one task has no earlier tasks; one empty row keeps the shapes in order.
  num_past = max(spec.num_tasks - 1, 1)

  def init(params):
    del params
    return GemState(ring.empty(slot_sizes, items.exemplar(spec)))

  def update(updates, state, params, *, at: Step):
    batch = items.gather_in_order(at.gather, at.batch)
    slots = jnp.asarray(slot_table)[batch.task_id, batch.label]
    memory = ring.insert(state.memory, batch, slots, batch.mask)

    def batches_of(task):
      return _batches(memory, jnp.asarray(task_slots)[task], batch_size)

    def project(updates):
      gradients = _gradients(at, params, batches_of, num_past)
      past = jnp.arange(num_past) < at.task_id
      return gem_project(updates, gradients, past, margin=margin, eps=eps)

    updates = jax.lax.cond(at.task_id > 0, project, lambda updates: updates, updates)
    return updates, GemState(memory)

  return Method(init, update)


def _slots_of_tasks(spec: StreamSpec) -> np.ndarray:
  """The slots of each task, int32 `[T, C]`, C the most that any has; -1 fills the rows up."""
  of_slot = sizes.slot_tasks(spec)
  slots = [np.flatnonzero(of_slot == task) for task in range(spec.num_tasks)]
  width = max(map(len, slots))
  padded = [np.pad(row, (0, width - len(row)), constant_values=-1) for row in slots]
  return np.stack(padded).astype(np.int32)


def _batches(memory: ring.RingState, slots: chex.Array, batch_size: int) -> Batch:
  """All places of `slots` as a `Batch` with leading axes `[N, R]`, R at most `batch_size`."""
  held = ring.valid(memory)[slots] & (slots >= 0)[:, None]
  batch = jax.tree.map(lambda leaf: leaf[slots], memory.items)._replace(mask=held)
  total = held.size
  number = -(-total // batch_size)
  rows = -(-total // number)

  def arrange(leaf):
    flat = leaf.reshape(total, *leaf.shape[2:])
    fill = [(0, number * rows - total)] + [(0, 0)] * (flat.ndim - 1)
    return jnp.pad(flat, fill).reshape(number, rows, *flat.shape[1:])

  return jax.tree.map(arrange, batch)


def _gradients(
  at: Step, params: chex.ArrayTree, batches_of: Callable[[chex.Array], Batch], num_past: int
) -> chex.ArrayTree:
  """The gradient of each task; what tasks that are not past have is not to be looked at.

  Returns:
    Tree like `params`, leaves with a leading axis `[num_past]` or `Thin`.
  """

  def key_of(task):
    return jax.random.fold_in(at.key, task)

  def in_one_pass(task):
    batch = jax.tree.map(lambda leaf: leaf[0], batches_of(task))
    key = jax.random.fold_in(key_of(task), 0)
    return factored(lambda: at.grad_fn(params, batch, key=key)[1])

  def write(task, gradients):
    gradient = _mean_gradient(at, params, batches_of(task), key_of(task))
    return jax.tree.map(lambda rows, row: rows.at[task].set(row), gradients, gradient)

  if _is_worth_it(jax.eval_shape(batches_of, 0), jax.eval_shape(in_one_pass, 0), params):
    return jax.vmap(in_one_pass)(jnp.arange(num_past))
  blank = jax.tree.map(lambda p: jnp.zeros((num_past, *p.shape), p.dtype), params)
  # Only as many turns as there are earlier tasks: the first tasks are cheap.
  return jax.lax.fori_loop(0, jnp.minimum(at.task_id, num_past), write, blank)


def _is_worth_it(batches: Batch, gradient: chex.ArrayTree, params: chex.ArrayTree) -> bool:
  """Whether thin gradients of all tasks are less work than plain ones of those that are past."""
  if batches.label.shape[0] > 1:
    return False

  def work(node):
    """Numbers multiplied for an inner product of two."""
    if not is_thin(node):
      return node.size
    rows = node.left.shape[0]
    return rows**2 * (node.left.shape[1] + node.right.shape[1])

  thin = sum(map(work, jax.tree.leaves(gradient, is_leaf=is_thin)))
  return 2 * thin < sum(leaf.size for leaf in jax.tree.leaves(params))


def _mean_gradient(
  at: Step, params: chex.ArrayTree, batches: Batch, key: chex.PRNGKey
) -> chex.ArrayTree:
  """Gradient of the mean loss over all valid rows of `batches`; 0 if there is none."""

  def add(total, numbered):
    number, batch = numbered
    _, gradient = at.grad_fn(params, batch, key=jax.random.fold_in(key, number))
    count = jnp.sum(batch.mask)
    return jax.tree.map(
      lambda s, g: s + jnp.where(count > 0, count.astype(g.dtype) * g, 0), total, gradient
    ), None

  numbers = jnp.arange(batches.label.shape[0])
  zeros = jax.tree.map(jnp.zeros_like, params)
  total, _ = jax.lax.scan(add, zeros, (numbers, batches))
  count = jnp.maximum(jnp.sum(batches.mask), 1)
  return jax.tree.map(lambda s: s / count.astype(s.dtype), total)
