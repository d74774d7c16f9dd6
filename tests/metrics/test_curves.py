"""The learning curve area: closed forms, the two kinds, and curves that end early."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagjax.metrics import learning_curve_area

NAN = float("nan")
KINDS = ("mean", "trapezoid")


@pytest.mark.parametrize("kind", KINDS)
@given(level=st.floats(0, 1), beta=st.integers(0, 12), num_tasks=st.integers(1, 4))
def test_constant_curves_give_their_level(kind, level, beta, num_tasks):
  curves = np.full((num_tasks, beta + 1), level)
  assert learning_curve_area(curves, beta, kind) == pytest.approx(level)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [1, 2, 10])
def test_a_straight_line_from_0_to_1_gives_a_half(kind, beta):
  assert learning_curve_area([np.linspace(0, 1, beta + 1)], beta, kind) == pytest.approx(0.5)


def test_the_kinds_differ_as_specified():
  curve = [[0.0, 0.6, 0.9]]
  assert learning_curve_area(curve, 2) == pytest.approx(0.5)
  assert learning_curve_area(curve, 2, kind="trapezoid") == pytest.approx((0.45 + 0.6) / 2)


@given(hnp.arrays(np.float64, (3, 8), elements=st.floats(0, 1)), st.integers(1, 7))
def test_formulas_as_plain_loops(curves, beta):
  shots = [sum(curves[:, b]) / 3 for b in range(beta + 1)]
  assert learning_curve_area(curves, beta) == pytest.approx(sum(shots) / (beta + 1))
  trapezoid = ((shots[0] + shots[beta]) / 2 + sum(shots[1:beta])) / beta
  assert learning_curve_area(curves, beta, "trapezoid") == pytest.approx(trapezoid)
  # The difference of the two forms, a closed form of its own.
  mean = learning_curve_area(curves, beta)
  ends = (shots[0] + shots[beta]) / 2
  assert trapezoid == pytest.approx(((beta + 1) * mean - ends) / beta)


@pytest.mark.parametrize("kind", KINDS)
def test_beta_0_is_the_zero_shot_accuracy(kind):
  assert learning_curve_area([[0.2, 0.9], [0.4, 0.9]], 0, kind) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_beta_is_not_used(kind):
  curves = [[0.1, 0.2, NAN], [0.3, 0.4, 1.0]]
  assert learning_curve_area(curves, 1, kind) == pytest.approx(0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_short_tasks_repeat_their_last_value(kind):
  short, full = [[0.1, 0.5, NAN, NAN], [0, 0, 0, 0]], [[0.1, 0.5, 0.5, 0.5], [0, 0, 0, 0]]
  assert learning_curve_area(short, 3, kind) == pytest.approx(learning_curve_area(full, 3, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_other_gaps_stay_unknown(kind):
  assert math.isnan(learning_curve_area([[NAN, 0.5, 0.6]], 2, kind))
  assert math.isnan(learning_curve_area([[0.1, NAN, 0.6]], 2, kind))
  assert math.isnan(learning_curve_area([[NAN, NAN], [0.1, 0.2]], 1, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_are_computed_one_by_one(kind):
  curves = np.random.default_rng(0).uniform(size=(3, 4, 6))
  together = learning_curve_area(curves, 5, kind)
  assert together == pytest.approx([learning_curve_area(c, 5, kind) for c in curves])


def test_bad_arguments():
  curves = np.zeros((2, 5))
  for beta in (-1, 2.0, True):
    with pytest.raises(ValueError, match="beta is"):
      learning_curve_area(curves, beta)
  with pytest.raises(ValueError, match=r"shape \(2, 5\), but beta=5 needs \[T, at least 6\]"):
    learning_curve_area(curves, 5)
  with pytest.raises(ValueError, match="kind is 'area', must be one of mean, trapezoid"):
    learning_curve_area(curves, 2, kind="area")
  with pytest.raises(ValueError, match="divide percent by 100"):
    learning_curve_area(curves + 50, 2)
  with pytest.raises(ValueError, match="numbers"):
    learning_curve_area([["a"]], 0)
