"""Benchmarks by their declarations: those of the table, and functions of one's own."""

import numpy as np
import pytest

from tagjax.benchmarks import Stream, load_declared, names
from tagjax.benchmarks.declared import check_declared
from tagjax.benchmarks.load import load_benchmark
from tagjax.core.register import declared, find, forget, register, signature_options

COMMON = {name: option.default for name, option in signature_options(load_benchmark).items()}


def stream_of(num_tasks, data_seed=0, noise=0.0):
  rng = np.random.default_rng(data_seed)
  image = (rng.uniform(size=(20, 3)) + noise).astype(np.float32)
  label = np.arange(20) % 2
  return Stream.from_arrays("lab", [(image, label, image, label)] * num_tasks, scenario="domain")


@pytest.fixture
def lab():
  """A stream of one's own, with an option."""

  @register("lab_stream", kind="benchmark")
  def lab_stream(num_tasks: int | None = None, data_seed: int = 0, noise: float = 0.0):
    """Vectors of noise."""
    return stream_of(num_tasks or 3, data_seed, noise)

  yield find("lab_stream")
  forget("lab_stream")


def test_every_name_is_declared_and_says_what_it_is():
  found = declared("benchmark")
  assert tuple(found) == names()
  assert all("-incremental: " in one.summary for one in found.values())


def test_ours_take_the_options_of_load_benchmark():
  common = COMMON | {"num_tasks": 5, "train_examples_per_task": 12, "scenario": "class"}
  stream = load_declared(find("split_digits"), common, {})
  same = load_benchmark("split_digits", num_tasks=5, train_examples_per_task=12, scenario="class")
  assert (stream.sizes, stream.spec.scenario) == (same.sizes, "class")


def test_ones_own_gets_what_it_names(lab):
  stream = load_declared(lab, COMMON | {"num_tasks": 4, "data_seed": 7}, {"noise": 2.0})
  expected = stream_of(4, 7, 2.0)
  assert len(stream) == 4
  np.testing.assert_array_equal(stream[0].train.image, expected[0].train.image)


def test_tasks_of_ones_own_come_in_any_order_and_blurred(lab):
  stream = load_declared(lab, COMMON | {"task_order": "1, 0, 1", "num_tasks": 2}, {"noise": 0.0})
  assert stream.task_order == (1, 0, 1)
  blurred = load_declared(lab, COMMON | {"blurry_fraction": 0.5, "num_tasks": 2}, {"noise": 0.0})
  assert not np.array_equal(blurred[0].train.image, stream_of(2)[0].train.image)


@pytest.mark.parametrize(
  ("option", "value", "message"),
  [
    ("scenario", "class", "^scenario='class': lab_stream has no use for it; leave it None, or let"),
    ("class_order", "seeded", "^class_order='seeded': lab_stream has no use for it"),
    ("train_examples_per_task", 5, "^train_examples_per_task=5: lab_stream has no use for it"),
    ("blurry_fraction", 1.0, "^blurry_fraction is 1.0, must be a fraction"),
    ("task_order", "x", "^task_order is 'x', must be a sequence"),
    ("num_tasks", 0, "^num_tasks is 0, must be an integer of at least 1"),
  ],
)
def test_what_ones_own_has_no_use_for_is_refused(lab, option, value, message):
  with pytest.raises(ValueError, match=message):
    check_declared(lab, COMMON | {option: value})
  check_declared(lab, COMMON)


@pytest.mark.parametrize(
  ("name", "option", "value", "message"),
  [
    ("permuted_digits", "classes", 3, "^classes is 3, but permuted_digits has no use for it"),
    ("split_digits", "scenario", "clas", "^scenario='clas' is unknown .did you mean class"),
    ("split_digits", "label_noise", -1, "^label_noise is -1, must be a fraction"),
    ("split_digits", "validation_fraction", 1, "^validation_fraction is 1, must be a fraction"),
    ("split_digits", "train_fraction", 0, "^train_fraction is 0, must be a fraction"),
    ("split_digits", "data_seed", -1, "^data_seed is -1"),
    ("image_folders", "num_tasks", None, "^image_folders is None: name the folder"),
  ],
)
def test_ours_are_checked_before_their_data_are_loaded(monkeypatch, name, option, value, message):
  monkeypatch.setattr("tagjax.datasets.load", lambda *_, **__: pytest.fail("it has been loaded"))
  with pytest.raises(ValueError, match=message):
    check_declared(find(name), COMMON | {option: value})
