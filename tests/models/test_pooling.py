"""Pooling against NumPy and PyTorch's definition, its padding and its gradient."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from tagjax.models.pooling import global_average, max_pool, max_pool_same


@pytest.mark.parametrize(
  ("size", "stride", "padding", "pixels"),
  [(2, None, 0, (6, 8)), (2, None, 0, (7, 5)), (3, 2, 0, (8, 9)), (3, 2, 1, (8, 9))],
)
def test_max_pool_equals_numpy(size, stride, padding, pixels):
  x = networks.images(pixels) - 5  # a padding of zeros would win
  expected = networks.max_pool(x, size, stride or size, ((padding, padding),) * 2)
  np.testing.assert_array_equal(max_pool(x, size, stride, padding), expected)


@pytest.mark.parametrize(
  ("pixels", "size", "margins"),
  [
    (9, 3, ((0, 0), (0, 0))),
    (8, 3, ((0, 1), (0, 1))),
    ((7, 11), 3, ((1, 1), (0, 1))),
    (6, 1, ((0, 0), (0, 0))),
  ],
)
def test_windows_that_do_not_fit_are_padded_last(pixels, size, margins):
  x = networks.images(pixels) - 5
  expected = networks.max_pool(x, size, size, margins)
  np.testing.assert_array_equal(max_pool_same(x, size), expected)


def test_the_gradient_goes_to_the_largest_of_each_window():
  x = networks.images(7, rows=1, channels=2)
  weight = np.random.default_rng(1).normal(size=(1, 4, 4, 2)).astype(np.float32)
  ours = jax.grad(lambda x: jnp.sum(weight * max_pool(x, 3, 2, 1)))(x)
  expected = np.zeros_like(x)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
  for row, column, channel in np.ndindex(4, 4, 2):
    window = padded[0, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3, channel]
    i, j = np.unravel_index(np.argmax(window), window.shape)
    expected[0, 2 * row + i - 1, 2 * column + j - 1, channel] += weight[0, row, column, channel]
  np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)


def test_a_number_that_is_none_is_not_hidden():
  x = networks.images(4)
  x[0, 1, 1, 0] = np.nan
  assert np.isnan(max_pool(x, 2)[0, 0, 0, 0])


def test_global_average():
  x = networks.images((3, 5))
  np.testing.assert_allclose(global_average(x), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
