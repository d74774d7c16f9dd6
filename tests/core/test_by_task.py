"""A batch computed by what belongs to its tasks, and how many passes that takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.by_task import by_task, only_task, present_tasks

TASKS = 3
IMAGE = np.arange(1.0, 9.0, dtype=np.float32).reshape(4, 2)
SCALE = np.array([1.0, 10.0, 100.0], np.float32)


def logits(task_id, mask, scale=SCALE, image=IMAGE, calls=None):
  """The image, scaled by the task of each row; `calls` gets the task of each pass."""

  def forward(task):
    if calls is not None:
      jax.debug.callback(lambda one: calls.append(int(one)), task)
    return jnp.asarray(image) * jnp.asarray(scale)[task]

  return by_task(forward, TASKS, jnp.asarray(task_id), jnp.asarray(mask))


def passes(function, *arguments) -> list[int]:
  calls: list[int] = []
  jax.block_until_ready(jax.jit(lambda *a: function(*a, calls=calls))(*arguments))
  jax.effects_barrier()
  return sorted(calls)


EVERY = np.ones(4, bool)


@pytest.mark.parametrize(
  ("task_id", "mask", "taken"),
  [
    ([1, 1, 1, 1], EVERY, [1]),
    ([0, 2, 2, 0], EVERY, [0, 2]),
    # Padding is of any task, and the first valid row tells the one of the others.
    ([0, 2, 2, 0], [False, True, True, False], [2]),
    ([2, 2, 7, 2], [True, True, False, True], [2]),
  ],
)
def test_each_row_is_of_its_task_and_a_pass_is_taken_for_those_that_are_there(task_id, mask, taken):
  task_id, mask = np.array(task_id, np.int32), np.array(mask)
  found = np.asarray(logits(task_id, mask))
  np.testing.assert_array_equal(found[mask], (IMAGE * SCALE[task_id.clip(max=2)][:, None])[mask])
  assert passes(logits, task_id, mask) == taken


def test_a_task_beyond_those_that_there_are_is_nan():
  found = np.asarray(logits(np.array([0, 3, -1, 3], np.int32), np.array([True, True, True, False])))
  assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False]


def test_gradients_are_those_of_each_row_s_task():
  task_id = jnp.array([0, 2, 2, 1], jnp.int32)
  weights = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)

  def loss(scale):
    return jnp.sum(logits(task_id, EVERY, scale) * weights)

  expected = np.zeros(TASKS)
  np.add.at(expected, np.asarray(task_id), (IMAGE * weights).sum(axis=1))
  np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(SCALE)), expected, rtol=1e-6)


def test_side_by_side_it_is_asked_of_all_lanes_together():
  """So the condition stays one, and lanes of the same task take one pass."""
  one, other = np.array([1, 1, 1, 1], np.int32), np.array([1, 2, 2, 1], np.int32)
  images = np.stack([IMAGE, IMAGE + 1])

  def lanes(task_id, calls=None):
    return jax.vmap(lambda task, image: logits(task, EVERY, image=image, calls=calls))(
      task_id, jnp.asarray(images)
    )

  for rows in (np.stack([one, one]), np.stack([one, other])):
    found = np.asarray(jax.jit(lanes)(rows))
    np.testing.assert_array_equal(found, images * SCALE[rows][..., None])
  assert only_task(jnp.asarray(one), jnp.asarray(EVERY))[1]
  tasks = jax.vmap(lambda task: only_task(task, jnp.asarray(EVERY))[1])(np.stack([one, other]))
  assert not np.asarray(tasks).any()
  there = jax.vmap(lambda task: present_tasks(TASKS, task, jnp.asarray(EVERY)))(
    np.stack([one, other])
  )
  assert np.asarray(there).tolist() == [[False, True, True]] * 2
  assert present_tasks(TASKS, jnp.asarray(one), jnp.asarray(EVERY)).tolist() == [False, True, False]
