"""Experience replay against its closed form for a linear softmax model, and through the loop."""

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
  leaves,
  weights,
)

from tagjax.core.chain import chain
from tagjax.core.method import lift
from tagjax.engine.learner import make_learner
from tagjax.methods.er import add_gradient, er

SGD = optax.sgd(0.1)


def trained(spec, method, *, tasks=None, key=0, **options):
  run = helpers.programs(spec, method, **options)
  return helpers.train_stream(run, spec, jax.random.key(key), tasks=tasks)


@functools.cache
def naive(tasks=None):
  return trained(helpers.spec(), lift(SGD), tasks=tasks).variables


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_gradient_is_that_of_the_batch_and_of_the_memory_before_it(scenario):
  """A replay batch larger than the memory is the whole memory: nothing is left to chance."""
  spec = helpers.spec(scenario)
  method = chain(
    optax.scale(3.0), er(spec, capacity=4, batch_size=30, strength=0.5), optax.sgd(1.0)
  )
  learner = make_learner(Linear(spec.num_outputs), method, spec)
  step = jax.jit(learner.step, static_argnames="phase")
  state = learner.init(jax.random.key(0))
  for task in range(3):
    batch = helpers.batch(spec, task, 7)
    batch = batch._replace(mask=jnp.arange(7) != 2)
    matrix, memory = weights(state.variables), state.method[1].memory.items
    state, _ = step(state, batch, jnp.int32(task), phase="train")
    expected = 3 * cross_entropy_gradient(matrix, batch, active_rows(spec, batch, task))
    if task > 0:
      assert np.asarray(memory.mask).sum() == 6 * task
      active = active_rows(spec, memory, task)
      expected += 0.5 * cross_entropy_gradient(matrix, memory, active)
    moved = matrix - weights(state.variables)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=2e-6)


def test_a_replay_batch_is_part_of_the_memory():
  """The gradient is that of one of the exemplars, when one is drawn."""
  spec = helpers.spec()
  learner = make_learner(Linear(6), chain(er(spec, capacity=4, batch_size=1), optax.sgd(1.0)), spec)
  step = jax.jit(learner.step, static_argnames="phase")
  state, _ = step(learner.init(jax.random.key(0)), helpers.batch(spec, 0), 0, phase="train")
  matrix, memory = weights(state.variables), jax.tree.map(np.asarray, state.method[0].memory.items)
  batch, drawn = helpers.batch(spec, 1), set()
  plain = cross_entropy_gradient(matrix, batch, active_rows(spec, batch, 1))
  for seed in range(8):
    after, _ = step(state._replace(key=jax.random.key(seed)), batch, 1, phase="train")
    replayed = matrix - weights(after.variables) - plain
    for row in np.flatnonzero(memory.mask):
      one = jax.tree.map(lambda leaf, r=row: leaf[r : r + 1], memory)
      gradient = cross_entropy_gradient(matrix, one, active_rows(spec, one, 1))
      if np.abs(gradient - replayed).max() < 1e-5:
        drawn.add(row)
        break
    else:
      pytest.fail(f"no exemplar has the gradient of the replay batch of seed {seed}")
  assert len(drawn) > 2


@pytest.mark.parametrize("options", [{"capacity": 0}, {"strength": 0.0}, {"strength": 0}])
def test_off_has_no_state_and_passes_the_very_updates(options):
  method = er(helpers.spec(), **options)
  updates = {"w": jnp.ones(2)}
  assert method.init(updates) == ()
  after, state = method.update(updates, (), updates, at=None)
  assert after is updates
  assert state == ()


def test_capacity_zero_is_naive_bit_for_bit():
  spec = helpers.spec()
  assert_same(trained(spec, chain(er(spec, capacity=0), SGD)).variables, naive())


def test_first_task_is_naive_bit_for_bit_and_fills_the_memory():
  spec = helpers.spec()
  state = trained(spec, chain(er(spec, capacity=2), SGD), tasks=(0,))
  assert_same(state.variables, naive((0,)))
  memory = state.method[0].memory
  assert memory.seen == 23
  assert np.asarray(memory.items.mask).all()


def test_defaults_differ_from_naive():
  spec = helpers.spec()
  state = trained(spec, chain(er(spec), SGD))
  assert differ(state.variables, naive())
  assert all(np.isfinite(leaf).all() for leaf in leaves(state.variables))


@pytest.mark.parametrize(
  ("capacity", "per", "held"),
  [(1, "class", 6), (3, "class", 18), (5, "total", 5), (99, "total", 69)],
)
def test_the_number_stored_is_the_configured_one(capacity, per, held):
  spec = helpers.spec("class")
  memory = trained(spec, chain(er(spec, capacity=capacity, per=per), SGD)).method[0].memory
  assert memory.seen == 69
  stored = jax.tree.map(lambda leaf: np.asarray(leaf)[: int(memory.seen)], memory.items)
  assert stored.mask.sum() == held
  assert stored.image.dtype == np.uint8
  given = {
    (data.image[row].tobytes(), int(data.label[row]), int(data.task_id[row]))
    for data in (helpers.examples(spec, task) for task in range(3))
    for row in range(len(data))
  }
  kept = [
    (stored.image[row].tobytes(), int(stored.label[row]), int(stored.task_id[row]))
    for row in range(held)
  ]
  assert set(kept) <= given
  assert len(set(kept)) == held


def test_devices_hold_the_memory_of_one_device():
  """In the variant that tests/contract/ does not try."""
  spec = helpers.spec()
  method = chain(er(spec, capacity=2, variant="reference"), SGD)

  def run(num_devices):
    programs = helpers.programs(spec, method, batch_size=8, num_devices=num_devices)
    key = jax.random.key(0)
    return helpers.train_stream(programs, spec, key, size=27, batch_size=8)

  one, many = run(1), run(4)
  for leaf in leaves((many.variables, many.method)):
    for replica in range(1, 4):
      np.testing.assert_array_equal(leaf[0], leaf[replica])
  first = jax.tree.map(lambda leaf: leaf[0], many)
  assert_same(first.method, one.method)
  for a, b in zip(leaves(first.variables), leaves(one.variables), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_running_averages_follow_the_current_batch_only():
  spec = helpers.spec()
  model = helpers.TinyModel(6, batch_norm=True)
  with_replay = make_learner(model, chain(er(spec, capacity=3), SGD), spec)
  without = make_learner(model, lift(SGD), spec)
  step = jax.jit(with_replay.step, static_argnames="phase")
  start = with_replay.init(jax.random.key(0))
  state, _ = step(start, helpers.batch(spec, 0), jnp.int32(0), phase="train")
  plain = state._replace(method=lift(SGD).init(state.variables["params"]))
  batch = helpers.batch(spec, 1)
  one, _ = step(state, batch, jnp.int32(1), phase="train")
  two, _ = jax.jit(without.step, static_argnames="phase")(plain, batch, jnp.int32(1), phase="train")
  assert_same(one.variables["batch_stats"], two.variables["batch_stats"])
  assert differ(one.variables["params"], two.variables["params"])


def test_adding_nothing_keeps_bits_and_dtype():
  updates = {"w": jnp.array([-0.0, 1.5], jnp.bfloat16)}
  grad = {"w": jnp.array([jnp.nan, 0.25], jnp.float32)}
  off = add_gradient(updates, grad, 2.0, jnp.array(False))["w"]
  assert off.dtype == jnp.bfloat16
  assert off.tobytes() == updates["w"].tobytes()
  on = add_gradient(updates, grad, 2.0, jnp.array(True))["w"]
  assert on.dtype == jnp.bfloat16
  assert on[1] == 2.0


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"capacity": -1}, r"memory\.capacity=-1 must be"),
    ({"per": "task"}, r"memory\.per='task' is unknown"),
    ({"batch_size": 0}, r"memory\.batch_size=0 must be a whole number, at least 1"),
    ({"batch_size": 2.5}, r"memory\.batch_size=2\.5 must be"),
    ({"variant": "fifo"}, r"variant='fifo' is unknown"),
    ({"strength": -0.1}, r"strength must be a number in \[0, inf\), got -0\.1"),
    ({"strength": float("nan")}, r"strength must be a number in \[0, inf\), got nan"),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    er(helpers.spec(), **options)
