"""Streams cut in two, dealt anew for each run, with their held-out examples put back."""

import numpy as np
import pytest

from tagjax import benchmarks
from tagjax.benchmarks import Stream

SMALL = {"num_tasks": 5, "validation_fraction": 0.2, "train_examples_per_task": 60}


def load(**changes):
  return benchmarks.load_benchmark("split_digits", **{**SMALL, **changes})


def images_by_class(stream, part="train"):
  """The images of each class by name, as sorted bytes."""
  found = {}
  for experience, names in zip(stream, stream.class_names, strict=True):
    examples = getattr(experience, part)
    for output, name in names.items():
      rows = examples.image[examples.label == output]
      found[name] = sorted(row.tobytes() for row in rows)
  return found


def test_the_two_stages_share_no_class_and_keep_the_head():
  first, rest = load().cut(2)
  assert [len(one) for one in (first, rest)] == [2, 3]
  seen = [{name for names in one.class_names for name in names.values()} for one in (first, rest)]
  assert seen == [set("0123"), set("456789")]
  assert first.spec.num_outputs == rest.spec.num_outputs == 10


@pytest.mark.parametrize("number", [0, 5, 6])
def test_a_stage_without_tasks_is_refused(number):
  with pytest.raises(ValueError, match=f"{number} to choose by leave no task.*from 1 to 4"):
    load().cut(number)


def test_classes_that_come_again_are_refused():
  image, label = np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 0, 1])
  other = np.array([2, 3, 2, 3])
  tasks = [(image, own, image, own) for own in (label, other, label)]
  stream = Stream.from_arrays("mine", tasks)
  with pytest.raises(ValueError, match=r"mine: .*must not come again: 0, 1 of the first 1 tasks"):
    stream.cut(1)
  assert len(stream.in_order((0, 1)).cut(1)[1]) == 1


def test_classes_are_dealt_out_anew_with_their_own_examples():
  _, rest = load().cut(2)
  runs = [rest.shuffled(seed) for seed in range(4)]
  assert len({tuple(run.task_names) for run in runs}) == 4
  np.testing.assert_array_equal(runs[0].task_names, rest.shuffled(0).task_names)
  for run in runs:
    np.testing.assert_array_equal(run.spec.classes, rest.spec.classes)
    for part in ("train", "validation", "test"):
      assert images_by_class(run, part) == images_by_class(rest, part)


def test_tasks_that_are_wholes_come_in_another_order():
  stream = benchmarks.load_benchmark("permuted_digits", num_tasks=4)
  run = stream.shuffled(1)
  assert sorted(run.task_names) == sorted(stream.task_names) != run.task_names
  image, place = run[0].train.image, stream.task_names.index(run.task_names[0])
  np.testing.assert_array_equal(image, stream[place].train.image)


def test_held_out_examples_are_put_back():
  stream = load(label_noise=0.3)
  whole = stream.without_validation()
  assert [size[:2] for size in whole.sizes] == [(60, 0)] * 5
  for before, after in zip(stream, whole, strict=True):
    pairs = [
      sorted((x.tobytes(), int(y)) for x, y in zip(part.image, part.label, strict=True))
      for part in (before.train, before.validation, after.train)
    ]
    assert sorted(pairs[0] + pairs[1]) == pairs[2]
