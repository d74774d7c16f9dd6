"""Stream, model and method made into a trainer: what is compiled, and with which sizes."""

import jax
import optax
import pytest

from tagjax.benchmarks import load_benchmark
from tagjax.core.errors import ConfigError
from tagjax.core.method import Method, identity
from tagjax.methods import ewc
from tagjax.models import MLP
from tagjax.training.assemble import as_method_of, assemble, describe_trainer, training_sizes
from tagjax.training.options import RunOptions
from tagjax.training.trainer import Trial
from tagjax.transforms import Columns


@pytest.fixture(scope="module")
def stream():
  return load_benchmark("split_digits", num_tasks=2, train_examples_per_task=23)


def test_a_method_a_transformation_and_a_function_are_methods():
  method = identity()
  assert as_method_of(method)({}) is method
  assert isinstance(as_method_of(optax.sgd(0.1))({}), Method)
  made = as_method_of(lambda hyper: ewc(hyper["strength"]))({"strength": 3.0})
  assert made.settings["strength"] == 3.0


def test_a_function_that_asks_is_told_how_its_state_is_shared():
  seen = []

  def method_of(hyper, columns=None):
    seen.append((hyper, columns))
    return optax.sgd(0.1)

  as_method_of(method_of)({"lr": 1.0}, columns=Columns())
  assert seen == [({"lr": 1.0}, Columns())]


@pytest.mark.parametrize(
  ("options", "sizes"),
  [
    (RunOptions(), [23, 23]),
    (RunOptions(protocol="joint"), [46, 46]),
    (RunOptions(batch_size=23, drop_last=True), [23, 23]),
  ],
)
def test_sizes_are_those_of_the_protocol(stream, options, sizes):
  assert training_sizes(stream, options) == sizes


def test_a_task_without_a_batch_is_refused(stream):
  message = r"^batch_size=24 is more than the 23 training examples of task 0, and drop_last leaves"
  with pytest.raises(ConfigError, match=message):
    training_sizes(stream, RunOptions(batch_size=24, drop_last=True))


def test_nothing_is_compiled_and_all_trials_have_a_place(stream):
  trials = [Trial(seed) for seed in range(1, 6)]
  options = RunOptions(seeds=5, seeds_together=3, batch_size=10)
  trainer, forecast = assemble(stream, MLP(10, hidden=(3,)), ewc(1.0), trials, options)
  assert not trainer.programs.traces
  assert [list(group) for group in trainer.groups] == [[0, 1, 2], [3, 4]]
  keys, _ = trainer.start(trainer.groups[1])
  assert jax.random.key_data(keys)[:, 1].tolist() == [4, 5, 5]  # a whole group
  assert trainer.steps_per_epoch == [3, 3]
  assert forecast.seeds == 3
  names = describe_trainer(trainer)["tensor_names"]
  assert names == ["head/bias", "head/kernel", "hidden0/bias", "hidden0/kernel"]


def test_hyperparameters_of_the_trials_are_inputs(stream):
  trials = [Trial(1, {"lr": 0.1}), Trial(1, {"lr": 0.2})]
  trainer, _ = assemble(
    stream, MLP(10, hidden=(3,)), lambda h: optax.sgd(h["lr"]), trials, RunOptions()
  )
  keys, hyper = trainer.start(trainer.groups[0])
  assert keys.shape == (2,)
  assert hyper["lr"].tolist() == pytest.approx([0.1, 0.2])
