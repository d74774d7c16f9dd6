"""Penalties with corners, minimised by plain gradient steps, against their proximal operators."""

import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.methods import sparsity

TARGET = np.array([[0.5, -0.02, 0.3], [-0.4, 0.05, -0.05]], np.float32)


def minimised(penalty, start, rate=0.05, steps=400):
  """Of `½ ‖w − TARGET‖²` with a penalty, by gradient steps."""
  value = jnp.asarray(start, jnp.float32)
  for _ in range(steps):
    value = penalty(value, value - TARGET, rate)
  return np.asarray(value)


@pytest.mark.parametrize("start", [TARGET, -TARGET, np.zeros_like(TARGET)])
def test_single_weights_end_at_the_soft_threshold(start):
  def step(value, grad, rate):
    grad = sparsity.with_l1(grad, value, 0.1)
    return sparsity.stopped(value - rate * grad, value, grad)

  found = minimised(step, start)
  expected = np.sign(TARGET) * np.maximum(np.abs(TARGET) - 0.1, 0)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert ((found == 0) == (expected == 0)).all()


def test_groups_end_at_the_shrunk_norm_and_the_weights_that_are_not_there_are_left_alone():
  counts = jnp.array([[True], [False]])

  def step(value, grad, rate):
    grad = sparsity.with_group(grad, value, counts, 0.1)
    return sparsity.stopped_groups(value - rate * grad, value, counts)

  found = minimised(step, TARGET * 3)
  norm = np.abs(TARGET[0])
  np.testing.assert_allclose(found[0], TARGET[0] * np.maximum(1 - 0.1 / norm, 0), atol=1e-5)
  np.testing.assert_allclose(found[1], TARGET[1], atol=1e-5)
  assert (found[0] == 0).tolist() == [False, True, False]


def test_a_group_of_several_weights_goes_as_a_whole():
  def step(value, grad, rate):
    grad = sparsity.with_group(grad, value, jnp.ones((2, 1), bool), 0.2)
    return sparsity.stopped_groups(value - rate * grad, value, jnp.ones((2, 1), bool))

  found = minimised(step, TARGET)
  norm = np.linalg.norm(TARGET, axis=0)
  np.testing.assert_allclose(found, TARGET * np.maximum(1 - 0.2 / norm, 0), atol=1e-5)
  assert (found == 0).any(axis=0).tolist() == [False, True, False]
