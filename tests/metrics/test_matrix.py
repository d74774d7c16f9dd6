"""The metrics of the accuracy matrix against worked examples, identities and plain loops."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagjax import metrics

NAN = float("nan")
EXAMPLE = np.array([[80, NAN, NAN], [70, 90, NAN], [75, 95, 60]]) / 100

FUNCTIONS = {
  "average_accuracy": metrics.average_accuracy,
  "forgetting": metrics.forgetting,
  "worst_case_forgetting": metrics.worst_case_forgetting,
  "learning_accuracy": metrics.learning_accuracy,
  "backward_transfer": metrics.backward_transfer,
}


def full_matrices(min_tasks=1, max_tasks=6):
  sizes = st.integers(min_tasks, max_tasks)
  return sizes.flatmap(lambda t: hnp.arrays(np.float64, (t, t), elements=st.floats(0, 1)))


def lower(matrix):
  """Future tasks not evaluated."""
  return np.where(np.tri(len(matrix), dtype=bool), matrix, NAN)


def test_worked_example():
  assert metrics.average_accuracy(EXAMPLE) == pytest.approx(0.766667, abs=1e-6)
  assert metrics.learning_accuracy(EXAMPLE) == pytest.approx(0.766667, abs=1e-6)
  assert metrics.forgetting(EXAMPLE, definition="tag") == pytest.approx(0.025)
  assert metrics.forgetting(EXAMPLE, definition="agem") == pytest.approx(0.0, abs=1e-15)
  assert metrics.forgetting(EXAMPLE) == metrics.forgetting(EXAMPLE, definition="agem")
  assert metrics.forgetting(EXAMPLE, definition="diagonal") == pytest.approx(0.0, abs=1e-15)
  assert metrics.backward_transfer(EXAMPLE) == pytest.approx(0.0, abs=1e-15)
  assert metrics.worst_case_forgetting(EXAMPLE) == pytest.approx(0.05)


def test_definitions_of_forgetting_differ_where_they_should():
  # Task 0 improves after it was learned, then loses; task 1 only improves.
  matrix = [[0.5, NAN, NAN], [0.9, 0.4, NAN], [0.6, 0.8, 0.7]]
  assert metrics.forgetting_per_task(matrix, "agem") == pytest.approx([0.3, -0.4])
  assert metrics.forgetting_per_task(matrix, "tag") == pytest.approx([0.3, 0.0])
  assert metrics.forgetting_per_task(matrix, "diagonal") == pytest.approx([-0.1, -0.4])
  assert metrics.forgetting(matrix, "agem") == pytest.approx(-0.05)
  assert metrics.forgetting(matrix, "tag") == pytest.approx(0.15)
  assert metrics.forgetting(matrix, "diagonal") == pytest.approx(-0.25)


def test_zero_shot_accuracies_are_not_forgotten():
  # Task 1 scored 1.0 before it was learned: a maximum over all rows would take that.
  matrix = [[0.9, 1.0], [0.8, 0.7]]
  assert metrics.forgetting(matrix, "agem") == pytest.approx(0.1)
  three = [[0.9, 1.0, 1.0], [0.9, 0.5, 1.0], [0.9, 0.5, 0.5]]
  assert metrics.forgetting(three, "tag") == 0.0


def test_after_looks_at_an_earlier_moment():
  assert metrics.average_accuracy(EXAMPLE, after=0) == pytest.approx(0.8)
  assert metrics.average_accuracy(EXAMPLE, after=1) == pytest.approx(0.8)
  assert metrics.forgetting(EXAMPLE, after=1) == pytest.approx(0.1)
  assert metrics.worst_case_forgetting(EXAMPLE, after=1) == pytest.approx(0.1)
  assert math.isnan(metrics.forgetting(EXAMPLE, after=0))


def test_forward_transfer_reads_the_diagonal_above():
  matrix = [[0.9, 0.4, 0.2], [0.8, 0.9, 0.5], [0.7, 0.8, 0.9]]
  assert metrics.forward_transfer(matrix, [NAN, 0.1, 0.2]) == pytest.approx((0.3 + 0.3) / 2)
  assert math.isnan(metrics.forward_transfer(lower(np.array(matrix)), [0.1, 0.1, 0.1]))


def test_one_task_has_no_forgetting_or_transfer():
  assert metrics.average_accuracy([[0.9]]) == 0.9
  assert metrics.learning_accuracy([[0.9]]) == 0.9
  for definition in ("agem", "tag", "diagonal"):
    assert math.isnan(metrics.forgetting([[0.9]], definition))
  assert math.isnan(metrics.worst_case_forgetting([[0.9]]))
  assert math.isnan(metrics.backward_transfer([[0.9]]))
  assert math.isnan(metrics.forward_transfer([[0.9]], [0.1]))
  assert metrics.forgetting(np.full((4, 1, 1), 0.9)).shape == (4,)


def test_what_was_not_evaluated_makes_figures_nan_but_not_the_maximum():
  only_last_row = np.array([[NAN, NAN], [0.5, 0.9]])
  assert metrics.average_accuracy(only_last_row) == pytest.approx(0.7)
  assert math.isnan(metrics.learning_accuracy(only_last_row))
  assert math.isnan(metrics.backward_transfer(only_last_row))
  assert math.isnan(metrics.forgetting(only_last_row, "agem"))
  gap = np.array([[0.8, NAN, NAN], [NAN, 0.9, NAN], [0.7, 0.85, 0.9]])
  assert metrics.forgetting(gap, "agem") == pytest.approx((0.1 + 0.05) / 2)
  unfinished = np.array([[0.8, NAN], [NAN, NAN]])
  assert math.isnan(metrics.average_accuracy(unfinished))
  assert metrics.average_accuracy(unfinished, after=0) == 0.8
  assert math.isnan(metrics.forgetting(unfinished, "tag"))
  one_missing = np.array([[0.8, NAN, NAN], [0.8, 0.9, NAN], [NAN, 0.85, 0.9]])
  assert math.isnan(metrics.worst_case_forgetting(one_missing))


def test_null_of_json_is_not_evaluated():
  stored = json.loads("[[0.8, null, null], [0.7, 0.9, null], [0.75, 0.95, 0.6]]")
  assert metrics.average_accuracy(stored) == metrics.average_accuracy(EXAMPLE)
  assert metrics.forgetting(stored, "tag") == metrics.forgetting(EXAMPLE, "tag")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_seeds_are_computed_one_by_one(name):
  rng = np.random.default_rng(0)
  matrices = rng.uniform(size=(2, 3, 4, 4))
  together = FUNCTIONS[name](matrices)
  assert together.shape == (2, 3)
  for index in np.ndindex(2, 3):
    alone = FUNCTIONS[name](matrices[index])
    assert type(alone) is float
    assert together[index] == pytest.approx(alone, rel=1e-14)


def test_forward_transfer_of_several_seeds():
  rng = np.random.default_rng(1)
  matrices, baseline = rng.uniform(size=(3, 4, 4)), rng.uniform(size=(3, 4))
  together = metrics.forward_transfer(matrices, baseline)
  alone = [metrics.forward_transfer(m, r) for m, r in zip(matrices, baseline, strict=True)]
  assert together == pytest.approx(alone)
  shared = metrics.forward_transfer(matrices, baseline[0])
  assert shared[2] == pytest.approx(metrics.forward_transfer(matrices[2], baseline[0]))


@given(full_matrices())
def test_formulas_as_plain_loops(matrix):
  num_tasks = len(matrix)
  last = num_tasks - 1
  assert metrics.average_accuracy(matrix) == pytest.approx(sum(matrix[last]) / num_tasks)
  diagonal = [matrix[j, j] for j in range(num_tasks)]
  assert metrics.learning_accuracy(matrix) == pytest.approx(sum(diagonal) / num_tasks)
  if num_tasks == 1:
    return
  agem = [max(matrix[j:last, j]) - matrix[last, j] for j in range(last)]
  assert metrics.forgetting(matrix) == pytest.approx(sum(agem) / last, abs=1e-12)
  assert metrics.worst_case_forgetting(matrix) == pytest.approx(max(agem), abs=1e-12)
  forward = [matrix[j - 1, j] - 0.1 for j in range(1, num_tasks)]
  baseline = np.full(num_tasks, 0.1)
  assert metrics.forward_transfer(matrix, baseline) == pytest.approx(sum(forward) / last, abs=1e-12)


@given(full_matrices())
def test_future_tasks_do_not_count(matrix):
  for function in FUNCTIONS.values():
    np.testing.assert_array_equal(function(matrix), function(lower(matrix)))
  tag = [metrics.forgetting(m, "tag") for m in (matrix, lower(matrix))]
  np.testing.assert_array_equal(*tag)


@given(full_matrices(min_tasks=2))
def test_average_is_learning_accuracy_plus_backward_transfer(matrix):
  num_tasks = len(matrix)
  total = metrics.backward_transfer(matrix) * (num_tasks - 1) / num_tasks
  assert metrics.average_accuracy(matrix) == pytest.approx(
    metrics.learning_accuracy(matrix) + total, abs=1e-12
  )


@given(full_matrices(min_tasks=2))
def test_relations_between_the_definitions(matrix):
  agem = metrics.forgetting_per_task(matrix, "agem")
  tag = metrics.forgetting_per_task(matrix, "tag")
  diagonal = metrics.forgetting_per_task(matrix, "diagonal")
  np.testing.assert_array_equal(tag, np.maximum(agem, 0))
  assert np.all(diagonal <= agem)
  assert np.all(np.abs(agem) <= 1)
  assert metrics.forgetting(matrix, "tag") >= 0
  assert metrics.forgetting(matrix, "diagonal") == pytest.approx(
    -metrics.backward_transfer(matrix), abs=1e-15
  )


@given(full_matrices(min_tasks=2), st.data())
def test_after_equals_a_run_that_stopped_there(matrix, data):
  after = data.draw(st.integers(0, len(matrix) - 1))
  stopped = matrix[: after + 1, : after + 1]
  for function in (metrics.average_accuracy, metrics.forgetting, metrics.worst_case_forgetting):
    np.testing.assert_array_equal(function(matrix, after=after), function(stopped))


def test_accuracies_are_averaged_in_double_precision():
  matrix = np.full((3, 3), 0.1, np.float32)
  assert metrics.average_accuracy(matrix) == pytest.approx(float(np.float32(0.1)), rel=1e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
  ("matrix", "words"),
  [
    (np.zeros((2, 3)), r"shape \(2, 3\)"),
    (np.zeros(3), "square"),
    (np.zeros((0, 0)), "square"),
    ([[80.0]], "divide percent by 100"),
    ([[-0.1]], "fractions"),
    ([[float("inf")]], "fractions"),
    ([["a"]], "numbers"),
    ([[0.1, 0.2], [0.3]], "numbers"),
  ],
)
def test_matrices_that_are_none(name, matrix, words):
  with pytest.raises(ValueError, match=words) as caught:
    FUNCTIONS[name](matrix)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("after", [3, -1, 1.0, True, "last"])
def test_after_must_be_a_task(after):
  with pytest.raises(ValueError, match=r"after is .* 0 to 2"):
    metrics.average_accuracy(EXAMPLE, after=after)
  with pytest.raises(ValueError, match=r"after is .* 0 to 2"):
    metrics.forgetting(EXAMPLE, after=after)


def test_unknown_definition_and_wrong_baseline():
  with pytest.raises(ValueError, match="'gem', must be one of agem, agem-ref, tag, diagonal"):
    metrics.forgetting(EXAMPLE, definition="gem")
  with pytest.raises(ValueError, match=r"baseline has shape \(2,\)"):
    metrics.forward_transfer(EXAMPLE, [0.1, 0.1])
  with pytest.raises(ValueError, match="baseline holds 10"):
    metrics.forward_transfer(EXAMPLE, [10.0, 10.0, 10.0])
