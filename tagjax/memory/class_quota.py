"""Class-quota memory: as many exemplars of each class seen, chosen once, when its task ends.

References:
  Rebuffi, Kolesnikov, Sperl, Lampert. iCaRL: Incremental Classifier and Representation Learning.
  CVPR 2017.
  Rajasegaran et al. iTAML: An Incremental Task-Agnostic Meta-learning Approach. CVPR 2020.
"""

from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp

from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import herding
from tagjax.memory.capacity import Per
from tagjax.memory.items import exemplar

Selection = Literal["first", "random", "herding"]
"""Which examples of a class become exemplars, see `update`."""


class ClassQuotaState(NamedTuple):
  """Exemplars, class by class.

  Attributes:
    exemplars: `Batch` `[M, ...]`: images as they are stored, by ascending label, then task, then
      rank of choice. Rows whose mask is False, the last ones, are empty: zeros. `index` is the row
      of each exemplar in its task's training set.
    seen: bool `[T, K]`, the pairs of task and class of which examples have been offered.
  """

  exemplars: Batch
  seen: chex.Array


def total(spec: StreamSpec, capacity: int, per: Per, *, needed_by: str | None = None) -> int:
  """M, the exemplars of a memory by class quota.

  Args:
    spec: the stream.
    capacity: for each pair of task and class of the whole stream, or in total. The quota of the
      first tasks is larger: it is of the pairs seen so far.
    per: `"class"` or `"total"`.
    needed_by: what cannot do without an exemplar of each class, such as `"icarl"`; None: with M
      below the number of pairs the quota becomes 0, and the memory empty, when that many are seen.

  Raises:
    ValueError: as `tagjax.memory.capacity.total_capacity`; or if M, above 0, is less than the
      number of pairs and that is needed.

  >>> import numpy as np
  >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "class", (1,))
  >>> total(spec, 5, "class"), total(spec, 5, "total")
  (20, 5)
  """
  number, pairs = sizes.total_capacity(spec, capacity, per), sizes.num_pairs(spec)
  if needed_by is not None and 0 < number < pairs:
    raise ValueError(
      f"memory.capacity={capacity} in total leaves {needed_by} without an exemplar of each of the "
      f'{pairs} pairs of task and class: give at least {pairs}, or set memory.per="class"'
    )
  return number


def check_selection(selection: str) -> None:
  """Raises a ValueError if `selection` is unknown."""
  if selection not in get_args(Selection):
    choices = list(get_args(Selection))
    raise ValueError(f"selection={selection!r} is unknown: choose one of {choices}")


def empty(spec: StreamSpec, capacity: int) -> ClassQuotaState:
  """A memory that holds nothing.

  Args:
    spec: the stream.
    capacity: M, static, at least 1; see `total`.

  Raises:
    ValueError: if `capacity` is less than 1.
  """
  if capacity < 1:
    raise ValueError(f"capacity={capacity} of a memory must be at least 1")
  return ClassQuotaState(
    exemplars=jax.tree.map(
      lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), exemplar(spec)
    ),
    seen=jnp.zeros(spec.classes.shape, bool),
  )


def quota(state: ClassQuotaState) -> chex.Array:
  """m, the most exemplars of a pair of task and class: `M // pairs seen`, int32 scalar."""
  pairs = jnp.sum(state.seen, dtype=jnp.int32)
  return state.exemplars.mask.shape[0] // jnp.maximum(pairs, 1)


def update(
  state: ClassQuotaState,
  chunk: Batch,
  *,
  selection: str = "first",
  features: chex.Array | None = None,
) -> ClassQuotaState:
  """Takes exemplars of a task that has ended, and gives up as many of the classes before.

  A class is a pair of task and class here, as it is for `memory.per`: where classes come one after
  another the two are the same; in the scenario "domain", and where a class comes again in a later
  task, each task has exemplars of its own. With `m = M // pairs seen` (`quota`), each pair keeps
  the first m of its stored exemplars. Then it takes examples of the chunk until it has m; so a new
  one takes m, one that had m and comes again nothing. A pair with fewer examples keeps all. M may
  not be used up; with more pairs than M, m is 0 and the memory is empty. Whoever calls it twice
  with the same examples lets small pairs have them twice.

  The examples of the chunk are taken in this order:

      "first"    by ascending `index`: that of the data set; those of unknown index (-1) come first
      "random"   as the chunk has them, which is shuffled (`tagjax.core.method.Boundary.chunk`)
      "herding"  see `tagjax.memory.herding.ranks`, of normalised features, pair by pair

  Args:
    state: the memory.
    chunk: training examples of the task, `[N, B, ...]` or `[n, ...]`; rows whose mask is False do
      not count. All of the task (`Method.num_boundary_examples` None), the same on all devices.
    selection: static, see above.
    features: float `[n, d]`, of the rows of the chunk, for `"herding"`; their length is of no
      account.

  Returns:
    The new state, in the order that `ClassQuotaState` says.

  Raises:
    ValueError: if `selection` is unknown, or herding has no features.

  >>> import numpy as np
  >>> spec = StreamSpec(2, 2, np.eye(2, dtype=bool), "class", (1,))
  >>> def of_task(task):
  ...   label = jnp.full(4, task, jnp.int32)
  ...   image, index = jnp.zeros((4, 1), jnp.uint8), jnp.array([3, 1, 0, 2])
  ...   return Batch(image, label, label, jnp.ones(4, bool), index)
  >>> one = update(empty(spec, 5), of_task(0))
  >>> two = update(one, of_task(1))
  >>> [state.exemplars.index[state.exemplars.mask].tolist() for state in (one, two)]
  [[0, 1, 2, 3], [0, 1, 0, 1]]
  """
  check_selection(selection)
  chunk = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[chunk.mask.ndim :]), chunk)
  seen = state.seen.at[chunk.task_id, chunk.label].max(chunk.mask)
  state = state._replace(seen=seen)
  is_there, rank = chunk.mask, jnp.arange(len(chunk.mask), dtype=jnp.int32)
  if selection == "first":
    rank = chunk.index
  elif selection == "herding":
    rank = _herded(state, chunk, features)
    is_there &= rank < len(rank)
  held = state.exemplars
  source, mask = _keep(
    pair=jnp.concatenate([_pair(held, seen), _pair(chunk, seen)]),
    is_there=jnp.concatenate([held.mask, is_there]),
    is_new=jnp.arange(len(held.mask) + len(rank)) >= len(held.mask),
    rank=jnp.concatenate([jnp.arange(len(held.mask), dtype=jnp.int32), rank]),
    quota=quota(state),
    count=len(held.mask),
  )
  return state._replace(exemplars=_gather(held, chunk, source, mask))


def _pair(batch: Batch, seen: chex.Array) -> chex.Array:
  """A number for each pair of class and task, class by class."""
  return batch.label * seen.shape[0] + batch.task_id


def _herded(state: ClassQuotaState, chunk: Batch, features: chex.Array | None) -> chex.Array:
  if features is None:
    raise ValueError('selection="herding" needs the features of the chunk')
  # Only pairs that are there have a place: a large head costs no more than the task does.
  number = state.seen.size
  pair = jnp.where(chunk.mask, _pair(chunk, state.seen), number)
  is_present = jnp.zeros(number, jnp.int32).at[pair].max(1, mode="drop")
  group = (jnp.cumsum(is_present) - 1).astype(jnp.int32).at[pair].get(mode="fill", fill_value=0)
  rows = herding.normalized(features.reshape(len(pair), -1))
  groups = min(number, len(pair))
  return herding.ranks(rows, group, chunk.mask, quota(state), groups=groups)


def _keep(*, pair, is_there, is_new, rank, quota, count) -> tuple[chex.Array, chex.Array]:
  """The rows that are kept, int32 `[count]`, in the order of the memory; and which places hold one.

  Of each pair the first `quota` that are there: stored ones before new ones, then by rank.
  """
  order = jnp.lexsort((rank, is_new, pair, ~is_there))
  pair, is_there = pair[order], is_there[order]
  pair = jnp.where(is_there, pair, jnp.iinfo(pair.dtype).max)
  number = jnp.arange(len(pair)) - jnp.searchsorted(pair, pair, side="left")
  is_kept = is_there & (number < quota)
  place = jnp.where(is_kept, jnp.cumsum(is_kept) - 1, count)
  source = jnp.zeros(count, order.dtype).at[place].set(order, mode="drop")
  return source, jnp.arange(count) < jnp.sum(is_kept)


def _gather(held: Batch, chunk: Batch, source: chex.Array, mask: chex.Array) -> Batch:
  """The rows `source` of `held` with `chunk` behind it; zeros where `mask` is False."""
  count = len(held.mask)

  def rows(old, new):
    shape = (-1, *[1] * (old.ndim - 1))
    own, other = old[jnp.minimum(source, count - 1)], new[jnp.maximum(source - count, 0)]
    row = jnp.where((source < count).reshape(shape), own, other)
    return jnp.where(mask.reshape(shape), row, jnp.zeros((), old.dtype))

  return jax.tree.map(rows, held, chunk)._replace(mask=mask)
