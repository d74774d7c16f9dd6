"""HAT: its formulas in NumPy float64, and one step of SGD."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.method import EpochStep
from tagjax.engine.learner import make_learner
from tagjax.methods import hat
from tagjax.methods.hat import annealed, attended, compensated, protected, unused_share
from tagjax.models import attention_mlp

STREAM = helpers.spec()
SCALE = 20.0
MODEL = attention_mlp(STREAM, hidden=(4, 3), scale=SCALE)
RNG = np.random.default_rng(0)


def where(step, number):
  return EpochStep(*map(jnp.int32, (0, 0, 0, 0, step, number)))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_gates_harden_within_an_epoch():
  found = [float(annealed(where(step, 5), 400.0)) for step in range(5)]
  np.testing.assert_allclose(found, np.linspace(1 / 400, 400, 5), rtol=1e-6)
  assert float(annealed(where(0, 1), 400.0)) == 400
  with pytest.raises(ValueError, match="hat hardens its gates within each epoch"):
    annealed(None, 400.0)


def test_the_embeddings_gradient_is_compensated_and_its_exponent_bounded():
  grad, embedding = RNG.normal(size=(2, 3, 4)).astype(np.float32)
  embedding[0, 0] = 6.0
  found = compensated(jnp.asarray(grad), jnp.asarray(embedding), 30.0, 400.0)
  wide = np.asarray(embedding, np.float64)
  inner = np.clip(30 * wide, -50, 50)
  expected = grad * 400 / 30 * (np.cosh(inner) + 1) / (np.cosh(wide) + 1)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_what_is_not_in_use_yet_costs():
  rows = {name: RNG.normal(size=(3, width)) for name, width in (("hidden0", 4), ("hidden1", 3))}
  embeddings = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), rows)
  tasks = np.array([True, True, False])
  used = attended(embeddings, jnp.asarray(tasks), 2.0)
  expected = {name: sigmoid(2 * leaf)[tasks].max(axis=0) for name, leaf in rows.items()}
  for name, leaf in expected.items():
    np.testing.assert_allclose(used[name], leaf, rtol=1e-5)
  free = {name: 1 - leaf for name, leaf in expected.items()}
  taken = sum((sigmoid(3 * rows[name][2]) * free[name]).sum() for name in rows)
  found = unused_share(embeddings, used, jnp.int32(2), 3.0)
  np.testing.assert_allclose(found, taken / sum(leaf.sum() for leaf in free.values()), rtol=1e-5)


def test_edges_are_as_free_as_the_freer_of_their_ends():
  shapes = {"conv0": (2, 2, 3, 2), "hidden0": (8, 3), "head": (3, 6)}
  params = {
    name: {"kernel": jnp.ones(shape), "bias": jnp.ones(shape[-1])} for name, shape in shapes.items()
  }
  used = {"conv0": np.array([0.9, 0.2]), "hidden0": np.array([1.0, 0.0, 0.5])}
  step = protected(params, params, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), used))
  for name, below in (("conv0", np.ones(3)), ("hidden0", np.tile(used["conv0"], 4))):
    for i, j in np.ndindex(shapes[name][-2:]):
      expected = 1 - min(below[i], used[name][j])
      np.testing.assert_allclose(step[name]["kernel"][..., i, j], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(step[name]["bias"], 1 - used[name], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(step["head"]["kernel"], 1)


def in_numpy(params, image, gates):
  x = image.reshape(len(image), -1)
  for name in ("hidden0", "hidden1"):
    x = np.maximum(x @ params[name]["kernel"] + params[name]["bias"], 0) * gates[name]
  return x @ params["head"]["kernel"] + params["head"]["bias"]


def test_the_second_task_s_step_of_sgd_is_that_of_the_paper():
  """Against numerical derivatives of the loss at the scale of the step."""
  method = hat(STREAM, optax.sgd(0.1), strength=0.75, max_embedding=6.0)
  learner = make_learner(MODEL, method, STREAM)
  state = learner.init(jax.random.key(0))
  state = jax.jit(lambda state: learner.consolidate(state, None, jnp.int32(0), phase="train"))(
    state
  )
  batch = helpers.batch(STREAM, 1, 6)
  step = jax.jit(
    lambda state, at: learner.step(state, batch, jnp.int32(1), phase="train", epoch_step=at)
  )
  new, _ = step(state, where(1, 9))
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.variables["params"])
  scale = 1 / SCALE + (SCALE - 1 / SCALE) / 8
  image = np.asarray(batch.image, np.float64) / 255
  outputs = np.flatnonzero(STREAM.classes[1])
  used = {name: sigmoid(SCALE * rows[0]) for name, rows in params["attention"].items()}

  def loss(params):
    gates = {name: sigmoid(scale * rows[1]) for name, rows in params["attention"].items()}
    logits = in_numpy(params, image, gates)[:, outputs]
    picked = logits[np.arange(6), np.asarray(batch.label) - outputs[0]]
    taken = sum((gates[name] * (1 - used[name])).sum() for name in used)
    free = sum((1 - leaf).sum() for leaf in used.values())
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - picked) + 0.75 * taken / free

  def slope(name, leaf, place):
    values = []
    for sign in (1, -1):
      other = jax.tree.map(np.copy, params)
      other[name][leaf][place] += sign * 1e-5
      values.append(loss(other))
    return (values[0] - values[1]) / 2e-5

  moved = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - b, new.variables["params"], params)
  for i, j in np.ndindex(4, 3):
    factor = 1 - min(used["hidden0"][i], used["hidden1"][j])
    expected = -0.1 * factor * slope("hidden1", "kernel", (i, j))
    np.testing.assert_allclose(moved["hidden1"]["kernel"][i, j], expected, rtol=1e-3, atol=1e-6)
  for i in range(4):
    value = params["attention"]["hidden0"][1, i]
    factor = SCALE / scale * (np.cosh(scale * value) + 1) / (np.cosh(value) + 1)
    expected = -0.1 * factor * slope("attention", "hidden0", (1, i))
    found = moved["attention"]["hidden0"][1, i]
    np.testing.assert_allclose(
      found, np.clip(value + expected, -6, 6) - value, rtol=1e-3, atol=1e-5
    )
  assert (moved["attention"]["hidden0"][[0, 2]] == 0).all()
  assert ((moved["head"]["kernel"] != 0).any(axis=0) == STREAM.classes[1]).all()


@pytest.mark.parametrize(
  ("options", "text"),
  [
    ({"strength": -1.0}, r"strength must be a number in \[0, inf\), got -1.0"),
    ({"max_embedding": 0.0}, r"max_embedding must be a number in \(0, inf\), got 0.0"),
  ],
)
def test_numbers_out_of_range_are_refused(options, text):
  with pytest.raises(ValueError, match=text):
    hat(STREAM, optax.sgd(0.1), **options)
