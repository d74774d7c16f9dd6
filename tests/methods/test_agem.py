"""A-GEM against a queue a class and the formula in float64, and in the compiled loop."""

import collections
import functools

import boundaries
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episodic import (
  KEY,
  STREAM,
  TASKS,
  batches,
  check_in_the_loop,
  check_running_averages,
  check_without_memory,
  updater,
  vectors,
)

from tagjax.core.method import Boundary
from tagjax.core.types import Batch
from tagjax.memory import capacity as sizes
from tagjax.memory import ring
from tagjax.methods.agem import AgemState, agem


def remember(queues, batch):
  for image, label, task, valid in zip(*batch[:4], strict=True):
    if valid:
      queues[task, label].append(image.reshape(-1) / 255)


@pytest.mark.parametrize("capacity", [1, 3])
def test_step_by_step_in_float64(capacity):
  """The reference batch holds all past exemplars, so nothing is left to chance."""
  method = agem(STREAM, capacity=capacity, batch_size=50)
  gradients, start = vectors()
  params = {"w": jnp.float32(start)}
  state, update = method.init(params), updater(method)
  queues = collections.defaultdict(lambda: collections.deque(maxlen=capacity))
  projected = kept = 0
  for g, (task, batch) in zip(gradients, batches(STREAM), strict=True):
    updates, state = update({"w": jnp.asarray(g)}, state, params, batch, jnp.int32(task))
    remember(queues, batch)
    past = [image for (owner, _), images in queues.items() if owner < task for image in images]
    reference = start - np.mean(past, axis=0) if past else np.zeros_like(start)
    if g @ reference < 0:
      expected = g - (g @ reference) / (reference @ reference) * reference
      np.testing.assert_allclose(updates["w"], expected, atol=1e-5)
      projected += 1
    else:
      np.testing.assert_array_equal(updates["w"], g)
      kept += task > 0
  assert projected
  assert kept


def test_reference_batch_is_drawn_without_replacement_from_past_tasks():
  """The change is the reference gradient, made a list of what was drawn."""
  total = len(TASKS) * 6

  def drawn(params, batch, *, key=None):
    del params, key
    number = batch.image[:, 0, 0, 0].astype(jnp.int32)
    return jnp.zeros(()), jnp.zeros(total).at[number].add(batch.mask.astype(jnp.float32))

  method = agem(STREAM, capacity=10, batch_size=4)
  state, update, owners, changes = method.init(None), updater(method, drawn), [], []
  against = -jnp.ones(total)
  for step, task in enumerate(TASKS):
    number = np.arange(6 * step, 6 * step + 6)
    image = np.broadcast_to(number[:, None, None, None], (6, *helpers.IMAGE)).astype(np.uint8)
    label = np.resize(np.flatnonzero(STREAM.classes[task]), 6).astype(np.int32)
    batch = Batch(image, label, np.full(6, task, np.int32), np.ones(6, bool))
    owners += [task] * 6
    updates, state = update(
      against, state, None, batch, jnp.int32(task), jax.random.fold_in(KEY, step)
    )
    changes.append(np.asarray(updates - against))
  for task, change in zip(TASKS, changes, strict=True):
    chosen = np.flatnonzero(change)
    np.testing.assert_allclose(change[chosen], 1, atol=1e-6)
    assert len(chosen) == (4 if task else 0)
    assert (np.array(owners)[chosen] < task).all()
  assert (changes[-1] != changes[-2]).any()


def test_a_memory_filled_at_the_end_draws_from_the_whole_task():
  """Its exemplars are rows of the chunk; in the loop it holds nothing before the task has ended."""
  method = agem(STREAM, capacity=2, fill="end")
  chunk = boundaries.chunk(STREAM, 1)
  at = Boundary(**dict.fromkeys(Boundary._fields) | {"chunk": chunk})
  memory = method.consolidate(method.init(None), {}, at=at)[0].memory
  update = updater(method)
  own = sizes.slot_tasks(STREAM) == 1
  np.testing.assert_array_equal(ring.counts(memory), np.where(own, 2, 0))
  held, mask = ring.rows(memory)
  rows = np.asarray(held.index)[np.asarray(mask)]
  label = np.asarray(chunk.label).reshape(-1)
  for output in np.flatnonzero(STREAM.classes[1]):
    of_class = np.flatnonzero((label == output) & np.asarray(chunk.mask).reshape(-1))
    assert set(of_class[-2:]) <= set(rows)
  task, batch = next(batches(STREAM))
  zeros = {"w": jnp.zeros(np.prod(helpers.IMAGE))}
  _, state = update(zeros, AgemState(memory), zeros, batch, jnp.int32(task))
  jax.tree.map(np.testing.assert_array_equal, state.memory, memory)


def test_the_random_constraint_is_of_one_earlier_task():
  """S-GEM: every exemplar of one earlier task, another one with another key."""
  method = agem(STREAM, capacity=4, batch_size=50, constraint="random_task")
  seen = set()

  def drawn(params, batch, *, key=None):
    del params, key
    own = jnp.zeros(STREAM.num_tasks).at[batch.task_id].add(batch.mask.astype(jnp.float32))
    return jnp.zeros(()), own

  state, update = method.init(None), updater(method, drawn)
  against = -jnp.ones(STREAM.num_tasks)
  for task in range(STREAM.num_tasks):
    for number in range(8):
      label = np.resize(np.flatnonzero(STREAM.classes[task]), 6).astype(np.int32)
      image = np.zeros((6, *helpers.IMAGE), np.uint8)
      batch = Batch(image, label, np.full(6, task, np.int32), np.ones(6, bool))
      key = jax.random.fold_in(KEY, 100 * task + number)
      updates, state = update(against, state, None, batch, jnp.int32(task), key)
      changed = np.flatnonzero(np.asarray(updates - against))
      assert len(changed) == (1 if task else 0)
      seen |= {(task, int(one)) for one in changed}
  assert seen == {(task, one) for task in range(STREAM.num_tasks) for one in range(task)}


@pytest.mark.parametrize("fill", ["ring", "end"])
def test_in_the_loop(fill):
  check_in_the_loop(functools.partial(agem, fill=fill))


def test_capacity_zero_hands_the_gradient_on():
  check_without_memory(agem)


def test_running_averages_follow_the_current_batch_only():
  check_running_averages(agem)


def test_a_memory_smaller_than_a_reference_batch_is_told():
  assert agem(STREAM, capacity=50, batch_size=10).notes == ()
  (note,) = agem(STREAM, capacity=1, batch_size=100).notes
  assert note.startswith("memory.batch_size=100: the memory never holds so many exemplars")


def test_refuses_what_makes_no_sense():
  for options, message in [
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"capacity": -1}, "capacity=-1"),
    ({"per": "task"}, "per='task'"),
    ({"fill": "start"}, "fill must be one of 'ring', 'end'"),
    ({"constraint": "all"}, "constraint must be one of 'mean', 'random_task'"),
  ]:
    with pytest.raises(ValueError, match=message):
      agem(STREAM, **options)
