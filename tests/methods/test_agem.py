"""A-GEM against a queue a class and the formula in float64, and in the compiled loop."""

import collections

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

from tagjax.core.types import Batch
from tagjax.methods.agem import agem


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


def test_in_the_loop():
  check_in_the_loop(agem)


def test_capacity_zero_hands_the_gradient_on():
  check_without_memory(agem)


def test_running_averages_follow_the_current_batch_only():
  check_running_averages(agem)


def test_refuses_what_makes_no_sense():
  for options, message in [
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"capacity": -1}, "capacity=-1"),
    ({"per": "task"}, "per='task'"),
  ]:
    with pytest.raises(ValueError, match=message):
      agem(STREAM, **options)
