"""Summaries over seeds against SciPy and tables of Student's t."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tagjax.metrics import summarise


def test_two_and_three_seeds_by_hand():
  two = summarise([0.0, 1.0])
  assert two.mean == 0.5
  assert two.std == pytest.approx(math.sqrt(0.5))
  # t(0.975, 1) = 12.7062, s / sqrt(2) = 0.5
  assert two.ci95 == pytest.approx(12.7062 / 2, rel=1e-5)
  three = summarise([1.0, 2.0, 3.0])
  assert three.std == pytest.approx(1.0)
  assert three.ci95 == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10, unique=True))
def test_equals_scipy(values):
  summary = summarise(values)
  assert summary.mean == pytest.approx(np.mean(values))
  # Statistics of rounding noise are of no interest.
  if np.std(values) > 1e-6:
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert summary.std == pytest.approx(stats.tstd(values), rel=1e-6)
    assert summary.mean - summary.ci95 == pytest.approx(interval.low, abs=1e-7)
    assert summary.mean + summary.ci95 == pytest.approx(interval.high, abs=1e-7)
  assert summary.per_seed == tuple(values)


@pytest.mark.parametrize("count", [*range(2, 34), 100])
def test_the_interval_of_any_number_of_seeds(count):
  values = np.arange(count) % 2
  wanted = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
  assert summarise(values).ci95 == pytest.approx(wanted, rel=1e-12)


def test_ddof_changes_std_only():
  sample, population = summarise([0.1, 0.2, 0.6]), summarise([0.1, 0.2, 0.6], ddof=0)
  assert population.std == pytest.approx(np.std([0.1, 0.2, 0.6]))
  assert sample.std == pytest.approx(population.std * math.sqrt(3 / 2))
  assert sample.ci95 == population.ci95


def test_one_seed_has_no_spread():
  one = summarise([0.4])
  assert one.mean == 0.4
  assert math.isnan(one.std)
  assert math.isnan(one.ci95)
  assert summarise([0.4], ddof=0).std == 0.0


def test_an_undefined_value_is_not_dropped():
  summary = summarise([0.1, float("nan")])
  assert math.isnan(summary.mean)
  assert math.isnan(summary.std)
  assert math.isnan(summary.ci95)


def test_is_plain_python_for_json():
  summary = summarise(np.array([0.25, 0.75], np.float32))
  assert all(type(value) is float for value in (*summary[:3], *summary.per_seed))
  assert json.loads(json.dumps(summary._asdict()))["per_seed"] == [0.25, 0.75]


def test_bad_arguments():
  for values in ([], 0.5, [[0.1, 0.2]]):
    with pytest.raises(ValueError, match="one value a seed"):
      summarise(values)
  for ddof in (2, -1, True, 0.5):
    with pytest.raises(ValueError, match="ddof"):
      summarise([0.1, 0.2], ddof=ddof)
