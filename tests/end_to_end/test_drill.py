"""A sample of `make drill`: some trials of each row."""

import itertools

import drill
import pytest
import trials

# One of so many trials is made; where a row trains first, its first ones.
EVERY = {
  "bad command lines and values": 47,
  "config files with faults": 6,
  "prepared data sets": 21,
  "pictures": 5,
  "results of others, compared": 4,
}


@pytest.mark.parametrize("row", EVERY)
def test_attacks_are_answered(row, launch, tmp_path):
  some = itertools.islice(drill.trials_of(row, tmp_path, launch), 0, None, EVERY[row])
  found = list(trials.attempt(some, launch))
  assert len(found) > 1
  assert [(one.name, one.fault) for one in found if one.fault] == []


def test_folders_of_runs(launch, tmp_path):
  some = itertools.islice(drill.workdirs(tmp_path, launch), 0, None, 7)
  found = list(trials.attempt(some, launch))
  assert len(found) > 3
  assert [(one.name, one.fault) for one in found if one.fault] == []


def test_checkpoints_of_others(launch, tmp_path):
  for row, every in ((drill.other_settings, 9), (drill.changed_data, 2)):
    (tmp_path / row.__name__).mkdir()
    some = itertools.islice(row(tmp_path / row.__name__, launch), 0, None, every)
    found = list(trials.attempt(some, launch))
    assert len(found) > 1
    assert [(one.name, one.fault) for one in found if one.fault] == []


def test_the_drill_notices_what_is_wrong():
  fine = trials.Trial("fine", ())
  ended = trials.Ended(1, "", "error: one line\n", 1.0)
  assert trials.fault_of(fine, ended) == ""
  for changes, fault in (
    ({"stderr": "Traceback\nerror: x"}, "a traceback"),
    ({"stderr": "error: \x1b[2J"}, "control characters"),
    ({"stderr": "error: one\nerror: two"}, "no line"),
    ({"stderr": "killed"}, "no line"),
    ({"processor": 1000.0}, "1000 seconds"),
    ({"peak": 2**21}, "2048 MiB"),
    ({"code": 0}, "it ended well"),
  ):
    assert fault in trials.fault_of(fine, ended._replace(**changes))
  assert trials.fault_of(fine._replace(unharmed=lambda: False), ended) == "harm was done"
