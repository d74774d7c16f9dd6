"""DER and DER++ against their closed form for a linear softmax model, and through the loop."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from softmax_regression import (
  Linear,
  active_rows,
  assert_same,
  cross_entropy_gradient,
  differ,
  features,
  leaves,
  weights,
)

from tagjax.core.chain import chain
from tagjax.core.method import Step, lift
from tagjax.engine.learner import make_learner
from tagjax.methods.der import der, der_plus_plus, distillation

SGD = optax.sgd(0.1)


def distillation_gradient(spec, matrix, items):
  """Closed form: `X' (2 (XW - z) on the compared outputs / their number) / n`."""
  mask, everywhere = np.asarray(items.batch.mask), np.ones(items.logits.shape, bool)
  compared = spec.classes[items.batch.task_id] if spec.scenario == "task" else everywhere
  x = features(items.batch)
  error = 2 * np.where(compared, x @ matrix - np.asarray(items.logits, np.float64), 0)
  error = error[mask] / compared[mask].sum(axis=1, keepdims=True)
  return x[mask].T @ error / mask.sum()


def learner_and_step(spec, method):
  learner = make_learner(Linear(spec.num_outputs), method, spec)
  return learner, jax.jit(learner.step, static_argnames="phase")


@functools.cache
def naive():
  run = helpers.programs(helpers.spec(), lift(SGD))
  return helpers.train_stream(run, helpers.spec(), jax.random.key(0)).variables


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_gradient_and_stored_logits(scenario):
  """Replay batches larger than the memory are the whole memory: nothing is left to chance."""
  spec = helpers.spec(scenario)
  method = der_plus_plus(spec, capacity=4, batch_size=30, strength=0.7, label_strength=0.3)
  learner, step = learner_and_step(spec, chain(optax.scale(3.0), method, SGD))
  state = learner.init(jax.random.key(0))
  for count, task in enumerate((0, 0, 1, 2)):
    batch = helpers.batch(spec, task, 6)._replace(mask=jnp.arange(6) != 2)
    matrix, memory = weights(state.variables), state.method[1].memory.items
    state, _ = step(state, batch, jnp.int32(task), phase="train")
    expected = 3 * cross_entropy_gradient(matrix, batch, active_rows(spec, batch, task))
    if count > 0:
      assert np.asarray(memory.batch.mask).sum() == 5 * count
      expected += 0.7 * distillation_gradient(spec, matrix, memory)
      now = active_rows(spec, memory.batch, task)
      expected += 0.3 * cross_entropy_gradient(matrix, memory.batch, now)
    moved = (matrix - weights(state.variables)) / 0.1
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-5)
    new = jax.tree.map(lambda leaf, n=count: leaf[5 * n : 5 * n + 5], state.method[1].memory.items)
    kept = jax.tree.map(lambda leaf: np.asarray(leaf)[[0, 1, 3, 4, 5]], batch)
    assert_same(new.batch, kept)
    np.testing.assert_allclose(new.logits, features(kept) @ matrix, atol=1e-5)


def test_distillation_weighs_exemplars_and_not_outputs():
  """An exemplar with few outputs counts as much as one with many; a masked one nothing."""
  target = jnp.array([[1.0, jnp.nan, jnp.nan], [0.0, 0.0, 0.0], [jnp.nan] * 3])
  compared = jnp.array([[True, False, False], [True, True, True], [True, True, True]])
  logits = jnp.array([[3.0, 9.0, 9.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
  mask = jnp.array([True, True, False])
  value = distillation(logits, target, compared, mask)
  np.testing.assert_allclose(value, (4 + 14 / 3) / 2, rtol=1e-6)
  assert distillation(logits, target, compared, mask & False) == 0


def test_der_is_der_plus_plus_without_labels():
  spec = helpers.spec()
  options = {"capacity": 2, "batch_size": 3, "strength": 0.7}
  ends = []
  for method in (der(spec, **options), der_plus_plus(spec, label_strength=0, **options)):
    learner, step = learner_and_step(spec, chain(method, SGD))
    state = learner.init(jax.random.key(0))
    for task in (0, 0, 1):
      state, _ = step(state, helpers.batch(spec, task), jnp.int32(task), phase="train")
    ends.append((state.variables, state.method))
  assert_same(*ends)


def test_replay_begins_with_the_second_step_of_the_stream():
  spec = helpers.spec()
  learner, step = learner_and_step(spec, chain(der(spec, capacity=5), SGD))
  plain, plain_step = learner_and_step(spec, lift(SGD))
  one, two = learner.init(jax.random.key(0)), plain.init(jax.random.key(0))
  for same in (True, False):
    batch = helpers.batch(spec, 0, 5 + same)
    one, _ = step(one, batch, jnp.int32(0), phase="train")
    two, _ = plain_step(two, batch, jnp.int32(0), phase="train")
    assert differ(one.variables, two.variables) != same


def test_the_two_replay_batches_are_drawn_independently():
  """A stub in the gradient's place records what it is asked for."""
  spec = helpers.spec()
  method = der_plus_plus(spec, capacity=6, batch_size=4, label_strength=0.25)
  params = {"w": jnp.zeros(())}
  asked = []

  def grad_fn(params, batch, *, key, loss_fn=None):
    asked.append((np.asarray(batch.image), loss_fn is None, jax.random.key_data(key).tolist()))
    assert batch.mask.all()
    return jnp.zeros(()), jax.tree.map(jnp.ones_like, params)

  at = Step._make([None] * len(Step._fields))._replace(
    batch=helpers.batch(spec, 0, 30),
    logits=jnp.zeros((30, 6)),
    grad_fn=grad_fn,
    gather=lambda tree: tree,
    key=jax.random.key(3),
  )
  empty = method.init(params)
  filled = jax.tree.map(lambda leaf: jnp.ones_like(leaf), empty.memory.items.batch.mask)
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.integers(0, 255, (36, *helpers.IMAGE)).astype(np.uint8))
  batch = empty.memory.items.batch._replace(image=images, mask=filled)
  memory = empty.memory._replace(items=empty.memory.items._replace(batch=batch), seen=jnp.int32(36))
  updates, _ = method.update(params, empty._replace(memory=memory), params, at=at)
  assert updates["w"] == 0.75
  (one, labels_one, key_one), (two, labels_two, key_two) = asked
  assert (labels_one, labels_two) == (False, True)
  assert key_one != key_two
  assert (one != two).any()


@pytest.mark.parametrize(
  "method",
  [
    der(helpers.spec(), capacity=0),
    der(helpers.spec(), strength=0.0),
    der_plus_plus(helpers.spec(), capacity=0),
    der_plus_plus(helpers.spec(), strength=0, label_strength=0.0),
  ],
)
def test_off_has_no_state_and_passes_the_very_updates(method):
  updates = {"w": jnp.ones(2)}
  assert method.init(updates) == ()
  after, state = method.update(updates, (), updates, at=None)
  assert after is updates
  assert state == ()


@pytest.mark.parametrize(
  ("make", "options", "held"),
  [(der, {}, 6), (der_plus_plus, {"capacity": 2}, 12), (der, {"capacity": 5, "per": "total"}, 5)],
)
def test_it_differs_from_naive_and_stores_the_configured_number(make, options, held):
  spec = helpers.spec()
  run = helpers.programs(spec, chain(make(spec, **options), SGD))
  state = helpers.train_stream(run, spec, jax.random.key(0))
  assert run.traces[("train", "train")] == 1
  assert differ(state.variables, naive())
  assert all(np.isfinite(leaf).all() for leaf in leaves(state.variables))
  memory = state.method[0].memory
  assert memory.seen == 69
  assert memory.items.batch.mask.shape == (held,)
  assert memory.items.batch.mask.all()
  assert memory.items.batch.image.dtype == jnp.uint8


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"capacity": -1}, r"memory\.capacity=-1 must be"),
    ({"batch_size": 0}, r"memory\.batch_size=0 must be a whole number, at least 1"),
    ({"variant": "fifo"}, r"variant='fifo' is unknown"),
    ({"strength": -0.1}, r"strength must be a number in \[0, inf\), got -0\.1"),
    ({"label_strength": -1}, r"label_strength must be a number in \[0, inf\), got -1"),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    der_plus_plus(helpers.spec(), **options)
