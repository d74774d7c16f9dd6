"""Split benchmarks: which class goes where, in every scenario and order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import holdout, split

from .conftest import make_dataset, row_numbers


def make(dataset, num_tasks=5, **options):
  return split.make_split(dataset, name="split_fake", num_tasks=num_tasks, **options)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_natural_order_keeps_labels(dataset, scenario):
  stream = make(dataset, scenario=scenario)
  assert stream.spec.num_outputs == 10
  assert stream.spec.scenario == scenario
  assert stream.spec.image_shape == (4, 4, 1)
  np.testing.assert_array_equal(stream.spec.classes, np.kron(np.eye(5), np.ones(2)).astype(bool))
  assert stream.task_names == [f"classes {2 * t}-{2 * t + 1}" for t in range(5)]
  for task_id, experience in enumerate(stream):
    assert (
      set(experience.train.label) == set(experience.test.label) == {2 * task_id, 2 * task_id + 1}
    )
    for examples, pool in ((experience.train, dataset.train), (experience.test, dataset.test)):
      rows = row_numbers(examples)
      np.testing.assert_array_equal(examples.image, pool.image[rows])
      np.testing.assert_array_equal(examples.label, pool.label[rows])
      np.testing.assert_array_equal(examples.task_id, task_id)


def test_every_example_is_in_one_task(dataset):
  stream = make(dataset, num_tasks=2)
  rows = np.concatenate([row_numbers(experience.train) for experience in stream])
  np.testing.assert_array_equal(np.sort(rows), np.arange(120))
  rows = np.concatenate([row_numbers(experience.test) for experience in stream])
  np.testing.assert_array_equal(np.sort(rows), np.arange(50))


def test_domain_shares_the_outputs(dataset):
  stream = make(dataset, scenario="domain")
  assert stream.spec.num_outputs == 2
  assert stream.spec.classes.shape == (5, 2)
  assert stream.spec.classes.all()
  for task_id, experience in enumerate(stream):
    stored = dataset.test.label[row_numbers(experience.test)]
    np.testing.assert_array_equal(experience.test.label, stored - 2 * task_id)


@given(order=st.permutations(range(6)), num_tasks=st.sampled_from([1, 2, 3, 6]))
def test_outputs_are_numbered_by_the_order(order, num_tasks):
  dataset = make_dataset(num_classes=6, train_per_class=3, test_per_class=2)
  stream = make(dataset, num_tasks=num_tasks, class_order=order)
  per_task = 6 // num_tasks
  for task_id, experience in enumerate(stream):
    expected = order[per_task * task_id : per_task * (task_id + 1)]
    stored = dataset.train.label[row_numbers(experience.train)]
    assert set(stored) == set(expected)
    np.testing.assert_array_equal(np.array(order)[experience.train.label], stored)
    taught = np.flatnonzero(stream.spec.classes[task_id])
    np.testing.assert_array_equal(taught, np.unique(experience.train.label))


def test_seeded_order_follows_the_data_seed(dataset):
  def names(seed):
    selection = holdout.Selection(data_seed=seed)
    return make(dataset, class_order="seeded", selection=selection).task_names

  assert names(1) == names(1)
  assert names(1) != names(2)
  # Pinned: another NumPy must not deal the classes differently.
  assert names(0) == [
    "classes 4, 6",
    "classes 2, 7",
    "classes 3, 5",
    "classes 9, 0",
    "classes 8, 1",
  ]


def test_class_by_class_and_all_at_once(dataset):
  assert len(make(dataset, num_tasks=10)) == 10
  assert make(dataset, num_tasks=10).task_names[3] == "class 3"
  assert make(dataset, num_tasks=1).sizes == [(120, 0, 50)]


def test_tasks_that_do_not_divide_the_classes(dataset):
  for num_tasks in (3, 20):
    with pytest.raises(ValueError, match=f"num_tasks is {num_tasks},.* from 1, 2, 5, 10"):
      make(dataset, num_tasks=num_tasks)


@pytest.mark.parametrize(
  "order",
  [[0, 1, 2], list(range(1, 11)), [0] * 10, np.arange(10.0), 3, [[0, 1], [2]], ["a"] * 10, None],
)
def test_orders_that_are_no_permutation(dataset, order):
  with pytest.raises(ValueError, match=r"class_order is .* 0 to 9 once"):
    make(dataset, class_order=order)


def test_misspelt_order(dataset):
  with pytest.raises(ValueError, match=r"class_order='seed' is unknown .did you mean seeded"):
    make(dataset, class_order="seed")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_examples_names_its_task(dataset, part):
  examples = getattr(dataset, part)
  kept = examples.label != 5
  dataset = dataset._replace(**{part: type(examples)(examples.image[kept], examples.label[kept])})
  with pytest.raises(ValueError, match=r"task 2 \(classes 4-5\) has no .* examples of class 5"):
    make(dataset)
