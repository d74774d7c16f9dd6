"""Figures over all test images of the classes seen so far, against sums over single images."""

import numpy as np
import pytest

from tagjax import metrics

SIZES = np.array([30, 10, 20])


def some_hits(num_seeds=2):
  """For each seed, time and task, which of its images are classified right."""
  random = np.random.default_rng(0)
  return [[[random.random(size) < 0.6 for size in SIZES] for _ in SIZES] for _ in range(num_seeds)]


def test_images_count_equally_and_sessions_too():
  hits = some_hits()
  matrix = np.array([[[task.mean() for task in time] for time in seed] for seed in hits])
  expected = [
    [np.concatenate(time[: k + 1]).mean() for k, time in enumerate(seed)] for seed in hits
  ]
  matrix[:, ~np.tri(3, dtype=bool)] = np.nan
  np.testing.assert_allclose(metrics.incremental_accuracy(matrix, SIZES), expected)
  average = metrics.average_incremental_accuracy(matrix, SIZES)
  np.testing.assert_allclose(average, np.mean(expected, axis=1))
  assert metrics.average_incremental_accuracy(matrix[0], SIZES) == average[0]


def test_what_was_not_evaluated_makes_it_undefined():
  matrix = [[np.nan] * 3, [np.nan] * 3, [0.5] * 3]
  after = metrics.incremental_accuracy(matrix, SIZES)
  assert np.isnan(after[:2]).all()
  assert after[2] == pytest.approx(0.5)
  assert np.isnan(metrics.average_incremental_accuracy(matrix, SIZES))


def test_recency_bias_is_the_share_of_predictions_beyond_that_of_images():
  predicted = np.array([[30.0, 0, 0], [10, 30, 0], [0, 0, 60]])
  np.testing.assert_allclose(
    metrics.recency_bias([predicted, predicted], SIZES),
    [[0, 30 / 40 - 10 / 40, 1 - 20 / 60]] * 2,
  )


@pytest.mark.parametrize("sizes", [[30, 10], [30, 0, 20], [[30, 10, 20]]])
def test_sizes_that_do_not_fit_are_refused(sizes):
  with pytest.raises(ValueError, match="a positive number of test images of each of the 3 tasks"):
    metrics.incremental_accuracy(np.full((3, 3), 0.5), sizes)
  with pytest.raises(ValueError, match="a positive number"):
    metrics.recency_bias(np.ones((3, 3)), sizes)


def test_counts_that_are_not_square_are_refused():
  with pytest.raises(ValueError, match=r"shape \(3, 2\), must be \[..., T, T\]"):
    metrics.recency_bias(np.ones((3, 2)), SIZES)
