"""The naive optimizers against the formulas of PyTorch, in float64."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.methods import naive

LR = 0.05


def sgd(p, g, s, n):
  del n
  return p - LR * g, s


def rmsprop(p, g, s, n):
  del n
  s = 0.99 * s + 0.01 * g * g
  return p - LR * g / (np.sqrt(s) + 1e-8), s


def adagrad(p, g, s, n):
  del n
  s = s + g * g
  return p - LR * g / (np.sqrt(s) + 1e-10), s


def adam(p, g, s, n):
  m, v = (0.0, 0.0) if np.isscalar(s) else s
  m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
  step = (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
  return p - LR * step, np.stack([m, v])


@pytest.mark.parametrize("formula", [sgd, rmsprop, adagrad, adam])
def test_optimizer_is_pytorchs(formula):
  optimizer = getattr(naive, formula.__name__)(LR)
  rng = np.random.default_rng(0)
  grads = rng.normal(size=(20, 7))
  grads[3] = 0.0
  grads[:, 0] *= 1e-4
  expected, memory = np.ones(7), 0.0
  params = jnp.ones(7)
  state = optimizer.init(params)
  for number, grad in enumerate(grads, 1):
    expected, memory = formula(expected, grad, memory, number)
    updates, state = optimizer.update(jnp.asarray(grad, jnp.float32), state, params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, expected, rtol=2e-5, atol=1e-6)


def test_adagrad_of_a_gradient_that_never_came_is_zero():
  optimizer = naive.adagrad(LR)
  params = jnp.ones(3)
  updates, _ = optimizer.update(jnp.zeros(3), optimizer.init(params), params)
  np.testing.assert_array_equal(updates, jnp.zeros(3))
