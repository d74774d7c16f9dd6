"""A family of classes a task: runs of labels, unequally many."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import load_benchmark

from .conftest import make_dataset


def test_an_alphabet_a_task(fake_load):
  stream = load_benchmark("split_omniglot")
  assert stream.task_names == ["Greek", "Latin", "Tagalog"]
  np.testing.assert_array_equal(stream.spec.classes.sum(axis=1), [4, 2, 5])
  assert set(stream[1].train.label) == set(stream[1].test.label) == {4, 5}
  assert stream.class_names[1] == {4: "Latin/character01", 5: "Latin/character02"}


def test_the_first_alphabets(fake_load):
  stream = load_benchmark("split_omniglot", num_tasks=2)
  assert stream.spec.num_outputs == 6
  assert load_benchmark("split_omniglot", scenario="domain").spec.num_outputs == 5
  with pytest.raises(ValueError, match=r"num_tasks is 4, but split_omniglot has 3 tasks"):
    load_benchmark("split_omniglot", num_tasks=4)


def test_classes_without_names(monkeypatch):
  monkeypatch.setattr(datasets, "load", lambda name, **options: make_dataset(11, name=name))
  with pytest.raises(ValueError, match=r"omniglot_by_drawer has no names of its classes"):
    load_benchmark("split_omniglot")
