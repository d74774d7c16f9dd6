"""Gradient projection against closed forms, SciPy, and what makes it a projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from tagjax.core.mapping import Thin, dense
from tagjax.transforms.projection import agem_project, gem_project

SHAPES = {"kernel": (3, 4), "bias": (4,), "scale": ()}


def tree(seed, scale=1.0):
  keys = jax.random.split(jax.random.key(seed), len(SHAPES))
  pairs = zip(SHAPES.items(), keys, strict=True)
  return {name: scale * jax.random.normal(key, shape) for (name, shape), key in pairs}


def flat(values):
  return np.concatenate([np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(values)])


def stack(*trees):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def minus(values):
  return jax.tree.map(jnp.negative, values)


def bits(values):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(values)]


def conflicting(seed):
  gradient, reference = tree(seed), tree(seed + 1000)
  return gradient, reference if flat(gradient) @ flat(reference) < 0 else minus(reference)


def test_golden_values():
  gradient, reference = jnp.array([1.0, -2.0]), jnp.array([1.0, 1.0])
  np.testing.assert_allclose(agem_project(gradient, reference), [1.5, -1.5], atol=1e-6)
  pushed = gem_project(gradient, reference[None], margin=0.5, eps=1e-3)
  np.testing.assert_allclose(pushed, [1.5, -1.5], atol=1e-6)


def test_worked_example_is_orthogonal_to_the_reference():
  reference, gradient = jnp.array([0.0193, 0.0019]), jnp.array([-0.1614, -1.6141])
  assert float(gradient @ reference) < 0
  projected = agem_project(gradient, reference)
  assert abs(float(projected @ reference)) < 1e-6
  # By hand, in decimals: 0.00618181 / 0.0003761 = 16.436613 times the reference is added.
  np.testing.assert_allclose(projected, [0.155827, -1.582870], atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_agem_is_the_formula_in_float64(seed):
  gradient, reference = conflicting(seed)
  g, r = flat(gradient), flat(reference)
  expected = g - (g @ r) / (r @ r) * r
  np.testing.assert_allclose(flat(agem_project(gradient, reference)), expected, atol=1e-6)


def test_no_conflict_keeps_every_bit():
  gradient, reference = conflicting(0)
  gradient["bias"] = gradient["bias"].at[0].set(-0.0)
  assert bits(agem_project(gradient, minus(reference))) == bits(gradient)
  assert bits(gem_project(gradient, stack(minus(reference)))) == bits(gradient)


def test_zero_reference_keeps_every_bit():
  gradient = tree(0)
  nothing = jax.tree.map(jnp.zeros_like, gradient)
  assert bits(agem_project(gradient, nothing)) == bits(gradient)
  assert bits(gem_project(gradient, stack(nothing, nothing))) == bits(gradient)


@pytest.mark.parametrize("seed", range(5))
def test_agem_is_idempotent_and_never_against_the_reference(seed):
  gradient, reference = conflicting(seed)
  once = agem_project(gradient, reference)
  norms = np.linalg.norm(flat(gradient)) * np.linalg.norm(flat(reference))
  assert flat(once) @ flat(reference) >= -1e-6 * norms
  np.testing.assert_allclose(flat(agem_project(once, reference)), flat(once), atol=1e-6)


def test_agem_is_the_smallest_change():
  gradient, reference = conflicting(1)
  g, r = flat(gradient), flat(reference)
  change = np.linalg.norm(flat(agem_project(gradient, reference)) - g)
  others = g + np.random.default_rng(0).normal(size=(10_000, g.size))
  allowed = others[others @ r >= 0]
  assert len(allowed)
  assert (np.linalg.norm(allowed - g, axis=1) >= change).all()


def test_the_size_of_the_reference_does_not_matter():
  gradient, reference = conflicting(2)
  small = jax.tree.map(lambda leaf: 1e-12 * leaf, reference)
  one, two = agem_project(gradient, reference), agem_project(gradient, small)
  np.testing.assert_allclose(flat(one), flat(two), atol=1e-6)


def test_half_precision_keeps_its_dtype_and_sums_in_float32():
  gradient = jnp.full(4000, -1.0, jnp.bfloat16)
  reference = jnp.full(4000, 1.0, jnp.bfloat16)
  for projected in (agem_project(gradient, reference), gem_project(gradient, reference[None])):
    assert projected.dtype == jnp.bfloat16
    np.testing.assert_allclose(projected.astype(jnp.float32), 0, atol=1e-6)


def test_a_reference_that_is_not_finite_shows():
  bad = jnp.array([jnp.nan, 1.0])
  assert not np.isfinite(agem_project(jnp.ones(2), bad)).all()
  assert not np.isfinite(gem_project(jnp.ones(2), bad[None])).all()


def test_gem_with_one_row_is_agem():
  gradient, reference = conflicting(3)
  one = gem_project(gradient, stack(reference), margin=0.0, eps=0.0)
  np.testing.assert_allclose(flat(one), flat(agem_project(gradient, reference)), atol=2e-6)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_gem_is_the_nearest_point_that_suits_every_row(count):
  """Against SciPy's solution of the projection itself, not of its dual."""
  references = [tree(seed) for seed in range(count)]
  matrix = np.stack([flat(reference) for reference in references])
  gradient = jax.tree.map(lambda *leaves: -sum(leaves), *references)
  g = flat(gradient)
  primal = scipy.optimize.minimize(
    lambda z: 0.5 * np.sum((z - g) ** 2),
    g,
    jac=lambda z: z - g,
    constraints={"type": "ineq", "fun": lambda z: matrix @ z, "jac": lambda z: matrix},
    options={"ftol": 1e-14},
  )
  found = flat(gem_project(gradient, stack(*references), margin=0.0, eps=0.0))
  np.testing.assert_allclose(found, primal.x, atol=1e-4)
  assert (matrix @ found >= -1e-4).all()


def test_gem_pushes_along_every_row_by_the_margin_at_least():
  """The second row is in no conflict, and still gets its margin."""
  gradient = jnp.array([-1.0, 3.0, 0.0])
  references = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
  pushed = gem_project(gradient, references, margin=0.5, eps=0.0)
  np.testing.assert_allclose(pushed, [0.0, 3.5, 0.0], atol=1e-6)
  pushed = gem_project(gradient, references, margin=2.0, eps=0.0)
  np.testing.assert_allclose(pushed, [1.0, 5.0, 0.0], atol=1e-6)


def test_gem_ignores_masked_rows_whatever_they_hold():
  gradient, reference = conflicting(4)
  bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), reference)
  both = gem_project(gradient, stack(bad, reference), jnp.array([False, True]))
  alone = gem_project(gradient, stack(reference))
  np.testing.assert_allclose(flat(both), flat(alone), rtol=1e-5, atol=1e-6)
  nobody = gem_project(gradient, stack(bad, reference), jnp.zeros(2, bool))
  assert bits(nobody) == bits(gradient)


def test_the_loss_of_the_reference_does_not_rise():
  """Two quadratic losses: a small step along the projected gradient raises neither."""

  def loss(params, target):
    return sum(
      jnp.sum((p - t) ** 2)
      for p, t in zip(jax.tree.leaves(params), jax.tree.leaves(target), strict=True)
    )

  params, target = tree(5), tree(6)
  gradient = jax.tree.map(lambda p, t, e: p - 2 * t + e, target, params, tree(7, 0.3))
  reference = jax.grad(loss)(params, target)
  assert flat(gradient) @ flat(reference) < 0
  projected = agem_project(gradient, reference)
  step = 1e-3

  def change(direction):
    moved = jax.tree.map(lambda p, d: p - step * d, params, direction)
    return float(loss(moved, target) - loss(params, target))

  # What is left is of second order.
  assert change(gradient) > 10 * step**2 * np.sum(flat(gradient) ** 2)
  assert change(projected) < 2 * step**2 * np.sum(flat(projected) ** 2)


def test_works_under_jit_and_vmap():
  pairs = [conflicting(seed) for seed in range(3)]
  gradients, references = (stack(*trees) for trees in zip(*pairs, strict=True))
  together = jax.jit(jax.vmap(agem_project))(gradients, references)
  rows = jax.tree.map(lambda leaf: leaf[:, None], references)
  pushed = jax.jit(jax.vmap(lambda g, r: gem_project(g, r, margin=0.0, eps=0.0)))(gradients, rows)
  for index, (gradient, reference) in enumerate(pairs):
    expected = flat(agem_project(gradient, reference))
    for values in (together, pushed):
      got = flat(jax.tree.map(lambda leaf, i=index: leaf[i], values))
      np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_thin_gradients_are_their_products(seed):
  rng = np.random.default_rng(seed)
  left, right = (jnp.asarray(rng.normal(size=(4, 2, n)), jnp.float32) for n in (3, 4))
  bias = jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)
  gradient = {"kernel": -jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "bias": -bias[1]}
  thin = {"kernel": Thin(left, right), "bias": bias}
  whole = {"kernel": dense(thin["kernel"]), "bias": bias}
  mask = jnp.arange(4) != seed
  found, expected = (gem_project(gradient, rows, mask) for rows in (thin, whole))
  assert bits(expected) != bits(gradient)
  np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-3, atol=1e-3)
  bad = {"kernel": Thin(left.at[seed].set(jnp.nan), right), "bias": bias}
  assert bits(gem_project(gradient, bad, mask)) == bits(found)
