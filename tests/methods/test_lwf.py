"""LwF: the distillation's gradient against NumPy in float64, and when it must vanish."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from own_losses import numpy_pass

from tagjax.core.chain import chain
from tagjax.core.method import Method, lift
from tagjax.engine.learner import make_learner
from tagjax.methods.lwf import Groups, divergence, lwf

SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
TAU = 3.0


def added(length=1):
  """Writes down what the methods before it have added to the task's gradient."""

  def init(params):
    return jax.tree.map(lambda p: jnp.zeros((length, *p.shape)), params), jnp.zeros((), jnp.int32)

  def update(updates, state, params, *, at):
    del params
    rows, index = state
    rows = jax.tree.map(lambda r, u, g: r.at[index].set(u - g), rows, updates, at.grad)
    return updates, (rows, index + 1)

  return Method(init, update)


def numpy_softmax(values, outputs):
  """Softmax over `outputs` [K]; 0 elsewhere."""
  result = np.zeros_like(values)
  result[:, outputs] = scipy.special.softmax(values[:, outputs], axis=1)
  return result


def of_masks(outputs):
  """Groups that are masks over all outputs."""
  places = np.broadcast_to(np.arange(outputs.shape[1]), outputs.shape)
  return Groups(places, jnp.asarray(outputs))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 0, 1, 4, 2]])
def test_narrow_groups_are_wide_ones(order):
  rng = np.random.default_rng(1)
  target, logits = jnp.asarray(rng.normal(size=(2, 5, 6)), jnp.float32)
  places = np.array(order).reshape(2, 3)
  active = np.array([[1, 1, 1], [1, 1, 0]], bool)
  wide = np.zeros((2, 6), bool)
  np.put_along_axis(wide, places, active, axis=1)

  def total(logits, groups):
    return divergence(target, logits, groups, TAU).sum()

  for function in (total, jax.grad(total)):
    narrow = function(logits, Groups(places, jnp.asarray(active)))
    np.testing.assert_allclose(narrow, function(logits, of_masks(wide)), atol=1e-6)


def test_divergence_is_scipys():
  rng = np.random.default_rng(0)
  target, logits = rng.normal(scale=4, size=(2, 5, 6))
  outputs = np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
  got = divergence(
    jnp.asarray(target, jnp.float32), jnp.asarray(logits, jnp.float32), of_masks(outputs), TAU
  )
  for row, group in zip(got.T, outputs, strict=True):
    p, q = (scipy.special.softmax(z[:, group] / TAU, axis=1) for z in (target, logits))
    want = TAU**2 * scipy.special.rel_entr(p, q).sum(axis=1)
    np.testing.assert_allclose(row, want, rtol=1e-4)


def test_divergence_of_extreme_logits_is_finite():
  values = jnp.array([[1e4, -1e4, 3.0, -1e4]])
  groups = of_masks(np.array([[True, True, False, True]]))
  grad = jax.grad(lambda z: divergence(-values, z, groups, 1.0).sum())(values)
  assert np.isfinite(grad).all()
  assert grad[0, 2] == 0


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_gradient_on_the_head_is_that_of_numpy(scenario):
  """In the last layer it is `h^T e / n` and `sum e / n`, with `e = strength tau sum (q - p)`."""
  stream, task, strength = helpers.spec(scenario), 2, 0.7
  method = chain(lwf(stream, strength, temperature=TAU), added(), SGD)
  learner = make_learner(helpers.TinyModel(stream.num_outputs), method, stream)
  state = learner.init(KEY)
  teacher = learner.init(jax.random.key(1)).variables["params"]
  state = state._replace(method=(state.method[0]._replace(teacher=teacher), *state.method[1:]))
  batch = helpers.batch(stream, task)
  valid = np.array([True, True, False, True, True, False])
  batch = batch._replace(mask=jnp.asarray(valid))
  after, _ = jax.jit(lambda s: learner.step(s, batch, jnp.int32(task), phase="train"))(state)
  got = jax.tree.map(lambda leaf: leaf[0], after.method[1][0]["Dense_1"])

  groups = {"task": stream.classes[:task], "class": stream.classes[:task].any(0)[None]}
  hidden, logits = numpy_pass(state.variables["params"], batch.image)
  _, target = numpy_pass(teacher, batch.image)
  error = np.zeros_like(logits)
  for outputs in groups.get(scenario, np.ones((1, stream.num_outputs), bool)):
    error += numpy_softmax(logits / TAU, outputs) - numpy_softmax(target / TAU, outputs)
  error = strength * TAU * error[valid] / valid.sum()
  np.testing.assert_allclose(got["bias"], error.sum(0), atol=1e-6)
  np.testing.assert_allclose(got["kernel"], hidden[valid].T @ error, atol=1e-6)
  assert np.abs(error.sum(0)).max() > 1e-2
  if scenario != "domain":
    assert not got["bias"][~stream.classes[:task].any(0)].any()


def test_teacher_and_student_coincide_at_a_tasks_start_and_only_there():
  """With batch statistics and dropout: the teacher's pass is a training pass with equal masks."""
  stream, steps = helpers.spec("class", num_tasks=2), 6
  method = chain(lwf(stream, 1.0), added(2 * steps), SGD)
  run = helpers.programs(stream, method, batch_norm=True, dropout=0.4)
  state = helpers.train_stream(run, stream, KEY)
  assert all(count == 1 for count in run.traces.values())
  rows, count = state.method[1]
  assert count == 2 * steps
  size = np.max([np.abs(r).reshape(2 * steps, -1).max(1) for r in jax.tree.leaves(rows)], axis=0)
  assert (size[:steps] == 0).all()
  assert size[steps] < 1e-6
  assert (size[steps + 1 :] > 1e-3).all()
  for a, b in zip(
    jax.tree.leaves(state.method[0].teacher),
    jax.tree.leaves(state.variables["params"]),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


def test_first_task_and_strength_zero_are_naive_bit_for_bit():
  stream = helpers.spec()
  learn = lambda method: helpers.train_stream(  # noqa: E731
    helpers.programs(stream, chain(method, added(12), SGD)), stream, KEY, tasks=(0, 1)
  )
  on, off = learn(lwf(stream, 1.0)), learn(lwf(stream, 0))
  for leaf in jax.tree.leaves(off.method[1][0]):
    assert not np.asarray(leaf).any()
  rows = jax.tree.leaves(on.method[1][0])
  assert not any(np.asarray(leaf)[:6].any() for leaf in rows)
  assert any(np.asarray(leaf)[6:].any() for leaf in rows)
  assert jax.tree.leaves(lwf(stream, 0).init({"w": jnp.ones(2)})) == []


def test_it_keeps_old_answers():
  """On the new task's images, the first task's outputs change less than without."""
  stream = helpers.spec("task", num_tasks=2)
  drift = {}
  for strength in (0, 1.0):
    method = chain(lwf(stream, strength), optax.sgd(0.2)) if strength else lift(optax.sgd(0.2))
    learner = make_learner(helpers.TinyModel(stream.num_outputs), method, stream)
    step = jax.jit(lambda s, b, t, step=learner.step: step(s, b, t, phase="train"))
    state = learner.init(KEY)
    batch = helpers.batch(stream, 1)
    before = state.variables["params"]
    for _ in range(100):
      state, _ = step(state, batch, jnp.int32(1))
    old, new = (
      numpy_softmax(numpy_pass(p, batch.image)[1], stream.classes[0])
      for p in (before, state.variables["params"])
    )
    drift[strength] = np.abs(old - new).max()
  assert drift[1.0] < 0.7 * drift[0]


@pytest.mark.parametrize(
  ("strength", "temperature", "message"),
  [(-1.0, 2.0, "strength.*-1.0"), (1.0, 0.0, "temperature must be a number in")],
)
def test_wrong_arguments(strength, temperature, message):
  with pytest.raises(ValueError, match=message):
    lwf(helpers.spec(), strength, temperature=temperature)
