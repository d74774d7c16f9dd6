"""Permuted benchmarks: permutations are undone, shared between splits and seeded."""

import numpy as np
import pytest

from tagjax.benchmarks import checks, holdout, permuted


def make(dataset, num_tasks=4, **options):
  return permuted.make_permuted(dataset, name="permuted_fake", num_tasks=num_tasks, **options)


def undo(image, task_id, seed=0):
  """The original images, by the inverse of the permutation that task and seed draw."""
  flat = image.reshape(len(image), -1)
  if task_id == 0:
    return image
  order = checks.generator(seed, "permutation", task_id).permutation(flat.shape[1])
  original = np.empty_like(flat)
  original[:, order] = flat
  return original.reshape(image.shape)


def test_first_task_is_the_data_set(dataset):
  first = make(dataset)[0]
  np.testing.assert_array_equal(first.train.image, dataset.train.image)
  np.testing.assert_array_equal(first.test.image, dataset.test.image)


def test_permutations_are_undone_by_their_inverse(dataset):
  stream = make(dataset, selection=holdout.Selection(validation_fraction=0.25, data_seed=3))
  for task_id, experience in enumerate(stream):
    np.testing.assert_array_equal(undo(experience.test.image, task_id, seed=3), dataset.test.image)
    parts = [experience.train, experience.validation]
    images = np.concatenate([undo(part.image, task_id, seed=3) for part in parts])
    rows = images[:, 0, 0, 0] + 200 * images[:, 0, 1, 0].astype(int)
    np.testing.assert_array_equal(np.sort(rows), np.arange(120))
    np.testing.assert_array_equal(images, dataset.train.image[rows])
    labels = np.concatenate([part.label for part in parts])
    np.testing.assert_array_equal(labels, dataset.train.label[rows])


def test_tasks_and_seeds_have_permutations_of_their_own(dataset):
  def images(seed):
    stream = make(dataset, selection=holdout.Selection(data_seed=seed))
    return [experience.test.image for experience in stream]

  zero, one = images(0), images(1)
  distinct = {image.tobytes() for image in (*zero, *one)}
  assert len(distinct) == 7, "only task 0 is common to both seeds"
  for before, again in zip(zero, images(0), strict=True):
    np.testing.assert_array_equal(before, again)


def test_a_longer_stream_begins_with_the_shorter(dataset):
  short, long = make(dataset, num_tasks=2), make(dataset, num_tasks=4)
  np.testing.assert_array_equal(short[1].train.image, long[1].train.image)


def test_permutation_is_pinned():
  """Another NumPy must not permute differently: results would change between machines."""
  order = checks.generator(0, "permutation", 1).permutation(8)
  assert order.tolist() == [2, 0, 1, 6, 5, 3, 7, 4]


def test_validation_images_train_no_task(dataset):
  stream = make(dataset, selection=holdout.Selection(validation_fraction=0.1))
  held_out, trained = set(), set()
  for task_id, experience in enumerate(stream):
    held_out |= {i.tobytes() for i in undo(experience.validation.image, task_id)}
    trained |= {i.tobytes() for i in undo(experience.train.image, task_id)}
  assert len(held_out) == 12
  assert not held_out & trained


def test_subsets_differ_between_tasks(dataset):
  stream = make(dataset, selection=holdout.Selection(train_examples_per_task=20))
  first, second = ({i.tobytes() for i in undo(stream[t].train.image, t)} for t in (0, 1))
  assert len(first) == len(second) == 20
  assert first != second


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_heads(dataset, scenario):
  stream = make(dataset, num_tasks=3, scenario=scenario)
  shift = 0 if scenario == "domain" else 10
  assert stream.spec.num_outputs == 10 + 2 * shift
  for task_id, experience in enumerate(stream):
    np.testing.assert_array_equal(experience.test.label, dataset.test.label + shift * task_id)
    taught = np.flatnonzero(stream.spec.classes[task_id])
    np.testing.assert_array_equal(taught, np.arange(10) + shift * task_id)


def test_a_part_without_examples_keeps_its_shape(dataset):
  validation = make(dataset)[1].validation
  assert validation.image.shape == (0, 4, 4, 1)
  assert len(validation) == 0
