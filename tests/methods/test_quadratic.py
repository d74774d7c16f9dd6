"""The quadratic pull: its formula, its limits, and what a strength of 0 does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.methods import quadratic

SHAPES = {"kernel": (3, 4), "bias": (4,)}


def tree(seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return {name: jnp.asarray(scale * rng.normal(size=s), jnp.float32) for name, s in SHAPES.items()}


PARAMS, ANCHOR, UPDATES = tree(0), tree(1), tree(2)
IMPORTANCE = jax.tree.map(lambda leaf: jnp.asarray(np.square(leaf)), tree(3))


def norm(values):
  return np.sqrt(sum(np.sum(np.asarray(v, np.float64) ** 2) for v in values.values()))


def test_pull_is_the_gradient_of_a_penalty_without_a_half():
  actual = quadratic.pull(PARAMS, IMPORTANCE, ANCHOR, 0.7)

  def penalty(params):
    return 0.7 * sum(jnp.sum(IMPORTANCE[k] * (params[k] - ANCHOR[k]) ** 2) for k in SHAPES)

  expected = jax.grad(penalty)(PARAMS)
  for name in SHAPES:
    np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5)
    f, p, a = (np.asarray(t[name], np.float64) for t in (IMPORTANCE, PARAMS, ANCHOR))
    np.testing.assert_allclose(actual[name], 1.4 * f * (p - a), rtol=1e-5)


@pytest.mark.parametrize("max_norm", [0.01, 1.0])
def test_a_longer_tree_is_scaled_to_the_norm(max_norm):
  clipped = quadratic.clip_by_norm(UPDATES, max_norm)
  assert norm(clipped) == pytest.approx(max_norm, rel=1e-6)
  for name in SHAPES:
    expected = np.asarray(UPDATES[name]) * (max_norm / norm(UPDATES))
    np.testing.assert_allclose(clipped[name], expected, rtol=1e-5)


@pytest.mark.parametrize("max_norm", [100.0, None])
def test_a_shorter_tree_stays_bit_for_bit(max_norm):
  clipped = quadratic.clip_by_norm(UPDATES, max_norm)
  for name in SHAPES:
    np.testing.assert_array_equal(clipped[name], UPDATES[name])


def test_a_tree_of_zeros_is_clipped_to_zeros():
  zeros = quadratic.clip_by_norm(quadratic.zeros(PARAMS), 1.0)
  assert all((np.asarray(leaf) == 0).all() for leaf in zeros.values())


def test_only_the_pull_is_clipped():
  large = jax.tree.map(lambda u: 1e3 * u, UPDATES)
  state = PARAMS, IMPORTANCE, ANCHOR
  actual = quadratic.add_pull(large, *state, strength=5.0, clip=2.0)
  pull = quadratic.clip_by_norm(quadratic.pull(*state, 5.0), 2.0)
  assert norm(pull) == pytest.approx(2.0, rel=1e-6)
  for name in SHAPES:
    np.testing.assert_array_equal(actual[name], large[name] + pull[name])


def test_strength_zero_keeps_every_bit_of_the_updates():
  updates = jax.tree.map(lambda u: u.at[0].set(-0.0), UPDATES)
  infinite = jax.tree.map(lambda f: f + jnp.inf, IMPORTANCE)
  actual = quadratic.add_pull(updates, PARAMS, infinite, ANCHOR, strength=0, clip=1.0)
  for name in SHAPES:
    np.testing.assert_array_equal(actual[name], updates[name])
    np.testing.assert_array_equal(np.signbit(actual[name]), np.signbit(updates[name]))


def test_half_precision_updates_keep_their_dtype_and_the_pull_is_float32():
  def half(values):
    return jax.tree.map(lambda v: v.astype(jnp.bfloat16), values)

  importance = quadratic.zeros(half(PARAMS))
  assert all(leaf.dtype == jnp.float32 for leaf in importance.values())
  tiny = jax.tree.map(lambda f: f + 1e-30, importance)
  actual = quadratic.add_pull(half(UPDATES), half(PARAMS), tiny, half(ANCHOR), strength=1e30)
  for name in SHAPES:
    assert actual[name].dtype == jnp.bfloat16
    u, p, a = (np.asarray(half(t)[name], np.float32) for t in (UPDATES, PARAMS, ANCHOR))
    expected = u + 2 * (p - a)
    np.testing.assert_allclose(np.asarray(actual[name], np.float32), expected, rtol=1e-2, atol=2e-2)


def test_the_anchor_is_a_copy():
  copied = quadratic.copy(PARAMS)
  for name in SHAPES:
    np.testing.assert_array_equal(copied[name], PARAMS[name])
    assert copied[name].unsafe_buffer_pointer() != PARAMS[name].unsafe_buffer_pointer()


@pytest.mark.parametrize(
  ("strength", "clip", "message"),
  [
    (-1.0, None, r"strength must be a number in \[0, inf\), got -1.0"),
    (float("nan"), None, "strength"),
    (float("inf"), None, "strength"),
    (1.0, 0.0, r"clip must be a number in \(0, inf\), or None not to clip, got 0.0"),
    (1.0, -2.0, "clip"),
  ],
)
def test_wrong_arguments_are_refused(strength, clip, message):
  with pytest.raises(ValueError, match=message):
    quadratic.check(strength, clip)


def test_a_traced_strength_passes():
  @jax.jit
  def run(strength):
    quadratic.check(strength)
    return quadratic.add_pull(UPDATES, PARAMS, IMPORTANCE, ANCHOR, strength=strength)

  expected = quadratic.add_pull(UPDATES, PARAMS, IMPORTANCE, ANCHOR, strength=2.0)
  for name in SHAPES:
    np.testing.assert_allclose(run(2.0)[name], expected[name], rtol=1e-6)
