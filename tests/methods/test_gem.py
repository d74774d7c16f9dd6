"""GEM against a queue a class and SciPy in float64, and in the compiled loop."""

import collections
import importlib

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from episodic import (
  KEY,
  SGD,
  STREAM,
  batches,
  check_in_the_loop,
  check_running_averages,
  check_without_memory,
  mean_image_gradient,
  updater,
  vectors,
)

from tagjax.core.chain import chain
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import ring
from tagjax.methods.gem import gem


def exact(matrix, gradient, margin, eps):
  """The pushed gradient, by SciPy's non-negative least squares in float64."""
  if not (matrix @ gradient < 0).any():
    return gradient
  gram = matrix @ matrix.T + eps * np.eye(len(matrix))
  factor = np.linalg.cholesky(gram)
  offset = matrix @ gradient + gram @ np.full(len(matrix), margin)
  right = scipy.linalg.solve_triangular(factor, -offset, lower=True)
  return gradient + matrix.T @ (margin + scipy.optimize.nnls(factor.T, right)[0])


def uneven_stream():
  """Tasks with three, one and two classes."""
  owner = np.array([0, 0, 0, 1, 2, 2])
  return StreamSpec(3, 6, owner[None, :] == np.arange(3)[:, None], "task", helpers.IMAGE)


@pytest.mark.parametrize(
  ("stream", "options"),
  [
    (STREAM, {"capacity": 3}),
    (STREAM, {"capacity": 3, "batch_size": 4, "margin": 0.0}),
    (uneven_stream(), {"capacity": 2, "margin": 0.1, "eps": 0.1}),
  ],
)
def test_step_by_step_in_float64(stream, options):
  method = gem(stream, **options)
  gradients, start = vectors()
  params = {"w": jnp.float32(start)}
  state, update = method.init(params), updater(method)
  queues = collections.defaultdict(lambda: collections.deque(maxlen=options["capacity"]))
  changed = kept = 0
  for g, (task, batch) in zip(gradients, batches(stream), strict=True):
    updates, state = update({"w": jnp.asarray(g)}, state, params, batch, jnp.int32(task))
    for image, label, owner, valid in zip(*batch[:4], strict=True):
      if valid:
        queues[owner, label].append(image.reshape(-1) / 255)
    memories = [
      [image for (owner, _), images in queues.items() if owner == past for image in images]
      for past in range(task)
    ]
    rows = np.array([start - np.mean(memory, axis=0) for memory in memories])
    rows = rows.reshape(task, start.size)
    expected = exact(rows, g.astype(float), options.get("margin", 0.5), options.get("eps", 1e-3))
    if (expected == g).all():
      np.testing.assert_array_equal(updates["w"], g)
      kept += task > 0
    else:
      np.testing.assert_allclose(updates["w"], expected, atol=2e-5)
      changed += 1
  assert changed
  assert kept


def test_an_earlier_task_without_exemplars_does_not_matter():
  """Task 1 was skipped: its row is 0, and the result is that of task 0 alone."""
  method = gem(STREAM, capacity=2)
  params = {"w": jnp.float32(vectors()[1])}
  state, update = method.init(params), updater(method)
  for task, batch in batches(STREAM):
    if task == 0:
      _, state = update({"w": params["w"]}, state, params, batch, jnp.int32(0))
  against = {"w": -mean_image_gradient(params, _stored(state))[1]["w"]}
  empty = Batch(batch.image, batch.label, batch.task_id, np.zeros_like(batch.mask))
  updates, _ = update(against, state, params, empty, jnp.int32(2))
  row = -np.asarray(against["w"], float)[None, :]
  np.testing.assert_allclose(updates["w"], exact(row, -row[0], 0.5, 1e-3), atol=1e-5)


def _stored(state):
  items, mask = ring.rows(state.memory)
  return items._replace(mask=mask)


def test_in_the_loop():
  check_in_the_loop(gem)


def test_capacity_zero_hands_the_gradient_on():
  check_without_memory(gem)


def test_running_averages_follow_the_current_batch_only():
  check_running_averages(gem)


def test_a_stream_of_one_task_is_naive():
  stream = helpers.spec(num_tasks=1)
  gradients, start = vectors()
  params, method = {"w": jnp.float32(start)}, gem(stream)
  state, update = method.init(params), updater(method)
  for g in gradients[:2]:
    updates, state = update({"w": g}, state, params, helpers.batch(stream, 0), jnp.int32(0))
    np.testing.assert_array_equal(updates["w"], g)


def test_refuses_what_makes_no_sense():
  for options, message in [
    ({"margin": -0.1}, r"margin must be a number in \[0, inf\), got -0.1"),
    ({"eps": -1.0}, r"eps must be a number in \[0, inf\), got -1.0"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"capacity": -1}, "capacity=-1"),
    ({"per": "task"}, "per='task'"),
  ]:
    with pytest.raises(ValueError, match=message):
      gem(STREAM, **options)


def test_all_tasks_pass_together_where_exemplars_are_few(monkeypatch):
  module = importlib.import_module("tagjax.methods.gem")
  rule, answers, results = module._is_worth_it, [], []
  for choose in (rule, lambda *args: False):

    def asked(*args, choose=choose):
      answers.append(choose(*args))
      return answers[-1]

    monkeypatch.setattr(module, "_is_worth_it", asked)
    run = helpers.programs(STREAM, chain(gem(STREAM), SGD), width=128, dropout=0.2)
    state = helpers.train_stream(run, STREAM, KEY, size=12)
    results.append((answers[-1], jax.device_get(state.variables)))
  (together, found), (one_by_one, expected) = results
  assert together
  assert not one_by_one
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected)
