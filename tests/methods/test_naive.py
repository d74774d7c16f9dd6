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


def walk(optimizer, grads):
  """Params after each step, as float32 from 1."""
  params = jnp.ones(grads.shape[1])
  state, after = optimizer.init(params), []
  for grad in grads:
    updates, state = optimizer.update(jnp.asarray(grad, jnp.float32), state, params)
    params = optax.apply_updates(params, updates)
    after.append(np.asarray(params))
  return np.array(after)


GRADS = np.random.default_rng(1).normal(size=(12, 5))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum(nesterov):
  p, m, expected = np.ones(5), 0.0, []
  for g in GRADS:
    m = 0.9 * m + g
    p = p - LR * (0.9 * m + g if nesterov else m)
    expected.append(p)
  found = walk(naive.sgd(LR, momentum=0.9, nesterov=nesterov), GRADS)
  np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_with_momentum(centered):
  p, v, mean, m, expected = np.ones(5), 0.0, 0.0, 0.0, []
  for g in GRADS:
    v, mean = 0.8 * v + 0.2 * g * g, 0.8 * mean + 0.2 * g
    m = 0.5 * m + g / (np.sqrt(v - mean**2 * centered) + 1e-3)
    p = p - LR * m
    expected.append(p)
  optimizer = naive.rmsprop(LR, decay=0.8, eps=1e-3, centered=centered, momentum=0.5)
  np.testing.assert_allclose(walk(optimizer, GRADS), expected, rtol=1e-4, atol=1e-5)


def test_rmsprop_in_tensorflows_form():
  p, s, expected = np.ones(5), 1.0, []
  for g in GRADS:
    s = 0.9 * s + 0.1 * g * g
    p = p - LR * g / np.sqrt(s + 1e-10)
    expected.append(p)
  optimizer = naive.rmsprop(LR, decay=0.9, eps=1e-10, eps_in_sqrt=True, initial_scale=1.0)
  np.testing.assert_allclose(walk(optimizer, GRADS), expected, rtol=2e-5, atol=1e-6)


def test_adam_and_adagrad_with_other_constants():
  expected = walk(optax.nadam(LR, b1=0.8, b2=0.9, eps=1e-3, eps_root=1e-4), GRADS)
  optimizer = naive.adam(LR, b1=0.8, b2=0.9, eps=1e-3, eps_root=1e-4, nesterov=True)
  np.testing.assert_array_equal(walk(optimizer, GRADS), expected)
  total = 0.5 + np.cumsum(GRADS**2, axis=0)
  expected = 1 - np.cumsum(LR * GRADS / (np.sqrt(total) + 0.1), axis=0)
  optimizer = naive.adagrad(LR, eps=0.1, initial_accumulator_value=0.5)
  np.testing.assert_allclose(walk(optimizer, GRADS), expected, rtol=2e-5, atol=1e-6)


def test_defaults_are_optaxs_calls_to_the_bit():
  pairs = [
    (naive.sgd, optax.sgd(LR)),
    (naive.rmsprop, optax.rmsprop(LR, decay=0.99, eps=1e-8, eps_in_sqrt=False)),
    (naive.adam, optax.adam(LR, b1=0.9, b2=0.999, eps=1e-8)),
  ]
  for ours, theirs in pairs:
    np.testing.assert_array_equal(walk(ours(LR), GRADS), walk(theirs, GRADS))
    assert str(ours(LR).init(jnp.ones(2))) == str(theirs.init(jnp.ones(2)))


@pytest.mark.parametrize(
  ("make", "options", "message"),
  [
    (naive.sgd, {"momentum": 1.0}, "momentum must be a number"),
    (naive.sgd, {"nesterov": True}, "nesterov=True needs momentum, got momentum=0.0"),
    (naive.rmsprop, {"decay": 1.0}, "decay must be a number"),
    (naive.rmsprop, {"eps": 0.0}, "eps must be a number"),
    (naive.rmsprop, {"initial_scale": -1.0}, "initial_scale must be a number"),
    (naive.rmsprop, {"nesterov": True}, "nesterov=True needs momentum"),
    (naive.adam, {"b1": 1.0}, "b1 must be a number"),
    (naive.adam, {"b2": -0.1}, "b2 must be a number"),
    (naive.adam, {"eps_root": -1.0}, "eps_root must be a number"),
    (naive.adagrad, {"eps": 0.0}, "eps must be a number"),
    (naive.adagrad, {"initial_accumulator_value": -1.0}, "initial_accumulator_value must be"),
  ],
)
def test_bad_settings(make, options, message):
  with pytest.raises(ValueError, match=message):
    make(LR, **options)
