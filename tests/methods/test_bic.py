"""BiC: loss against NumPy, the correction against SciPy, and what is held out."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
import softmax_regression
from own_losses import head_gradient, mixed_batch, numpy_pass

from tagjax.core.chain import chain
from tagjax.engine.evaluate import without_answers
from tagjax.methods.bic import Bias, bic, fit, is_held_out

STREAM = helpers.spec("class")
TAU = 3.0


def softmax(values, outputs):
  return scipy.special.softmax(np.where(outputs, values, -np.inf), axis=1)


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_the_gradient_is_that_of_numpy(scenario):
  """In the last layer it is `h^T e / n`, with n the rows that are not held out."""
  stream, task = helpers.spec(scenario), 2
  method = chain(bic(stream, capacity=4, held_out=0.3, temperature=TAU), optax.sgd(1.0))
  batch = mixed_batch(stream, task)
  batch = batch._replace(index=jnp.arange(len(batch.mask)))
  bias = Bias(jnp.array([1.0, 0.6, 1.0]), jnp.array([0.0, 0.4, 0.0]))
  got, params, teacher = head_gradient(
    method,
    stream,
    batch,
    task,
    lambda state, teacher: (state[0]._replace(teacher=teacher, bias=bias), state[1]),
  )
  hidden, logits = numpy_pass(params, batch.image)
  _, old = numpy_pass(teacher, batch.image)
  valid, past = np.asarray(batch.mask), np.ones(stream.num_outputs, bool)
  if scenario == "class":
    old[:, 2:4] = 0.6 * old[:, 2:4] + 0.4
    valid, past = valid & ~np.asarray(is_held_out(batch.index, 0.3)), np.arange(6) < 4
    assert valid.sum() < batch.mask.sum()
  active = softmax_regression.active_rows(stream, batch, task)
  label = np.eye(stream.num_outputs)[np.asarray(batch.label)]
  error = 1 / 3 * (softmax(logits, active) - label)
  error += 2 / 3 / TAU * (softmax(logits / TAU, past) - softmax(old / TAU, past))
  error = error[valid] / valid.sum()
  np.testing.assert_allclose(got["bias"], error.sum(0), atol=1e-6)
  np.testing.assert_allclose(got["kernel"], hidden[valid].T @ error, atol=1e-6)


def scipy_fit(logits, label, is_new):
  logits = np.asarray(logits, np.float64)

  def objective(pair):
    z = np.where(is_new, pair[0] * logits + pair[1], logits)
    values = scipy.special.logsumexp(z, axis=1) - z[np.arange(len(z)), label]
    return values.mean() + 0.05 * ((pair[0] - 1) ** 2 + pair[1] ** 2)

  return scipy.optimize.minimize(objective, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x


@pytest.mark.parametrize("scale", [0.3, 3.0, 40.0])
def test_the_correction_is_scipys(scale):
  """With logits of 40 the examples can be told apart by far; a row and two outputs do not count."""
  rng = np.random.default_rng(int(scale))
  logits, label = scale * rng.normal(size=(30, 6)), rng.integers(0, 5, 30)
  logits[np.arange(30), label] += 2 * scale
  is_new, active, mask = np.arange(6) >= 3, np.arange(6) < 5, np.arange(30) != 7
  with jax.debug_nans(True):
    got = jax.jit(fit)(
      jnp.asarray(logits, jnp.float32),
      jnp.asarray(label),
      jnp.asarray(mask),
      jnp.broadcast_to(jnp.asarray(active), (30, 6)),
      jnp.asarray(is_new),
    )
  want = scipy_fit(logits[mask][:, active], label[mask], is_new[active])
  np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)
  assert abs(want[0] - 1) > 0.01


def test_without_held_out_exemplars_there_is_no_correction():
  zeros = jnp.zeros((4, 6))
  nothing = jnp.zeros(4, bool)
  pair = fit(zeros, jnp.zeros(4, jnp.int32), nothing, zeros == 0, jnp.arange(6) > 2)
  assert pair.tolist() == [1.0, 0.0]


def test_a_tenth_is_held_out_by_its_row_alone():
  index = jnp.arange(-1, 9999)
  held = np.asarray(is_held_out(index, 0.1))
  assert not held[0]
  assert 900 < held.sum() < 1100
  np.testing.assert_array_equal(is_held_out(index.reshape(-1, 100)[::-1], 0.1)[::-1].ravel(), held)
  assert (is_held_out(index, 0.3) >= held).all()


@pytest.fixture(scope="module")
def trained():
  method = bic(STREAM, capacity=36, per="total", held_out=0.35, selection="first")
  run = helpers.programs(STREAM, chain(method, optax.sgd(0.1)))
  return run, helpers.train_stream(run, STREAM, jax.random.key(0), size=40)


def test_both_parts_hold_as_many_of_each_class(trained):
  run, state = trained
  state = jax.tree.map(np.asarray, state.method[0])
  for memory, each, held in ((state.memory, 3, False), (state.held_out, 2, True)):
    kept = memory.exemplars
    assert len(kept.mask) == (13 if held else 23)
    assert np.bincount(kept.label[kept.mask]).tolist() == [each] * 6
    for label in range(6):
      data = helpers.examples(STREAM, label // 2, 40)
      own = np.flatnonzero(data.label == label)
      own = own[np.asarray(is_held_out(own, 0.35)) == held]
      rows = kept.index[kept.mask & (kept.label == label)]
      assert set(rows) <= set(own)
      if not held:
        np.testing.assert_array_equal(rows, own[:each])
  assert run.rehearsal_size(trained[1]) == 18


def test_the_last_tasks_pair_is_fitted_and_applied(trained):
  run, state = trained
  bias, params = state.method[0].bias, state.variables["params"]
  kept = jax.tree.map(np.asarray, state.method[0].held_out.exemplars)
  logits = numpy_pass(params, kept.image[kept.mask])[1]
  want = scipy_fit(logits, kept.label[kept.mask], np.arange(6) >= 4)
  np.testing.assert_allclose([bias.scale[2], bias.offset[2]], want, atol=2e-3)
  assert (bias.scale[0], bias.offset[0]) == (1, 0)
  assert bias.scale[1] != 1
  batch = without_answers(STREAM, helpers.batch(STREAM, 1, 11), jnp.int32(2))
  got = jax.jit(run.single.predict)(run.prepare(state, 2), batch, 2)
  logits = numpy_pass(params, batch.image)[1]
  logits[:, 4:] = bias.scale[2] * logits[:, 4:] + bias.offset[2]
  np.testing.assert_allclose(got, logits, atol=1e-5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"capacity": 1}, r"memory.capacity=1 is 6 exemplars for 6 pairs.* at least 12 in total"),
    ({"capacity": 5, "per": "total"}, r"memory.capacity=5 in total leaves bic without"),
    ({"capacity": 9, "held_out": 1.0}, r"held_out must be a number in \(0, 1\)"),
    ({"capacity": 9, "temperature": 0.0}, r"temperature must be a number in"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    bic(STREAM, **options)
