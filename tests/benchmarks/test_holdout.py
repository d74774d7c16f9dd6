"""The choice of examples: disjoint, of the stated sizes, and a function of the data seed only."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tagjax.benchmarks import holdout

TRAIN, TEST = np.arange(100, 160), np.arange(30)


def select(train=TRAIN, test=TEST, task_id=0, pool_id=0, label=None, by_class=False, **options):
  selection = holdout.check_selection(holdout.Selection(**options))
  return holdout.select(
    selection, train, test, task_id=task_id, pool_id=pool_id, label=label, by_class=by_class
  )


def test_everything_by_default():
  rows = select()
  np.testing.assert_array_equal(rows.train, TRAIN)
  np.testing.assert_array_equal(rows.test, TEST)
  assert len(rows.validation) == 0


@given(
  fraction=st.floats(0, 0.99),
  available=st.integers(1, 80),
  asked=st.none() | st.integers(1, 80),
  seed=st.integers(0, 2**40),
)
def test_parts_are_disjoint_and_of_the_stated_sizes(fraction, available, asked, seed):
  asked = None if asked is None else min(asked, available)
  total = available if asked is None else asked
  held_out = math.floor(fraction * total + 0.5)
  assume(held_out < total)
  assume((held_out > 0) == (fraction > 0))
  train = np.arange(1000, 1000 + available)
  rows = select(train, validation_fraction=fraction, train_examples_per_task=asked, data_seed=seed)
  assert (len(rows.train), len(rows.validation)) == (total - held_out, held_out)
  both = np.concatenate([rows.train, rows.validation])
  assert len(set(both)) == total
  assert set(both) <= set(train)
  for part in rows:
    np.testing.assert_array_equal(part, np.sort(part))


def test_rounding_is_to_the_nearest_halves_upwards():
  sizes = [len(select(np.arange(n), validation_fraction=0.1).validation) for n in (14, 15, 25, 26)]
  assert sizes == [1, 2, 3, 3]


def test_draws_are_random_but_repeat():
  first = select(validation_fraction=0.2, test_examples_per_task=10)
  again = select(validation_fraction=0.2, test_examples_per_task=10)
  other = select(validation_fraction=0.2, test_examples_per_task=10, data_seed=1)
  for one, two in zip(first, again, strict=True):
    np.testing.assert_array_equal(one, two)
  for one, two in zip(first, other, strict=True):
    assert not np.array_equal(one, two)
  assert not np.array_equal(first.validation, TRAIN[:12]), "the first rows are no random draw"
  assert not np.array_equal(first.test, TEST[:10])


def test_held_out_examples_do_not_depend_on_other_settings():
  alone = set(select(validation_fraction=0.2).validation)
  smaller = select(validation_fraction=0.2, train_examples_per_task=20, test_examples_per_task=3)
  assert len(smaller.train) == 16
  assert len(smaller.validation) == 4
  assert set(smaller.validation) <= alone
  assert not set(smaller.train) & alone


def test_a_larger_subset_contains_the_smaller():
  small, large = (set(select(train_examples_per_task=n).train) for n in (10, 40))
  assert small < large


def test_pools_are_shared_and_subsets_are_not():
  def of_task(task_id, **options):
    return select(task_id=task_id, validation_fraction=0.5, **options)

  np.testing.assert_array_equal(of_task(0).validation, of_task(1).validation)
  subsets = [of_task(t, train_examples_per_task=20).train for t in (0, 1)]
  assert not np.array_equal(*subsets)
  own = select(task_id=1, pool_id=1, validation_fraction=0.5)
  assert not np.array_equal(own.validation, of_task(1).validation)


@pytest.mark.parametrize("argument", ["train_examples_per_task", "test_examples_per_task"])
def test_more_than_there_are(argument):
  most = len(TRAIN) if argument.startswith("train") else len(TEST)
  select(**{argument: most})
  with pytest.raises(ValueError, match=f"{argument} is 61, but task 7 has {most}"):
    select(task_id=7, **{argument: 61})


def test_parts_that_would_be_empty():
  with pytest.raises(ValueError, match=r"0.99 of the 3 .* task 2 leaves no training"):
    select(np.arange(3), validation_fraction=0.99, task_id=2)
  with pytest.raises(ValueError, match=r"0.1 of the 3 .* task 2 leaves no validation"):
    select(np.arange(3), validation_fraction=0.1, task_id=2)


@pytest.mark.parametrize(
  ("argument", "value"),
  [
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("validation_fraction", float("nan")),
    ("validation_fraction", "0.1"),
    ("validation_fraction", True),
    ("train_examples_per_task", 0),
    ("train_examples_per_task", -5),
    ("train_examples_per_task", 2.5),
    ("test_examples_per_task", 0),
    ("test_examples_per_task", True),
    ("train_fraction", 0),
    ("train_fraction", 1.01),
    ("train_fraction", "all"),
    ("label_noise", 1.0),
    ("label_noise", -0.1),
    ("data_seed", -1),
    ("data_seed", None),
  ],
)
def test_bad_arguments_are_named(argument, value):
  with pytest.raises(ValueError, match=f"^{argument} is ") as caught:
    holdout.check_selection(holdout.Selection(**{argument: value}))
  assert repr(value) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_numpy_numbers_are_numbers():
  numbers = (np.float32(0.5), np.int64(3), np.int32(2), np.uint8(1), np.float64(0.5), np.float32(0))
  selection = holdout.check_selection(holdout.Selection(*numbers))
  assert [type(value) for value in selection] == [float, int, int, int, float, float]


@given(
  sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
  fraction=st.floats(0.01, 1),
  seed=st.integers(0, 2**32),
)
def test_few_shots_of_each_class(sizes, fraction, seed):
  label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
  train = 7 * np.arange(len(label))
  rows = select(train, train_fraction=fraction, data_seed=seed, label=label).train
  kept = np.bincount(label[rows // 7], minlength=len(sizes))
  assert kept.tolist() == [max(1, math.floor(fraction * size + 0.5)) for size in sizes]
  more = select(train, train_fraction=min(1, 2 * fraction), data_seed=seed, label=label).train
  assert set(rows) <= set(more)


def test_the_four_percent_of_lasem():
  label = np.repeat(np.arange(10), 500)
  options = {"train_fraction": 0.04, "validation_fraction": 0.15, "label": label}
  rows = select(np.arange(5000), **options)
  assert (len(rows.train), len(rows.validation)) == (170, 30)
  both = np.concatenate([rows.train, rows.validation])
  np.testing.assert_array_equal(np.bincount(label[both]), 20)
  assert not np.array_equal(np.sort(both)[:20], np.arange(20)), "the first rows are no draw"


def test_few_shots_of_tasks_that_share_a_pool_are_the_same():
  label = np.arange(60) % 3
  rows = [
    select(task_id=task, train_fraction=0.5, validation_fraction=0.2, label=label)
    for task in (0, 1)
  ]
  np.testing.assert_array_equal(rows[0].validation, rows[1].validation)
  np.testing.assert_array_equal(rows[0].train, rows[1].train)


@given(
  sizes=st.lists(st.integers(5, 30), min_size=2, max_size=4),
  fraction=st.floats(0.2, 0.8),
  asked=st.floats(0.3, 1.0),
)
def test_holding_out_by_class(sizes, fraction, asked):
  label = np.repeat(np.arange(len(sizes)), sizes)
  train = np.arange(len(label))
  total = max(4, int(asked * len(label)))
  options = {"validation_fraction": fraction, "label": label, "by_class": True}
  whole = select(train, **options)
  held_out = [math.floor(fraction * size + 0.5) for size in sizes]
  assert np.bincount(label[whole.validation], minlength=len(sizes)).tolist() == held_out
  some = select(train, train_examples_per_task=total, **options)
  assert len(some.train) + len(some.validation) == total
  assert set(some.validation) <= set(whole.validation)
  assert set(some.train) <= set(whole.train)
  # A task with the first class only holds the same examples of it out.
  alone = select(train[label == 0], **{**options, "label": label[label == 0]})
  assert set(alone.validation) == set(whole.validation[label[whole.validation] == 0])
