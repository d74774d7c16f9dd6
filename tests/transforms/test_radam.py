"""RAdam against its formulas in float64, from the first step to the limit."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.transforms import radam, scale_by_radam


def reference(gradients, *, b1=0.9, b2=0.999, eps=1e-8):
  """The directions of the authors' code, in float64."""
  m = v = np.zeros_like(gradients[0], np.float64)
  limit = 2 / (1 - b2) - 1
  for k, g in enumerate(gradients, start=1):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    rho = limit - 2 * k * b2**k / (1 - b2**k)
    if rho < 5:
      yield m / (1 - b1**k)
      continue
    rectified = (rho - 4) / (limit - 4) * (rho - 2) / rho * limit / (limit - 2)
    yield np.sqrt((1 - b2**k) * rectified) / (1 - b1**k) * m / (np.sqrt(v) + eps)


@pytest.mark.parametrize("constants", [{}, {"b1": 0.0, "b2": 0.9}, {"eps": 0.1}])
def test_steps_are_those_of_the_authors_code(constants):
  rng = np.random.default_rng(0)
  gradients = [rng.normal(size=3).astype(np.float32) for _ in range(12)]
  transform = scale_by_radam(**constants)
  state = transform.init(jnp.zeros(3))
  for g, expected in zip(gradients, reference(gradients, **constants), strict=True):
    found, state = transform.update(jnp.asarray(g), state)
    np.testing.assert_allclose(found, expected, rtol=3e-6)


@pytest.mark.parametrize("k", [5, 6, 21, 400, 499, 501, 700, 3000, 500_000])
def test_the_length_of_a_step_keeps_its_digits(k):
  """With a constant gradient the moments are its powers: only the factor is left."""
  one = jnp.ones(1)
  state = (
    scale_by_radam()
    .init(one)
    ._replace(
      count=jnp.int32(k - 1),
      mu=jnp.asarray([1 - 0.9 ** (k - 1)], jnp.float32),
      nu=jnp.asarray([1 - 0.999 ** (k - 1)], jnp.float32),
    )
  )
  found, _ = scale_by_radam().update(one, state)
  limit = 1999.0
  rho = limit - 2 * k / np.expm1(-k * np.log(0.999))
  rectified = (rho - 4) / (limit - 4) * (rho - 2) / rho * limit / (limit - 2)
  np.testing.assert_allclose(found, 1.0 if k == 5 else np.sqrt(rectified), rtol=1e-6)


def test_the_learning_rate_is_a_factor():
  g = jnp.array([2.0, -1.0])
  optimizer = radam(0.5)
  updates, _ = optimizer.update(g, optimizer.init(g))
  np.testing.assert_allclose(updates, [-1.0, 0.5], rtol=1e-6)
  assert isinstance(optimizer, optax.GradientTransformation)


@pytest.mark.parametrize(("name", "value"), [("b1", 1.0), ("b2", 0.0), ("eps", 0.0)])
def test_constants_out_of_range(name, value):
  with pytest.raises(ValueError, match=f"{name} must be a number in"):
    scale_by_radam(**{name: value})
