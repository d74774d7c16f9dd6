"""Classes dealt out to tasks: every subset, order and size that can be asked for."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import groups


def flat(dealt):
  return list(itertools.chain.from_iterable(dealt))


def deal(num_classes=10, num_tasks=None, name="fake", **options):
  return [
    group.tolist() for group in groups.deal(name, num_classes, num_tasks=num_tasks, **options)
  ]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), spare=st.integers(0, 4))
def test_unequal_tasks_cover_the_order_up_to_their_sum(sizes, spare):
  total = sum(sizes)
  dealt = deal(total + spare, classes_per_task=sizes, class_order="seeded", data_seed=3)
  assert [len(group) for group in dealt] == sizes
  whole = deal(total + spare, num_tasks=1, class_order="seeded", data_seed=3)[0]
  assert flat(dealt) == whole[:total]


def test_the_last_size_is_that_of_all_further_tasks():
  assert [len(group) for group in deal(100, num_tasks=6, classes_per_task=(50, 10))] == [
    50,
    *[10] * 5,
  ]
  assert deal(num_tasks=2, classes_per_task=3) == [[0, 1, 2], [3, 4, 5]]
  assert deal(classes_per_task="4, 2") == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("classes", ["5-9", (5, 6, 7, 8, 9), np.arange(5, 10), [5, 6, 7, 8, 9]])
def test_a_subset_of_the_classes(classes):
  assert deal(num_tasks=5, classes=classes) == [[5], [6], [7], [8], [9]]


def test_a_subset_keeps_the_order_in_which_it_is_given():
  assert deal(num_tasks=1, classes="7-9, 2") == [[7, 8, 9, 2]]


def test_cross_validation_and_evaluation_of_a_gem_share_no_class():
  cross = deal(100, num_tasks=3, classes="0-14", class_order="seeded", data_seed=1)
  evaluation = deal(100, num_tasks=17, classes="15-99", class_order="seeded", data_seed=1)
  assert sorted(flat(cross)) == list(range(15))
  assert sorted(flat(evaluation)) == list(range(15, 100))
  assert {len(group) for group in cross + evaluation} == {5}
  other = deal(100, num_tasks=17, classes="15-99", class_order="seeded", data_seed=2)
  assert evaluation != other
  assert flat(evaluation) != list(range(15, 100))


def test_the_order_of_lasem_is_a_permutation_of_ten_tasks():
  dealt = deal(100, num_tasks=10, name="cifar100", class_order="lasem")
  assert sorted(flat(dealt)) == list(range(100))
  assert dealt[0] == [4, 1, 54, 9, 0, 5, 6, 3, 12, 8]
  assert dealt[9][-1] == 89
  half = deal(100, num_tasks=1, name="cifar100", classes=50, class_order="lasem")[0]
  assert half == [label for label in flat(dealt) if label < 50]


def test_the_order_of_itaml_gives_class_c_the_place_that_is_drawn_for_it():
  places = list(range(10))
  random.seed(1)
  random.shuffle(places)
  order = flat(deal(10, num_tasks=5, class_order="itaml"))
  assert [order.index(label) for label in range(10)] == places
  part = flat(deal(20, num_tasks=5, classes="10-19", class_order="itaml"))
  assert part == [10 + label for label in order]


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"num_tasks": 3}, "num_tasks is 3, .* the 10 classes: choose from 1, 2, 5, 10, or set"),
    ({"num_tasks": 4, "classes": 6}, "num_tasks is 4, .* the 6 classes"),
    ({"classes": 11}, "classes is 11, but the data set has 10 classes, 0 to 9"),
    ({"classes": (0, 10)}, r"classes is \(0, 10\), but"),
    ({"classes": "3, 4, 3"}, "classes is '3, 4, 3', which names a class twice"),
    ({"classes": 0}, "classes is 0, must be an integer of at least 1"),
    ({"classes": "a-b"}, "classes is 'a-b', must be a sequence"),
    ({"classes": "5-"}, "classes is '5-', must be a sequence"),
    ({"classes": "-5"}, "classes is '-5', must be a sequence"),
    ({"classes": "9-5"}, "classes is '9-5', must be a sequence"),
    ({"classes": ()}, r"classes is \(\), must be"),
    ({"classes": (1.0, 2.0)}, "classes is .* must be a sequence of integers"),
    ({"classes": (True, False)}, "classes is .* must be a sequence of integers"),
    ({"classes_per_task": 11}, "classes_per_task is 11, 11 classes for 1 tasks, but there are 10"),
    ({"classes_per_task": (5, 3), "num_tasks": 3}, "11 classes for 3 tasks, but there are 10"),
    ({"classes_per_task": (5, 0)}, r"classes_per_task is \(5, 0\): a task needs a class"),
    ({"classes_per_task": 0}, "classes_per_task is 0"),
    ({"classes_per_task": (5, 3), "num_tasks": 1}, "num_tasks is 1, .* the sizes of 2 tasks"),
    ({"class_order": "lasem"}, "class_order is 'lasem', .* of cifar100 and not of fake"),
    ({"class_order": (0, 1, 2), "classes": "1-3"}, "holds each of the used classes once"),
  ],
)
def test_what_does_not_fit(options, words):
  with pytest.raises(ValueError, match=words) as caught:
    deal(**{"num_tasks": None if "classes_per_task" in options else 1, **options})
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["natural", "seeded", "itaml", (3, 1), "3, 1", [0], np.arange(3)])
def test_orders_that_some_data_set_can_have(order):
  groups.check_order(order)


@pytest.mark.parametrize("order", ["random", "", None, 3, (1.5,), ("a",), "3, x"])
def test_orders_that_none_can_have(order):
  with pytest.raises(ValueError, match="class_order"):
    groups.check_order(order)
