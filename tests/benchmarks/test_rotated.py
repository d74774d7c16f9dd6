"""Rotated benchmarks: equal to SciPy image by image, and angles as in GEM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tagjax.benchmarks import holdout, rotated


def random_images(*shape):
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(6, 8, 8), (5, 8, 8, 1), (3, 7, 10, 3), (2, 28, 28)])
@pytest.mark.parametrize("angle", [0.0, 7.3, 45.0, 123.4, 180.0])
def test_equals_scipy_one_image_at_a_time(shape, angle):
  image = random_images(*shape)
  expected = [ndimage.rotate(i, angle, axes=(1, 0), reshape=False, order=1) for i in image]
  turned = rotated.rotate_images(image, angle)
  assert turned.dtype == np.uint8
  np.testing.assert_array_equal(turned, np.stack(expected))


def test_turns_counter_clockwise():
  image = random_images(4, 8, 8)
  np.testing.assert_array_equal(rotated.rotate_images(image, 90.0), np.rot90(image, axes=(1, 2)))


def test_more_images_than_one_slice(monkeypatch):
  image = random_images(7, 8, 8)
  whole = rotated.rotate_images(image, 30.0)
  monkeypatch.setattr(rotated, "_ROWS_AT_ONCE", 3)
  np.testing.assert_array_equal(rotated.rotate_images(image, 30.0), whole)


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_each_task_has_its_part_of_half_a_turn(num_tasks, seed):
  angles = np.array(rotated.rotation_angles(num_tasks, seed))
  np.testing.assert_array_equal(np.floor(angles * num_tasks / 180), np.arange(num_tasks))


def test_angles_are_drawn_and_pinned():
  assert rotated.rotation_angles(3, 1) != rotated.rotation_angles(3, 2)
  # Another NumPy must not turn differently: results would change between machines.
  assert rotated.rotation_angles(3, 0) == pytest.approx([22.928166, 82.403964, 130.721994])


def test_stream_turns_all_parts_alike(dataset):
  selection = holdout.Selection(validation_fraction=0.1, data_seed=5)
  stream = rotated.make_rotated(dataset, name="rotated_fake", num_tasks=3, selection=selection)
  plain = rotated.make_rotated(dataset, name="rotated_fake", num_tasks=3, selection=selection)
  assert stream.spec.scenario == "domain"
  for angle, experience, plan in zip(
    rotated.rotation_angles(3, 5), stream, plain._plans, strict=True
  ):
    assert experience.name == f"{angle:.1f} degrees"
    for part, pool, rows in (
      ("train", dataset.train, plan.rows.train),
      ("validation", dataset.train, plan.rows.validation),
      ("test", dataset.test, plan.rows.test),
    ):
      examples = getattr(experience, part)
      np.testing.assert_array_equal(examples.image, rotated.rotate_images(pool.image[rows], angle))
      np.testing.assert_array_equal(examples.label, pool.label[rows])
