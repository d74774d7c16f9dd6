"""Lifelong STL-10: the look of a task is its own, the same whenever it is asked for."""

import numpy as np
import pytest

from tagjax.benchmarks import holdout, lifelong, load_benchmark

from .conftest import make_dataset

KEY = (0, 3)
CHANNELS = np.array([2, 0, 1])


def change(image, mean=0.0, std=0.0, channels=CHANNELS, key=KEY):
  return lifelong.change_look(image, mean=mean, std=std, channels=channels, max_value=255, key=key)


@pytest.fixture
def image():
  return np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3)).astype(np.uint8)


def test_channels_are_exchanged(image):
  changed = change(image)
  assert changed.dtype == np.uint8
  for channel, origin in enumerate(CHANNELS):
    np.testing.assert_array_equal(changed[..., channel], image[..., origin])


def test_a_constant_is_added_as_in_the_range_from_minus_to_plus_one_half(image):
  expected = np.clip(image / 255 - 0.5 - 0.05, -0.5, 0.5)
  changed = change(image, mean=-0.05 * 255, channels=np.arange(3))
  assert abs(changed / 255 - 0.5 - expected).max() <= 0.5 / 255 + 1e-6


def test_noise_has_its_mean_and_deviation():
  grey = np.full((4, 60, 60, 3), 128, np.uint8)
  noise = change(grey, mean=0.025 * 255, std=0.025 * 255).astype(float) - 128
  assert abs(noise.mean() - 6.375) < 0.15
  assert abs(noise.std() - 6.375) < 0.15
  assert len({one.tobytes() for one in noise}) == 1, "equal images look equal"


def test_an_image_looks_the_same_in_any_batch(image):
  whole = change(image, std=6.0)
  np.testing.assert_array_equal(change(image[[3, 1]], std=6.0), whole[[3, 1]])
  assert change(image[:0], std=6.0).shape == (0, 40, 40, 3)
  assert not np.array_equal(change(image, std=6.0, key=(1, 3)), whole)
  assert not np.array_equal(change(image, std=6.0, key=(0, 4)), whole)
  differences = (whole.astype(int) - image[..., CHANNELS]).reshape(5, -1)
  assert abs(np.corrcoef(differences)[0, 1:]).max() < 0.1, "images share their noise"


def test_tasks_are_drawn_by_the_data_seed(fake_load):
  names = [load_benchmark("stl10_lifelong", data_seed=seed).task_names for seed in (0, 0, 1)]
  assert names[0] == names[1] != names[2]
  assert len(set(names[0])) == 20
  noises = {name.split("noise ")[1].split(",")[0] for name in names[0] + names[2]}
  assert noises <= {
    f"{0.025 * mean:+.3f} ± {0.025 * std:.3f}" for mean in (-2, -1, 0, 1) for std in (0, 1)
  }
  assert len(noises) > 4
  assert len({name[-3:] for name in names[0] + names[2]}) == 6, "orders of three channels"


def test_few_shots_and_validation_by_class(fake_load):
  stream = load_benchmark("stl10_lifelong", train_fraction=0.5, validation_fraction=0.34)
  assert stream.spec.classes.shape == (20, 200)
  for experience in stream:
    assert np.bincount(experience.train.label).max() == 4  # of 6 of 12
    assert np.bincount(experience.validation.label).max() == 2
    assert len(np.unique(experience.validation.label)) == 3


def test_an_image_that_validates_trains_no_task():
  dataset = make_dataset(shape=(4, 4, 3))
  stream = lifelong.make_lifelong(
    dataset,
    name="lifelong",
    num_tasks=12,
    classes_per_task=3,
    selection=holdout.Selection(validation_fraction=0.25),
  )
  train = set(np.concatenate([plan.rows.train for plan in stream._plans]))
  validation = set(np.concatenate([plan.rows.validation for plan in stream._plans]))
  assert validation
  assert not train & validation


def test_the_figures_of_lasem():
  stream = lifelong.make_lifelong(
    make_dataset(train_per_class=500, test_per_class=8, shape=(2, 2, 3)),
    name="lifelong",
    num_tasks=20,
    classes_per_task=3,
    selection=holdout.Selection(validation_fraction=0.15, train_fraction=0.25),
  )
  assert stream.sizes == [(3 * 106, 3 * 19, 24)] * 20
