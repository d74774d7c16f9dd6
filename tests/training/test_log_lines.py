"""What a record knows is told line by line, trial after trial and task after task."""

from tagjax.training.log_lines import lines_of
from tagjax.training.record import RunRecord

FIRST, SECOND = {"seed": 3}, {"seed": 4, "rate": 0.1}


def test_nothing_measured_is_no_line():
  assert list(lines_of(RunRecord.empty(2, 3), [FIRST, SECOND])) == []


def test_each_figure_has_its_line_and_its_place():
  record = RunRecord.empty(2, 2)
  record.baseline[0] = [0.1, 0.2]
  record.curves[0][0] = [0.3, 0.4]
  record.validation[0][0] = [[0.5], [0.6]]
  record.epoch_validation[0][1] = [[0.7, 0.8]]
  record.peak[0][1] = 0.0  # not the same as none
  record.chosen_epoch[0][0] = 0
  record.growth = {"parameters": [[5, 6], [None, None]]}
  record.outcomes = {"kept": [[[1], [2]], [None, None]]}
  record.accuracy[0] = [[0.9, None], [0.8, 0.7]]
  record.accuracy[1][0] = [0.6, None]
  first, second = FIRST | {"task": 0}, FIRST | {"task": 1}
  assert list(lines_of(record, [FIRST, SECOND])) == [
    FIRST | {"accuracy_untrained": [0.1, 0.2]},
    first | {"minibatch": 0, "task_accuracy": 0.3},
    first | {"minibatch": 1, "task_accuracy": 0.4},
    first | {"epoch": 0, "validation_accuracy": [0.5]},
    first | {"epoch": 1, "validation_accuracy": [0.6]},
    first | {"chosen_epoch": 0},
    first | {"parameters": 5, "outcome": {"kept": [1]}},
    first | {"accuracy_after_task": [0.9, None]},
    second | {"epoch": 0, "epoch_validation": [0.7, 0.8]},
    second | {"peak_accuracy": 0.0},
    second | {"parameters": 6, "outcome": {"kept": [2]}},
    second | {"accuracy_after_task": [0.8, 0.7]},
    SECOND | {"task": 0, "accuracy_after_task": [0.6, None]},
  ]
