"""How large a memory is: so many exemplars for each pair of task and class, or so many in all."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from tagjax.core.register import register_section
from tagjax.core.types import StreamSpec

Per = Literal["class", "total"]


@register_section("memory")
class Memory(NamedTuple):
  """The options of all memories of exemplars.

  Attributes:
    capacity: exemplars kept, 0 (no memory) or more.
    per: whether `capacity` counts for each pair of task and `"class"`, or in `"total"`.
    batch_size: exemplars replayed in a step, at least 1; None: the run's batch size.
  """

  capacity: int = 1
  per: Per = "class"
  batch_size: int | None = None


def num_pairs(spec: StreamSpec) -> int:
  """Number of pairs (task, class) of the stream: the sum of `spec.classes`."""
  return int(np.sum(spec.classes))


def total_capacity(spec: StreamSpec, capacity: int, per: str = "class") -> int:
  """Exemplars that a memory without slots (a reservoir) holds.

  Args:
    spec: the stream.
    capacity: for each pair of task and class, or in total.
    per: `"class"` or `"total"`.

  Returns:
    `capacity · pairs`, or `capacity`.

  Raises:
    ValueError: if `capacity` is negative or no integer, or `per` is unknown.
  """
  if per not in get_args(Per):
    raise ValueError(f"memory.per={per!r} is unknown: choose one of {list(get_args(Per))}")
  if isinstance(capacity, bool) or int(capacity) != capacity or capacity < 0:
    raise ValueError(f"memory.capacity={capacity} must be a whole number, 0 (no memory) or more")
  return int(capacity) * (num_pairs(spec) if per == "class" else 1)


def slot_sizes(spec: StreamSpec, capacity: int, per: str = "class") -> np.ndarray:
  """Exemplars that each slot of a ring holds; slots are numbered as in `slot_table`.

  A total is spread as evenly as it goes: sizes differ by one at most, the larger ones first.

  Args:
    spec: the stream.
    capacity: for each pair of task and class, or in total.
    per: `"class"` or `"total"`.

  Returns:
    int32 `[S]`, S the number of pairs.

  Raises:
    ValueError: as `total_capacity`, or if a total above 0 leaves some pair without an exemplar.

  >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "task", (1,))
  >>> slot_sizes(spec, 6, "total").tolist()
  [2, 2, 1, 1]
  """
  total, pairs = total_capacity(spec, capacity, per), num_pairs(spec)
  if 0 < total < pairs:
    raise ValueError(
      f"memory.capacity={capacity} in total is less than one for each of the {pairs} pairs of "
      f'task and class: give at least {pairs}, or set memory.per="class"'
    )
  least, rest = divmod(total, pairs)
  return (least + (np.arange(pairs) < rest)).astype(np.int32)


def slot_table(spec: StreamSpec) -> np.ndarray:
  """The slot of each pair of task and class: int32 `[T, K]`, -1 where the task lacks the class.

  Slots are numbered task by task: `slot_table(spec)[batch.task_id, batch.label]` is what a ring's
  `insert` asks for.

  >>> spec = StreamSpec(2, 3, np.array([[1, 1, 0], [0, 0, 1]], bool), "task", (1,))
  >>> slot_table(spec).tolist()
  [[0, 1, -1], [-1, -1, 2]]
  """
  classes = np.asarray(spec.classes, bool)
  numbers = np.cumsum(classes.ravel()).reshape(classes.shape) - 1
  return np.where(classes, numbers, -1).astype(np.int32)


def slot_tasks(spec: StreamSpec) -> np.ndarray:
  """The task of each slot, int32 `[S]`: `slot_tasks(spec) < task_id` are those of past tasks.

  >>> spec = StreamSpec(2, 3, np.array([[1, 1, 0], [0, 0, 1]], bool), "task", (1,))
  >>> slot_tasks(spec).tolist()
  [0, 0, 1]
  """
  return np.nonzero(np.asarray(spec.classes, bool))[0].astype(np.int32)
