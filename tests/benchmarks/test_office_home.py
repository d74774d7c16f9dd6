"""Office-Home: five groups of things in two domains."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import load_benchmark, office_home

from .conftest import make_dataset


def test_groups_hold_each_thing_once():
  assert sorted(sum(office_home.GROUPS, ())) == list(range(65))
  assert [len(group) for group in office_home.GROUPS] == [13] * 5


def test_products_first_and_then_photographs_of_the_same_things(fake_load):
  stream = load_benchmark("office_home")
  assert stream.task_names[:6:5] == ["Product, group 1", "RealWorld, group 1"]
  things = [[name.split("/") for name in names.values()] for names in stream.class_names]
  assert [{domain for domain, _ in task} for task in things] == [{"Product"}] * 5 + [
    {"RealWorld"}
  ] * 5
  for product, photograph in zip(things[:5], things[5:], strict=True):
    assert [thing for _, thing in product] == [thing for _, thing in photograph]
  numbers = [int(thing.split()[1]) for _, thing in things[0]]
  assert numbers == [63, 54, 55, 59, 47, 8, 5, 56, 18, 50, 3, 57, 13]
  np.testing.assert_array_equal(stream.spec.classes.sum(axis=0), 1)
  assert load_benchmark("office_home", scenario="domain").spec.num_outputs == 13


def test_orders_of_tasks(fake_load):
  stream = load_benchmark("office_home", task_order="0-4, 0-9")
  assert len(stream) == 15
  assert stream.task_names[5] == "Product, group 1, visit 2"


def test_what_does_not_fit(fake_load, monkeypatch):
  with pytest.raises(ValueError, match=r"num_tasks is 11, but office_home has 10 tasks"):
    load_benchmark("office_home", num_tasks=11)
  monkeypatch.setattr(datasets, "load", lambda name, **options: make_dataset(260, name=name))
  with pytest.raises(ValueError, match=r"office_home has 0 classes of the domain Product"):
    load_benchmark("office_home")
