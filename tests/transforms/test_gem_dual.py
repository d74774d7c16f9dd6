"""GEM's quadratic program against SciPy in float64, and against the conditions of its optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from tagjax.transforms import gem_dual
from tagjax.transforms.gem_dual import solve_gem_dual

EPS = 1e-3
DIM = 30
solve = jax.jit(solve_gem_dual, static_argnames="max_iterations")


def exact(gram, linear, margin):
  """The same program as non-negative least squares, by SciPy in float64."""
  factor = np.linalg.cholesky(gram)
  offset = linear + gram @ np.full(len(linear), margin)
  right = scipy.linalg.solve_triangular(factor, -offset, lower=True)
  return margin + scipy.optimize.nnls(factor.T, right, maxiter=10_000)[0]


def rows(kind, size, rng):
  plain = rng.normal(size=(size, DIM))
  pick = rng.integers(0, max(1, size // 2), size)
  return {
    "random": plain,
    "correlated": plain + 10 * rng.normal(size=DIM),
    "repeated": plain[pick],
    "opposite": plain[pick] * rng.choice([-1, 1], (size, 1)),
    "zero rows": plain * (np.arange(size) % 2)[:, None],
    "badly scaled": plain * 10.0 ** rng.uniform(-4, 4, (size, 1)),
    "tiny": 1e-3 * plain,
    # More rows than dimensions: variables that were freed go back to their bound.
    "crowded": plain * (np.arange(DIM) < 5),
    "crowded and large": 1e3 * plain * (np.arange(DIM) < 5),
  }[kind]


def problem(kind, size, seed):
  """`(G, g)`, exact in float32; g is against most rows unless they are crowded."""
  rng = np.random.default_rng([seed, size])
  matrix = rows(kind, size, rng)
  gradient = rng.normal(size=DIM)
  if "crowded" not in kind:
    gradient -= matrix.sum(0) / (np.linalg.norm(matrix) + 1e-9)
  return [array.astype(np.float32).astype(float) for array in (matrix, gradient)]


def program(matrix, gradient):
  return matrix @ matrix.T + EPS * np.eye(len(matrix)), matrix @ gradient


KINDS = ["random", "correlated", "repeated", "opposite", "zero rows", "badly scaled", "tiny"]
KINDS += ["crowded", "crowded and large"]


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("size", [1, 2, 5, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_scipy(kind, size, margin):
  for seed in range(5):
    matrix, gradient = problem(kind, size, seed)
    gram, linear = program(matrix, gradient)
    expected = exact(gram, linear, margin)
    found = np.asarray(solve(jnp.float32(gram), jnp.float32(linear), margin=margin), float)
    assert (found >= margin).all()
    # v itself is hardly determined where rows repeat; what is made of it is.
    scale = np.linalg.norm(gradient) + np.linalg.norm(margin * matrix.sum(0))
    difference = np.linalg.norm(matrix.T @ (found - expected))
    assert difference <= 5e-6 * scale
    if kind in ("random", "zero rows", "badly scaled", "tiny"):
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_of_the_optimum(kind):
  """Slope 0 where v is above its bound, at least 0 where it is not (Karush, Kuhn, Tucker)."""
  gram, linear = program(*problem(kind, 19, 3))
  found = np.asarray(solve(jnp.float32(gram), jnp.float32(linear), margin=0.5), float)
  slope = gram @ found + linear
  rounding = 1e-5 * (np.abs(gram) @ found + np.abs(linear))
  assert (slope >= -rounding).all()
  # A variable may leave its bound by a rounding error, hence the small allowance.
  inside = found > 0.5 + 1e-5 * found.max()
  assert (np.abs(slope) <= rounding)[inside].all()


def test_ends_after_few_iterations():
  """Of 190 at most. Large rows that depend on one another are where rounding goes in circles."""
  rng = np.random.default_rng(0)
  matrix, gradient = 1e3 * rng.normal(size=(300, 19, 10)), rng.normal(size=(300, 10))
  gram = np.einsum("pid,pjd->pij", matrix, matrix) + EPS * np.eye(19)
  scale = np.sqrt(np.einsum("pii->pi", gram))
  curvature = jnp.float32(gram / (scale[:, :, None] * scale[:, None, :]))
  offset = jnp.float32(np.einsum("pid,pd->pi", matrix, gradient) / scale)
  search = jax.jit(jax.vmap(lambda c, o: gem_dual._nonnegative(c, o, jnp.ones(19, bool), 190)))(
    curvature, offset
  )
  assert search.done.all()
  assert search.iteration.max() <= 40


def test_equal_free_rows_do_not_break_the_linear_system():
  value = gem_dual._minimum_over(jnp.ones((2, 2)), -jnp.ones(2), jnp.ones(2, bool))
  np.testing.assert_allclose(value, [0.5, 0.5], atol=1e-3)


def test_a_walk_stops_at_the_first_bound():
  point, dropped = gem_dual._walk(
    jnp.array([1.0, 3.0, 0.0, 2.0]), jnp.array([-1.0, -1.0, -5.0, 4.0]), jnp.arange(4) != 2
  )
  np.testing.assert_allclose(point, [0.0, 1.0, 0.0, 3.0])
  np.testing.assert_array_equal(dropped, [True, False, False, False])


def test_nearly_equal_rows_end_with_a_finite_answer():
  """Ten rows equal up to float32's rounding, much larger than eps."""
  rng = np.random.default_rng(0)
  matrix = 1e3 * (rng.normal(size=DIM) + 1e-6 * rng.normal(size=(10, DIM)))
  gradient = -matrix.mean(0)
  gram, linear = program(matrix, gradient)
  found = np.asarray(solve(jnp.float32(gram), jnp.float32(linear)), float)
  assert np.isfinite(found).all()
  assert np.linalg.norm(gradient + matrix.T @ found) < 1e-4 * np.linalg.norm(gradient)


def test_masked_variables_are_zero_and_without_influence():
  gram, linear = program(*problem("random", 6, 0))
  mask = np.array([True, False, True, True, False, False])
  inner = exact(gram[np.ix_(mask, mask)], linear[mask], 0.5)
  found = np.asarray(solve(jnp.float32(gram), jnp.float32(linear), jnp.array(mask), margin=0.5))
  assert (found[~mask] == 0).all()
  np.testing.assert_allclose(found[mask], inner, rtol=1e-5)


def test_one_variable_in_closed_form():
  one = solve(jnp.float32([[2.001]]), jnp.float32([-1.0]))
  np.testing.assert_allclose(one, 1 / 2.001, rtol=1e-6)
  np.testing.assert_array_equal(solve(jnp.eye(1), jnp.float32([-0.2]), margin=0.5), [0.5])
  np.testing.assert_array_equal(solve(jnp.eye(1), jnp.float32([3.0])), [0.0])


def test_the_scale_of_the_rows_does_not_matter():
  """Rows times c and d: v divided by them (margin 0, no eps)."""
  matrix, gradient = problem("random", 5, 1)
  scale = 10.0 ** np.array([-6, -3, 0, 4, 6])
  scaled = matrix * scale[:, None]
  arrays = [matrix @ matrix.T, matrix @ gradient, scaled @ scaled.T, scaled @ gradient]
  gram, linear, scaled_gram, scaled_linear = map(jnp.float32, arrays)
  plain, found = solve(gram, linear), solve(scaled_gram, scaled_linear)
  np.testing.assert_allclose(np.asarray(found, float) * scale, plain, rtol=1e-4, atol=1e-6)


def test_vmap_equals_one_by_one():
  programs = [program(*problem(kind, 5, 2)) for kind in KINDS]
  grams = jnp.float32([gram for gram, _ in programs])
  linears = jnp.float32([linear for _, linear in programs])
  together = jax.jit(jax.vmap(solve_gem_dual))(grams, linears)
  alone = jnp.stack([solve(gram, linear) for gram, linear in zip(grams, linears, strict=True)])
  np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(bad):
  assert np.isnan(solve(jnp.eye(2), np.float32([bad, -1.0]))).all()
  assert np.isnan(solve(np.diag(np.float32([bad, 1.0])), -np.ones(2, np.float32))).all()


def test_no_operation_makes_a_nan():
  """Without compiled programs each operation is looked at; the second variable takes no part."""
  gram, linear, mask = np.eye(2, dtype=np.float32), np.float32([-1, -3]), np.array([True, False])
  with jax.debug_nans(True), jax.disable_jit():
    found = solve_gem_dual(gram, linear, mask, margin=0.5)
  np.testing.assert_allclose(found, [1.0, 0.0], rtol=1e-6)


def test_what_takes_no_part_may_be_anything():
  found = solve(jnp.eye(2), jnp.array([jnp.nan, -1.0]), jnp.array([False, True]))
  np.testing.assert_allclose(found, [0.0, 1.0], atol=1e-6)
