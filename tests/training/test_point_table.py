"""What a grid's table says of a point."""

from tagjax.training.options import RunOptions
from tagjax.training.point_table import row_of
from tagjax.training.record import RunRecord


def test_a_row_is_there_when_all_seeds_have_ended():
  options = RunOptions(seeds=2)
  record = RunRecord.empty(num_trials=4, num_tasks=2)
  assert row_of({"lr": 1.0}, record, 1, options) is None
  record.accuracy[2:] = [[[1.0, None], [0.5, 1.0]]] * 2
  found = row_of({"lr": 1.0}, record, 1, options)
  assert found["average_accuracy"]["mean"] == 0.75
  assert found["diverged_seeds"] == []
  record.diverged[3] = {"task": 0, "step": 1}
  found = row_of({"lr": 1.0}, record, 1, options)
  assert (found["average_accuracy"], found["diverged_seeds"]) == (None, [2])
