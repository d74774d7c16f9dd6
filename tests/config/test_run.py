"""From settings to a run: what the parts refuse is told with the key of the config."""

import pytest

from tagjax.config.run import make_parts, run_config
from tagjax.config.settings import typed
from tagjax.core.errors import ConfigError

SMALL = {
  "benchmark": "split_digits",
  "train_examples_per_task": 12,
  "test_examples_per_task": 5,
  "mlp.hidden": (4,),
}


def test_parts_are_made_of_names():
  parts = make_parts(typed({**SMALL, "method": "ewc", "epochs": 2, "batch_size": 5}))
  assert (parts.stream.name, len(parts.stream)) == ("split_digits", 5)
  assert parts.model.hidden == (4,)
  assert parts.method({}).name == "ewc+sgd"
  assert parts.options.epochs == 2


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_tasks": 3}, r"^config.num_tasks=3, which does not divide the 10 classes: choose"),
    ({"end_task": 9}, r"^config.end_task=9: choose .*the number of tasks|^config.first_task=0"),
    (
      {"batch_size": 100, "drop_last": True},
      r"^config.batch_size=100 is more than the 12 training examples of task 0.*smaller batch",
    ),
    ({"data_parallel": 5}, r"^config.data_parallel=5, but there are 4 devices"),
    (
      {"model": "alexnet"},
      r"^config.model=.alexnet.: image has shape .1, 8, 8, 1.: .*larger images",
    ),
    (
      {"normalization": "imagenet"},
      r"^config.normalization='imagenet' is for images of 3 channels",
    ),
    ({"freeze": ("hiden*",)}, r"^config.freeze=.*matches no parameter"),
    ({"ewc.variant": "tag-ref", "method": "ewc", "scenario": "class"}, r"^config.ewc.variant='tag"),
  ],
  ids=str,
)
def test_what_does_not_fit_is_one_line_with_the_key(changes, message):
  with pytest.raises(ConfigError, match=message) as error:
    run_config({**SMALL, **changes}, None, progress=False)
  assert "\n" not in str(error.value)


def test_a_grid_is_not_profiled():
  settings = {**SMALL, "sweep": {"learning_rate": [0.1]}, "validation_fraction": 0.25}
  with pytest.raises(ConfigError, match=r"config.sweep does not go with --profile"):
    run_config(settings, None, profile=True)
