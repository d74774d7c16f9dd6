"""Clipping against its formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.transforms import clip

GRADS = {"a": np.array([3.0, -4.0]), "b": np.array([12.0])}
PARAMS = {"a": np.array([0.6, 0.8]), "b": np.array([2.0])}
EXPECTED = {
  "global_norm": {"a": GRADS["a"] * 2 / 13, "b": GRADS["b"] * 2 / 13},
  "value": {"a": np.array([2.0, -2.0]), "b": np.array([2.0])},
  "block_rms": {"a": GRADS["a"] * 2 / np.sqrt(12.5), "b": np.array([2.0])},
  "unitwise": {"a": GRADS["a"] * 2 / 5, "b": np.array([4.0])},
}


def clipped(max_norm, by, scale=1.0):
  grads = jax.tree.map(lambda g: jnp.asarray(scale * g, jnp.float32), GRADS)
  params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), PARAMS)
  transform = clip(max_norm, by)
  return transform.update(grads, transform.init(params), params)[0]


def assert_close(found, expected):
  jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-6), found, expected)


@pytest.mark.parametrize("by", EXPECTED)
def test_formula_and_small_gradients_pass(by):
  assert_close(clipped(2.0, by), EXPECTED[by])
  assert_close(clipped(2.0, by, 0.1), jax.tree.map(lambda g: 0.1 * g, GRADS))


def test_traced_bounds():
  found = jax.vmap(lambda bound: clipped(bound, "global_norm"))(jnp.array([2.0, 100.0]))
  assert_close(jax.tree.map(lambda leaf: leaf[0], found), EXPECTED["global_norm"])
  assert_close(jax.tree.map(lambda leaf: leaf[1], found), GRADS)


def test_bad_settings():
  with pytest.raises(ValueError, match="max_norm must be a number"):
    clip(0.0)
  with pytest.raises(ValueError, match="by must be one of 'global_norm', 'value'"):
    clip(1.0, "norm")
