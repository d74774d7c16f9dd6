"""Passes over parts of a batch: the sizes, the rows, and lanes side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core import passes
from tagjax.core.types import Batch


@pytest.mark.parametrize("rows", [1, 8, 9, 50, 256])
def test_a_pass_takes_a_bounded_number_of_rows(rows):
  sizes = passes.pass_sizes(rows)
  assert sizes[-1] == rows
  for count in range(1, rows + 1):
    size = min(size for size in sizes if size >= count)
    assert size <= max(8, 4 * count)


def _batch(task_id, mask):
  rows = len(task_id)
  label = jnp.arange(rows, dtype=jnp.int32)
  return Batch(jnp.zeros((rows, 2)), label, jnp.asarray(task_id, jnp.int32), jnp.asarray(mask))


def test_the_rows_of_each_task():
  task = np.array([2, 0, 2, 1, 0, 2, 0])
  mask = np.array([1, 1, 1, 1, 0, 1, 1], bool)
  batch = _batch(task, mask)
  order, start, count = passes.rows_by_task(batch, 4)
  assert count.tolist() == [2, 1, 3, 0]
  for number in range(4):
    part = passes.part_of(batch, order, start[number], count[number], 4)
    found = part.label[part.mask].tolist()
    assert found == np.flatnonzero((task == number) & mask).tolist()
    assert part.mask.shape == (4,)


def test_the_smallest_pass_that_holds_the_rows_runs():
  run = jax.jit(lambda count: passes.run_pass(lambda size, x: x + size, count, 40, jnp.int32(0)))
  assert [int(run(jnp.int32(count))) for count in (0, 1, 3, 4, 10, 11, 40)] == [
    *(0, 3, 3, 10, 10, 40, 40)
  ]


def test_lanes_share_the_size_and_not_the_state():
  def one(count, x):
    return passes.run_pass(lambda size, x: x + size, count, 40, x)

  lanes = jax.jit(jax.vmap(one))
  counts, x = jnp.array([0, 2, 9]), jnp.array([1, 10, 100])
  assert lanes(counts, x).tolist() == [1, 20, 110]
  # One branch is run, as without lanes, and not all of them.
  assert "conditional" in lanes.lower(counts, x).compile().as_text()
