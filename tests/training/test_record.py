"""The record survives JSON exactly and averages diagnostics over the last epoch."""

import json

import numpy as np

from tagjax.training.record import RunRecord, from_lists, to_lists
from tagjax.training.schedule import Action


def test_lists_round_trip_with_nan():
  array = np.array([[1 / 3, np.nan], [2e-30, 4.0]])
  np.testing.assert_array_equal(from_lists(json.loads(json.dumps(to_lists(array)))), array)


def test_diagnostics_are_means_over_the_last_epoch():
  record = RunRecord.empty(num_lanes=1, num_tasks=2)
  first = Action("train", 0, 1, start=0, stop=2)
  record.add_diagnostics(first, 2, {"alpha": np.array([[[100.0, np.nan]]])})  # an earlier epoch
  record.add_diagnostics(first, 2, {"alpha": np.array([[[2.0, np.nan], [4.0, np.nan]]])})
  record = RunRecord.from_json(json.loads(json.dumps(record.to_json())))
  second = first._replace(start=2, stop=3)
  record.add_diagnostics(second, 1, {"alpha": np.array([[[4.0, np.nan], [8.0, np.nan]]])})
  tensors = record.end_epoch_diagnostics(0, 1)
  assert tensors == [{"alpha": [[2.0, None], [4.0, None]]}]
  assert record.diagnostics == {"alpha": [[None, [3.0, None]]]}


def test_diagnostics_of_seeds_side_by_side_stay_apart():
  record = RunRecord.empty(num_lanes=3, num_tasks=1)
  action = Action("train", 1, 0, start=0, stop=2)
  record.add_diagnostics(action, 2, {"alpha": np.array([[[2.0]], [[6.0]]])})
  assert record.end_epoch_diagnostics(1, 0) == [{"alpha": [[1.0]]}, {"alpha": [[3.0]]}]
  assert record.diagnostics == {"alpha": [[None], [[1.0]], [[3.0]]]}


def test_accuracy_so_far():
  record = RunRecord.empty(1, 3)
  assert record.accuracy_so_far(0, -1) is None
  assert record.accuracy_so_far(0, 1) is None
  record.accuracy[0][1] = [0.5, 1.0, None]
  assert record.accuracy_so_far(0, 1) == 0.75
