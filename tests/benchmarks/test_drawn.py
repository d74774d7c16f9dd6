"""Tasks that draw their classes: common classes share their examples out, as split AWA2 does."""

import numpy as np
import pytest

from tagjax.benchmarks import drawn, holdout

from .conftest import make_dataset, row_numbers


@pytest.fixture
def animals():
  return make_dataset(num_classes=12, train_per_class=17, test_per_class=3)


def make(dataset, num_tasks=6, classes_per_task=5, **options):
  return drawn.make_drawn(
    dataset, name="drawn", num_tasks=num_tasks, classes_per_task=classes_per_task, **options
  )


def taught(dataset, stream):
  """The stored classes of each task, and the rows of its training examples."""
  rows = [row_numbers(experience.train) for experience in stream]
  return [set(dataset.train.label[of_task].tolist()) for of_task in rows], rows


def test_classes_are_drawn_without_repetition_inside_a_task(animals):
  classes, _ = taught(animals, make(animals))
  assert [len(one) for one in classes] == [5] * 6
  assert len({frozenset(one) for one in classes}) > 1
  assert sum(map(len, classes)) > len(set.union(*classes)), "no class came again"


def test_examples_of_a_class_are_cut_into_equal_consecutive_parts(animals):
  classes, rows = taught(animals, make(animals))
  used = np.concatenate(rows)
  assert len(set(used)) == len(used)
  assert len(used) == 17 * len(set.union(*classes)), "every example of a drawn class is used"
  for label in set.union(*classes):
    parts = [of_task[animals.train.label[of_task] == label] for of_task in rows]
    parts = [part for part in parts if len(part)]
    assert len(parts) == sum(label in one for one in classes)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    np.testing.assert_array_equal(
      np.concatenate(parts), np.flatnonzero(animals.train.label == label)
    )


def test_every_task_is_tested_on_all_of_its_classes(animals):
  stream = make(animals)
  assert [size[2] for size in stream.sizes] == [15] * 6


def test_the_first_tasks_may_have_classes_of_their_own(animals):
  classes, rows = taught(animals, make(animals, classes_per_task=3, tasks_apart=2))
  assert classes[:2] == [{0, 1, 2}, {3, 4, 5}]
  assert all(len(one) == 3 and one <= set(range(6, 12)) for one in classes[2:])
  assert [len(row) for row in rows[:2]] == [3 * 17] * 2
  first, rest = make(animals, classes_per_task=3, tasks_apart=2).cut(2)
  assert [len(first), len(rest)] == [2, 4]
  with pytest.raises(ValueError, match=r"must not come again"):
    make(animals, classes_per_task=3).cut(2)
  with pytest.raises(ValueError, match="there are 2 classes to draw from, and tasks_apart=2"):
    make(animals, tasks_apart=2)


def test_heads(animals):
  classes, _ = taught(animals, make(animals))
  for scenario, num_outputs in (("task", 72), ("class", 12), ("domain", 5)):
    stream = make(animals, scenario=scenario)
    assert stream.spec.num_outputs == num_outputs
    for task, experience in enumerate(stream):
      stored = animals.train.label[row_numbers(experience.train)]
      expected = {"task": 12 * task + stored, "class": stored}.get(
        scenario, np.searchsorted(sorted(classes[task]), stored)
      )
      np.testing.assert_array_equal(experience.train.label, expected)
      np.testing.assert_array_equal(
        np.flatnonzero(stream.spec.classes[task]), np.unique(experience.train.label)
      )


def test_draws_are_of_the_named_classes_and_follow_the_seed(animals):
  def draw(seed):
    selection = holdout.Selection(data_seed=seed)
    return taught(animals, make(animals, classes="4-11", selection=selection))[0]

  assert set.union(*draw(1)) <= set(range(4, 12))
  assert draw(1) == draw(1) != draw(2)


def test_cross_validation_and_evaluation_share_no_class(animals):
  cross, _ = taught(animals, make(animals, num_tasks=2, classes="0-5"))
  evaluation, _ = taught(animals, make(animals, num_tasks=4, classes="6-11"))
  assert not set.union(*cross) & set.union(*evaluation)


def test_what_cannot_be_drawn(animals):
  with pytest.raises(ValueError, match=r"classes_per_task is 13, but there are 12"):
    make(animals, classes_per_task=13)
  with pytest.raises(ValueError, match=r"num_tasks is 18: 18 of them have class 0, which has 17"):
    make(animals, num_tasks=18, classes_per_task=12)
