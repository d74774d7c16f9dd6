"""iCaRL: loss, exemplars and the nearest mean against NumPy in float64."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import softmax_regression
from own_losses import head_gradient, mixed_batch, numpy_pass

from tagjax.core.chain import chain
from tagjax.engine.evaluate import without_answers
from tagjax.engine.learner import make_learner
from tagjax.methods import rehearsing
from tagjax.methods.icarl import icarl

KEY = jax.random.key(0)
SIZE, CAPACITY = 23, 20


def unit(rows):
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_the_gradient_is_that_of_numpy(scenario):
  """In the last layer it is `h^T e / n`; what stands before in the chain is kept."""
  stream, task, strength = helpers.spec(scenario), 2, 0.7
  method = chain(optax.scale(0.5), icarl(stream, capacity=4, strength=strength), optax.sgd(1.0))
  batch = mixed_batch(stream, task)
  got, params, teacher = head_gradient(
    method,
    stream,
    batch,
    task,
    lambda state, teacher: (state[0], state[1]._replace(teacher=teacher), state[2]),
  )
  hidden, logits = numpy_pass(params, batch.image)
  _, old = numpy_pass(teacher, batch.image)
  classes, valid = stream.classes, np.asarray(batch.mask)
  active = softmax_regression.active_rows(stream, batch, task)
  label = np.eye(stream.num_outputs)[np.asarray(batch.label)]
  kept = classes[:task].any(0) & ~classes[task]
  assert kept.any() == (scenario != "domain")
  target = np.where(kept, scipy.special.expit(old), label)
  error = (scipy.special.expit(logits) - target) * np.where(kept, strength, 1) * active
  shown = np.where(active, logits, -np.inf)
  error -= 0.5 * (scipy.special.softmax(shown, axis=1) - label)
  error = error[valid] / valid.sum()
  np.testing.assert_allclose(got["bias"], error.sum(0), atol=1e-6)
  np.testing.assert_allclose(got["kernel"], hidden[valid].T @ error, atol=1e-6)


def test_alone_it_gives_the_gradient_of_its_own_loss():
  """Where nothing stands before it, the learner's loss is not even taken out again."""
  stream = helpers.spec("class")
  batch, changes = mixed_batch(stream, 1), {}
  for front in ((), (optax.scale(1.0),)):
    method = chain(*front, icarl(stream, capacity=4), optax.sgd(1.0))
    changes[bool(front)], *_ = head_gradient(method, stream, batch, 1, lambda state, teacher: state)
  for one, two in zip(*map(jax.tree.leaves, changes.values()), strict=True):
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.fixture(scope="module")
def trained():
  stream = helpers.spec("class")
  method = chain(icarl(stream, capacity=CAPACITY, per="total"), optax.sgd(0.1))
  run = helpers.programs(stream, method)
  return run, helpers.train_stream(run, stream, KEY, size=SIZE), stream


def test_the_last_tasks_exemplars_are_herded(trained):
  _, state, stream = trained
  memory, params = state.method[0].memory, state.variables["params"]
  kept = jax.tree.map(np.asarray, memory.exemplars)
  assert kept.mask.sum() == CAPACITY // 6 * 6
  data = helpers.examples(stream, 2, SIZE)
  for label in (4, 5):
    own = np.flatnonzero(data.label == label)
    features, order = unit(numpy_pass(params, data.image[own])[0]), []
    for k in range(1, CAPACITY // 6 + 1):
      left = [i for i in range(len(own)) if i not in order]
      mean = features.mean(axis=0)
      distances = [np.linalg.norm(mean - features[[*order, i]].sum(axis=0) / k) for i in left]
      order.append(left[int(np.argmin(distances))])
    np.testing.assert_array_equal(kept.index[kept.mask & (kept.label == label)], own[order])
  teacher = state.method[0].teacher
  jax.tree.map(np.testing.assert_array_equal, teacher, params)


def test_it_predicts_the_nearest_mean(trained):
  run, state, stream = trained
  kept = jax.tree.map(np.asarray, state.method[0].memory.exemplars)
  params = state.variables["params"]
  features = unit(numpy_pass(params, kept.image)[0])
  means = np.stack([features[kept.mask & (kept.label == k)].mean(axis=0) for k in range(6)])
  batch = helpers.batch(stream, 1, 11)
  question = without_answers(stream, batch, jnp.int32(2))
  served = run.prepare(state, 2)
  got = jax.jit(run.single.predict)(served, question, 2)
  rows = unit(numpy_pass(params, batch.image)[0])
  want = -np.square(rows[:, None] - unit(means)[None]).sum(axis=-1)
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_exemplars_pass_in_parts(monkeypatch):
  """Of 20 exemplars 8, 8 and 4, as all at once."""
  exemplars = helpers.batch(helpers.spec("class"), 0, 20)

  def apply_fn(variables, batch, *, features):
    assert features
    return variables * batch.image.reshape(len(batch.image), -1), None

  whole = rehearsing.of_exemplars(apply_fn, 2.0, exemplars, features=True)
  monkeypatch.setattr(rehearsing, "_ROWS", 8)
  parts = rehearsing.of_exemplars(apply_fn, 2.0, exemplars, features=True)
  np.testing.assert_array_equal(whole, 2.0 * exemplars.image.reshape(20, -1))
  np.testing.assert_array_equal(parts, whole)


def test_until_the_first_task_has_ended_the_head_predicts(trained):
  run, _, stream = trained
  with jax.debug_nans(True):
    new = run.init(KEY[None])
    served = run.prepare(new, 0)
    batch = without_answers(stream, helpers.batch(stream, 0), jnp.int32(0))
    logits = jax.jit(run.single.predict)(served, batch, 0)
  want = numpy_pass(new.variables["params"], batch.image)[1]
  np.testing.assert_allclose(logits, want, atol=1e-5)


def test_without_features_the_head_does():
  stream = helpers.spec("class")
  options = {"capacity": 2, "selection": "first", "classifier": "head"}
  model = softmax_regression.Linear(stream.num_outputs)
  make_learner(model, chain(icarl(stream, **options), optax.sgd(0.1)), stream)
  for other in ({"classifier": "nearest_mean"}, {"selection": "herding"}):
    method = chain(icarl(stream, **(options | other)), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"requires 'features' .* or choose one of alexnet"):
      make_learner(model, method, stream)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"capacity": 5, "per": "total"}, r"memory.capacity=5 in total leaves icarl .* at least 6"),
    ({"classifier": "best"}, r"classifier must be one of 'nearest_mean', 'head', got 'best'"),
    ({"selection": "best"}, r"selection='best' is unknown"),
    ({"strength": -1.0}, r"strength"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    icarl(helpers.spec("class"), **options)
