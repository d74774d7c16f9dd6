"""Weight decay against its formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.transforms import weight_decay

RNG = np.random.default_rng(0)
P, G = RNG.normal(size=(2, 6))
P[0] = 0.0


def updates_of(transform, dtype=jnp.float32):
  params = {"w": jnp.asarray(P, dtype)}
  return transform.update({"w": jnp.asarray(G, dtype)}, transform.init(params), params)[0]["w"]


@pytest.mark.parametrize(("norm", "direction"), [("L2", P), ("sign", np.sign(P))])
def test_formula(norm, direction):
  found = updates_of(weight_decay(0.3, norm))
  np.testing.assert_allclose(found, G + 0.3 * direction, rtol=1e-6)


def test_l2_is_optaxs():
  expected = updates_of(optax.add_decayed_weights(1e-3))
  np.testing.assert_array_equal(updates_of(weight_decay(1e-3)), expected)


def test_it_passes_through_momentum():
  transform = optax.chain(weight_decay(0.1, "sign"), optax.sgd(0.5, momentum=0.9))
  p, m = np.array([1.0, -2.0, 0.5]), 0.0
  params = jnp.asarray(p, jnp.float32)
  state = transform.init(params)
  for _ in range(5):
    m = 0.9 * m + 0.2 * p + 0.1 * np.sign(p)
    p = p - 0.5 * m
    updates, state = transform.update(0.2 * params, state, params)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params, p, rtol=1e-5)


@pytest.mark.parametrize("norm", ["L2", "sign"])
def test_off_is_nothing(norm):
  updates = {"w": jnp.array([1.0, -0.0])}
  transform = weight_decay(0.0, norm)
  assert transform.update(updates, transform.init(updates), None)[0] is updates


def test_traced_strengths_dtype_and_missing_gradients():
  found = jax.vmap(lambda strength: updates_of(weight_decay(strength)))(jnp.array([0.0, 0.3]))
  np.testing.assert_allclose(found, [G, G + 0.3 * P], rtol=1e-6)
  assert updates_of(weight_decay(0.3), jnp.bfloat16).dtype == jnp.bfloat16
  transform = weight_decay(0.1)
  updates, _ = transform.update({"w": None}, optax.EmptyState(), {"w": jnp.ones(2)}, task_id=0)
  assert updates == {"w": None}


def test_bad_settings():
  with pytest.raises(ValueError, match=r"strength must be a number in \[0, inf\), got -1"):
    weight_decay(-1)
  with pytest.raises(ValueError, match="norm must be one of 'L2', 'sign', got 'L1'"):
    weight_decay(0.1, "L1")
  with pytest.raises(ValueError, match="needs the parameters"):
    weight_decay(0.1).update(jnp.ones(2), optax.EmptyState())
