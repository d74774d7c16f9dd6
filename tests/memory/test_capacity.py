"""Sizes of memories from a stream's classes."""

import helpers
import numpy as np
import pytest

from tagjax.core.types import StreamSpec
from tagjax.memory import capacity

UNEVEN = StreamSpec(
  3, 4, np.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 1]], bool), "class", helpers.IMAGE
)


@pytest.mark.parametrize(
  ("spec", "pairs"),
  [
    (helpers.spec(), 6),
    (helpers.spec("domain"), 6),
    (UNEVEN, 6),
    (helpers.spec("class", 4, 3), 12),
  ],
)
def test_total_counts_pairs_of_task_and_class(spec, pairs):
  assert capacity.num_pairs(spec) == pairs
  assert capacity.total_capacity(spec, 3) == 3 * pairs
  assert capacity.total_capacity(spec, 3, "total") == 3
  assert capacity.slot_sizes(spec, 3).tolist() == [3] * pairs
  assert capacity.slot_sizes(spec, 0, "total").tolist() == [0] * pairs


def test_a_total_is_spread_evenly():
  for total in (6, 7, 11, 12, 20):
    sizes = capacity.slot_sizes(UNEVEN, total, "total")
    assert sizes.sum() == total
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(sizes) <= 0).all()


def test_slots_number_the_pairs_task_by_task():
  table = capacity.slot_table(UNEVEN)
  tasks, classes = np.nonzero(UNEVEN.classes)
  np.testing.assert_array_equal(table[tasks, classes], np.arange(6))
  assert (table[~UNEVEN.classes] == -1).all()
  np.testing.assert_array_equal(capacity.slot_tasks(UNEVEN), tasks)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((-1,), "memory.capacity=-1 must be a whole number"),
    ((1.5,), "memory.capacity=1.5 must be a whole number"),
    ((True,), "memory.capacity=True must be a whole number"),
    ((1, "task"), r"memory.per='task' is unknown: choose one of \['class', 'total'\]"),
    ((5, "total"), "memory.capacity=5 in total is less than one for each of the 6 pairs"),
  ],
)
def test_impossible_sizes_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    capacity.slot_sizes(UNEVEN, *arguments)
