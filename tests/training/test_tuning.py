"""The options of the two stages of the protocol."""

import dataclasses

import pytest

from tagjax.core.errors import ConfigError
from tagjax.training.options import RunOptions
from tagjax.training.tuning import TuningOptions, judging_options, tuning_options

OPTIONS = RunOptions(epochs=(5, 4, 1), learning_curve_batches=10, seeds=3)


def test_the_first_stage_records_no_curves_and_is_scored_on_validation_examples():
  options = tuning_options(OPTIONS, TuningOptions(2))
  changed = {"epochs": (5, 4), "evaluate_on": "validation", "learning_curve_batches": None}
  assert options == dataclasses.replace(OPTIONS, **changed)
  assert tuning_options(OPTIONS, TuningOptions(2, legacy=True)).evaluate_on == "test"
  assert tuning_options(OPTIONS, TuningOptions(2, epochs=7)).epochs == 7


def test_it_chooses_for_all_tasks_at_once_too():
  joint = RunOptions(protocol="joint")
  assert tuning_options(joint, TuningOptions(1)).protocol == "joint"


def test_the_second_stage_has_the_last_epochs_of_a_list():
  assert judging_options(OPTIONS, TuningOptions(2)) == dataclasses.replace(OPTIONS, epochs=(1,))
  same = RunOptions(epochs=2)
  assert judging_options(same, TuningOptions(2)) == same


@pytest.mark.parametrize("name", ["tasks", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_numbers_out_of_range_are_named(name, value):
  with pytest.raises(ConfigError, match=rf"tuning.{name}={value}: must be a whole number, at lea"):
    TuningOptions(**{name: value})
