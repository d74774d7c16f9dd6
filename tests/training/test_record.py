"""The record survives JSON exactly and averages diagnostics over the last epoch."""

import json

import numpy as np
import pytest

from tagjax.core.errors import WorkdirError
from tagjax.core.types import PartlyDefined
from tagjax.training.record import RunRecord, from_lists, to_lists


def reopened(record):
  return RunRecord.from_json(json.loads(json.dumps(record.to_json())))


@pytest.mark.parametrize(
  "changes", [{"more": 1}, {"accuracy": None}, {"diverged": []}, {"metrics_bytes": -1}]
)
def test_a_record_of_another_form_is_one_line(changes):
  with pytest.raises(WorkdirError, match="of another form"):
    RunRecord.from_json({**RunRecord.empty(1, 2).to_json(), **changes})


def test_lists_round_trip_with_nan():
  array = np.array([[1 / 3, np.nan], [2e-30, 4.0]])
  np.testing.assert_array_equal(from_lists(json.loads(json.dumps(to_lists(array)))), array)


def test_an_empty_record_has_a_place_for_everything():
  record = RunRecord.empty(num_trials=2, num_tasks=3)
  assert np.shape(record.accuracy) == (2, 3, 3)
  assert np.shape(record.baseline) == (2, 3)
  assert [len(curves) for curves in record.curves] == [3, 3]
  assert record.diverged == [None, None]
  assert set(record.seconds) == {"compile", "train", "evaluate", "total"}
  assert reopened(record) == record


def test_rows_of_an_empty_record_are_not_one_row():
  record = RunRecord.empty(2, 2)
  record.accuracy[0][0][0] = 1.0
  record.curves[1][0].append(0.5)
  assert sum(value is not None for rows in record.accuracy for row in rows for value in row) == 1
  assert record.curves == [[[], []], [[0.5], []]]


def test_diagnostics_are_means_over_the_last_epoch():
  record = RunRecord.empty(num_trials=1, num_tasks=2)
  earlier = {"alpha": np.array([[[100.0, np.nan]]])}
  record.add_diagnostics(2, earlier, anew=True)
  value = np.array([[[2.0, 0.0], [4.0, 0.0]]])
  record.add_diagnostics(2, {"alpha": PartlyDefined(value, value > 0)}, anew=True)
  record = reopened(record)
  record.add_diagnostics(1, {"alpha": np.array([[[4.0, np.nan], [8.0, np.nan]]])}, anew=False)
  tensors = record.end_epoch_diagnostics(0, 1)
  assert tensors == [{"alpha": [[2.0, None], [4.0, None]]}]
  assert record.diagnostics == {"alpha": [[None, [3.0, None]]]}


def test_diagnostics_of_trials_side_by_side_stay_apart():
  record = RunRecord.empty(num_trials=3, num_tasks=1)
  record.add_diagnostics(2, {"alpha": np.array([[[2.0]], [[6.0]]])}, anew=True)
  assert record.end_epoch_diagnostics(1, 0) == [{"alpha": [[1.0]]}, {"alpha": [[3.0]]}]
  assert record.diagnostics == {"alpha": [[None], [[1.0]], [[3.0]]]}


def test_without_diagnostics_nothing_is_kept():
  record = RunRecord.empty(num_trials=1, num_tasks=1)
  record.add_diagnostics(2, {}, anew=True)
  assert record.end_epoch_diagnostics(0, 0) == []
  assert record.diagnostics == {}


@pytest.mark.parametrize(
  ("rows", "task", "expected"),
  [
    ([[0.5, None], [0.25, 0.75]], -1, None),
    ([[0.5, None], [0.25, 0.75]], 0, 0.5),
    ([[0.5, None], [0.25, 0.75]], 1, 0.5),
    ([[0.5, None], [None, 0.75]], 1, None),
  ],
)
def test_accuracy_so_far_is_the_mean_of_what_has_been_learned(rows, task, expected):
  record = RunRecord.empty(1, 2)
  record.accuracy[0] = rows
  assert record.accuracy_so_far(0, task) == expected


def test_counts_are_kept_after_each_task_and_the_confusion_of_the_last_one():
  record = RunRecord.empty(num_trials=2, num_tasks=3)
  for task in range(2):
    counts = {
      "task": np.array([task + 1, 7]),
      "plain": np.int64(4),
      "confusion": np.eye(2, dtype=int),
    }
    record.add_counts(1, task, counts, to_former=task == 1)
  record = reopened(record)
  assert record.counts["task"] == [[None] * 3, [[1, 7], [3, 14], None]]
  assert record.counts["plain"][1] == [4, 8, None]
  assert record.counts["confusion"][1] == [None, [[2, 0], [0, 2]], None]


def test_records_of_some_of_the_trials_are_joined():
  one, two = RunRecord.empty(num_trials=2, num_tasks=1), RunRecord.empty(num_trials=1, num_tasks=1)
  one.accuracy[1][0][0], two.accuracy[0][0][0] = 0.5, 0.75
  two.baseline[0][0], two.curves[0][0] = 0.1, [0.2, 0.3]
  two.diverged[0] = {"task": 0, "step": 7}
  one.exemplars, two.exemplars = {"1/0": 4}, {"0/0": 5, "0/1": 6}
  one.diagnostics, two.diagnostics = {"alpha": [[1.0], [2.0]]}, {"alpha": [[3.0]]}
  for record, trial in ((one, 0), (one, 1), (two, 0)):
    record.add_counts(trial, 0, {"task": np.array([trial, 5])}, to_former=False)
    record.add_growth(trial, 0, {"bytes": 7 + trial}, {"units": np.array([2, 3])}, to_former=False)
  one.steps, two.steps, one.metrics_bytes, two.metrics_bytes = 3, 4, 10, 20
  one.seconds["train"], two.seconds["train"] = 1.0, 2.5
  whole = RunRecord.join([reopened(one), reopened(two)])
  assert whole.accuracy == [[[None]], [[0.5]], [[0.75]]]
  assert (whole.baseline, whole.curves) == ([[None], [None], [0.1]], [[[]], [[]], [[0.2, 0.3]]])
  assert whole.diverged == [None, None, {"task": 0, "step": 7}]
  assert whole.exemplars == {"1/0": 4, "2/0": 5, "2/1": 6}
  assert whole.diagnostics == {"alpha": [[1.0], [2.0], [3.0]]}
  whole.flops = {"step/a": [1.0, 5.0], "step/b": [2.0, 3.0], "evaluation": None}
  assert whole.flops_by_task() == {"step_flops": [2.0, 5.0]}
  assert whole.growth == {"bytes": [[7], [8], [7]]}
  assert whole.outcomes == {"units": [[[2, 3]]] * 3}
  assert whole.counts == {"task": [[[0, 5]], [[1, 5]], [[0, 5]]]}
  assert (whole.steps, whole.metrics_bytes, whole.seconds["train"]) == (7, 30, 3.5)
  whole.seconds["train"] = 3.0
  parts = RunRecord.join([whole.part([trial]) for trial in range(3)])
  whole.exemplars, whole.steps, whole.metrics_bytes = {}, 3 * whole.steps, 3 * whole.metrics_bytes
  assert parts == whole
  part = whole.part([2, 0])
  assert (part.accuracy, part.growth["bytes"]) == ([[[0.75]], [[None]]], [[7], [7]])
  assert part.seconds["train"] == 2.0
