"""The masked cross-entropy against SciPy, and which outputs compete."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from tagjax.core import losses


@pytest.mark.parametrize(
  ("scenario", "expected"),
  [
    ("task", [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]),
    ("class", [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]]),
    ("domain", [[1, 1], [1, 1]]),
  ],
)
def test_active_outputs(scenario, expected):
  active = losses.active_outputs(helpers.spec(scenario), jnp.array([0, 1]), jnp.int32(1))
  np.testing.assert_array_equal(active, np.array(expected, bool))


def test_cross_entropy_is_that_of_the_block():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(5, 6)).astype(np.float32)
  label = np.array([2, 3, 2, 2, 3])
  active = np.zeros((5, 6), bool)
  active[:, 2:4] = True
  block = log_softmax(logits[:, 2:4].astype(np.float64), axis=-1)
  expected = -block[np.arange(5), label - 2]
  np.testing.assert_allclose(losses.cross_entropy(logits, label, active), expected, rtol=1e-5)


def test_no_gradient_reaches_masked_logits():
  active = jnp.array([[True, False, True]])
  grad = jax.grad(lambda logits: jnp.sum(losses.cross_entropy(logits, jnp.array([0]), active)))(
    jnp.array([[1.0, 50.0, -1.0]])
  )
  assert grad[0, 1] == 0
  assert grad[0, 0] != 0


def test_masked_mean_counts_valid_rows_only():
  values = jnp.array([1.0, 2.0, jnp.nan])
  mask = jnp.array([True, True, False])
  np.testing.assert_allclose(losses.masked_mean(values, mask, 2.0), 1.5)
  assert losses.masked_mean(values, jnp.zeros(3, bool), 0.0) == 0


def test_binary_cross_entropy_is_the_mean_over_the_active_outputs():
  rng = np.random.default_rng(0)
  logits = 5 * rng.normal(size=(4, 6)).astype(np.float32)
  label = np.array([2, 4, 3, 2])
  active = np.zeros((4, 6), bool)
  active[:, 2:5] = True
  active[3] = False
  p = expit(logits.astype(np.float64))
  values = -np.where(np.eye(6, dtype=bool)[label], np.log(p), np.log1p(-p))
  expected = [*values[:3, 2:5].mean(axis=1), 0.0]
  found = losses.binary_cross_entropy(jnp.asarray(logits), jnp.asarray(label), jnp.asarray(active))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
