"""Every option has its range, and is refused in one line with its name, value and way out."""

import dataclasses
import re
from typing import get_args

import pytest

from tagjax.core.errors import ConfigError
from tagjax.core.register import signature_options
from tagjax.input_pipeline.augmentation import Augmentation
from tagjax.input_pipeline.normalization import NORMALIZATIONS
from tagjax.training import options as options_module
from tagjax.training.fit import make_options
from tagjax.training.options import RunOptions
from tagjax.training.trainer import num_steps

LARGEST = {
  "epochs": 10**6,
  "batch_size": 10**7,
  "seeds": 10**4,
  "seed": 2**31 - 1,
  "learning_curve_batches": 10**4,
}
LEAST = {
  "batch_size": 1,
  "cycles": 1,
  "data_parallel": 1,
  "seeds": 1,
  "seed": 0,
  "seeds_together": 1,
  "eval_batch_size": 1,
  "continuum": 1,
  "top_k": 1,
  "learning_curve_batches": 0,
  "checkpoint_every": 0,
  "keep_checkpoints": 1,
  "chunk_steps": 1,
}


def refused(message, **changes):
  with pytest.raises(ConfigError, match=message) as error:
    RunOptions(**changes)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", LEAST)
def test_whole_numbers_have_a_least_value(name):
  least = LEAST[name]
  assert getattr(RunOptions(**{name: least}), name) == least
  refused(rf"^{name}={least - 1}: must be at least {least}$", **{name: least - 1})


@pytest.mark.parametrize("name", LARGEST)
def test_and_a_largest_one(name):
  largest = LARGEST[name]
  assert getattr(RunOptions(**{name: largest}), name) == largest
  refused(rf"^{name}={largest + 1}: must be at most {largest}$", **{name: largest + 1})


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [1.5, "1", True, None])
def test_nothing_else_is_a_whole_number(name, value):
  # As many seeds as have room, and no learning curve.
  if value is None and name in ("seeds_together", "learning_curve_batches"):
    assert getattr(RunOptions(**{name: None}), name) is None
  else:
    refused(rf"^{name}={value!r}: must be a whole number$", **{name: value})


@pytest.mark.parametrize(
  ("name", "choices"),
  [
    ("protocol", get_args(options_module.Protocol)),
    ("seed_axis", get_args(options_module.SeedAxis)),
    ("evaluate_on", get_args(options_module.Part)),
    ("select_epoch", get_args(options_module.Chosen)),
    ("normalization", tuple(NORMALIZATIONS)),
  ],
)
def test_choices_are_closed(name, choices):
  for choice in choices:
    assert getattr(RunOptions(**{name: choice}), name) == choice
  refused(
    rf"^{name}='{choices[0]}x' is unknown .did you mean {choices[0]}", **{name: choices[0] + "x"}
  )
  refused(rf"^{name}='qq' is unknown. There are: {', '.join(choices)}$", **{name: "qq"})


def test_definitions_of_forgetting_are_those_of_the_metrics():
  refused(
    r"^forgetting='gem' is unknown .did you mean agem.*There are: agem, agem-ref, tag",
    forgetting="gem",
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"crop": -1}, r"^augmentation.crop=-1: must be at least 0$"),
    ({"rotation": -1.0}, r"^augmentation.rotation=-1.0: must be in degrees, 0 to 180$"),
    ({"rotation": 181.0}, r"^augmentation.rotation=181.0: must be in degrees"),
    ({"rotation": float("nan")}, r"^augmentation.rotation=nan: must be in degrees"),
    ({"colour": 1.1}, r"^augmentation.colour=1.1: must be in \[0, 1\]$"),
    ({"resized_crop": 1.5}, r"^augmentation.resized_crop=1.5: must be in \[0, 1\]$"),
    ({"colour": -0.1}, r"^augmentation.colour=-0.1: must be in \[0, 1\]$"),
  ],
)
def test_augmentations_have_their_ranges(changes, message):
  refused(message, augmentation=Augmentation(**changes))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"batch_size": 10, "data_parallel": 3},
      "^batch_size=10 cannot be shared by data_parallel=3 devices: choose a multiple of it$",
    ),
    ({"shard_state": True}, "^shard_state=True: one device alone .*set data_parallel as well$"),
    (
      {"seed_axis": "devices", "data_parallel": 2},
      "^seed_axis='devices' leaves no devices to data_parallel=2: choose one of the two$",
    ),
    (
      {"protocol": "joint", "learning_curve_batches": 3},
      "^protocol='joint': learns no task by itself; no learning_curve_batches$",
    ),
  ],
)
def test_options_that_contradict_each_other(changes, message):
  refused(message, **changes)


@pytest.mark.parametrize("epochs", [1.5, "1", True, None, (), (3, 1.0), [3, 3]])
def test_epochs_are_whole_numbers(epochs):
  message = f"epochs={epochs!r}: must be a whole number"
  refused(f"^{re.escape(message)}$", epochs=epochs)


@pytest.mark.parametrize("epochs", [0, (3, 0)])
def test_there_is_at_least_one_epoch(epochs):
  refused(f"^{re.escape(f'epochs={epochs!r}: must be at least 1')}$", epochs=epochs)


def test_epochs_of_each_task():
  assert options_module.epochs_by_task(4, 3) == (4, 4, 4)
  assert options_module.epochs_by_task((5, 20), 2) == (5, 20)
  with pytest.raises(ConfigError, match=r"^epochs=\(5, 20\): has 2 numbers for 3 tasks: give one"):
    options_module.epochs_by_task((5, 20), 3)


def test_options_are_a_value():
  options = RunOptions(seeds=3)
  assert options == RunOptions(seeds=3)
  with pytest.raises(dataclasses.FrozenInstanceError):
    options.seeds = 4


def test_every_option_is_explained():
  for name, option in signature_options(RunOptions).items():
    assert len(option.text) > 10, name


def test_changes_are_fields_of_the_options():
  base = RunOptions(epochs=3)
  assert make_options(base, {"seeds": 2}) == RunOptions(epochs=3, seeds=2)
  assert make_options(None, {}) == RunOptions()
  with pytest.raises(ConfigError, match=r"^epoch is no option of a run .did you mean epochs"):
    make_options(None, {"epoch": 3})


@pytest.mark.parametrize(
  ("size", "drop_last", "steps"),
  [(1, False, 1), (10, False, 1), (11, False, 2), (9, True, 0), (10, True, 1), (19, True, 1)],
)
def test_the_last_smaller_batch_is_taken_or_left(size, drop_last, steps):
  assert num_steps(RunOptions(batch_size=10, drop_last=drop_last), size) == steps


def test_augmentation_is_of_its_own_type():
  with pytest.raises(ConfigError, match=r"^augmentation=\{'crop': 2\}: must be a tagjax"):
    RunOptions(augmentation={"crop": 2})


def test_the_lengths_of_the_continuum():
  refused(r"^continuum_lengths=\(1, 0\): must be at least 1$", continuum_lengths=(1, 0))
  refused(r"^continuum_lengths=\(1, 2\.5\): must be a whole", continuum_lengths=(1, 2.5))
  assert not RunOptions().records_details
  for changes in ({"continuum": 2}, {"continuum_lengths": (1,)}, {"top_k": 5}):
    assert RunOptions(**changes).records_details
  assert RunOptions(confusion_matrix=True).records_details
