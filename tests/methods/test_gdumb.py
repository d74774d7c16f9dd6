"""GDumb: its training against gradient descent in NumPy, and what it does not look at."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import softmax_regression

from tagjax import methods
from tagjax.core.chain import chain
from tagjax.methods.gdumb import _batches, gdumb

STREAM = helpers.spec("class")
KEY = jax.random.key(0)


def descend(start, batch, task, rates):
  """With momentum 0.9 and weight decay 1e-6, on all exemplars at once."""
  matrix, trace = softmax_regression.weights(start), 0
  active = softmax_regression.active_rows(STREAM, batch, task)
  for rate in rates:
    grad = softmax_regression.cross_entropy_gradient(matrix, batch, active)
    norm = np.linalg.norm(grad)
    trace = 0.9 * trace + grad * min(1, 10 / norm) + 1e-6 * matrix
    matrix = matrix - rate * trace
  return matrix


@pytest.fixture(scope="module")
def trained():
  method = gdumb(STREAM, capacity=20, per="total", batch_size=20, passes=5, max_rate=0.5)
  model = softmax_regression.Linear(STREAM.num_outputs)
  run = helpers.programs(STREAM, chain(method, optax.sgd(0.1)), model=model)
  return run, helpers.train_stream(run, STREAM, KEY, tasks=(0, 1))


def test_it_learns_from_the_memory_alone(trained):
  run, state = trained
  held = state.method[0].memory.exemplars
  assert np.bincount(held.label[held.mask]).tolist() == [5] * 4
  start = run.init(KEY[None]).variables
  jax.tree.map(np.testing.assert_array_equal, state.variables, start)
  got = softmax_regression.weights(run.prepare(state, 1).served)
  middle = 0.0005 + 0.4995 / 2
  want = descend(start, held, 1, [0.05, 0.5, 0.5, middle, 0.5])
  np.testing.assert_allclose(got, want, atol=1e-5)
  assert np.abs(want - softmax_regression.weights(start)).max() > 0.1


def test_small_batches_show_every_exemplar_once_and_first():
  mask = np.arange(11) % 3 > 0
  rows = np.asarray(_batches(KEY, jnp.asarray(mask), 4))
  assert rows.shape == (3, 4)
  assert sorted(rows.ravel()[:7]) == np.flatnonzero(mask).tolist()
  assert (rows.ravel()[:7] != np.flatnonzero(mask)).any()


def test_before_the_first_task_has_ended_the_network_is_untrained(trained):
  run, _ = trained
  new = run.init(KEY[None])
  jax.tree.map(np.testing.assert_array_equal, run.prepare(new, 0).served, new.variables)


def test_it_stands_first():
  er, own = methods.er(STREAM, capacity=2), gdumb(STREAM, capacity=2)
  with pytest.raises(ValueError, match="ignores its incoming updates"):
    chain(er, own, optax.sgd(0.1))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"capacity": 5, "per": "total"}, r"memory.capacity=5 in total leaves gdumb without"),
    ({"passes": 0}, "passes must be an integer of at least 1"),
    ({"max_rate": 0.0}, r"max_rate must be a number in \(0, inf\)"),
    ({"batch_size": 0}, "memory.batch_size=0"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    gdumb(STREAM, **options)
