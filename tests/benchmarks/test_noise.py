"""Wrong labels: as many as asked for, all of the task, each class equally likely."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import load_benchmark, noise


@given(
  classes=st.lists(st.integers(0, 50), min_size=2, max_size=8, unique=True),
  size=st.integers(1, 60),
  fraction=st.floats(0, 0.99),
  seed=st.integers(0, 2**32),
)
def test_as_many_labels_as_asked_for_are_wrong(classes, size, fraction, seed):
  rng = np.random.default_rng(seed)
  classes = np.array(classes)
  label = rng.choice(classes, size)
  before = label.copy()
  noisy = noise.flip_labels(label, classes, fraction, rng)
  np.testing.assert_array_equal(label, before)
  assert (noisy != label).sum() == math.floor(fraction * size + 0.5)
  assert set(noisy) <= set(classes)


def test_each_other_class_is_equally_likely():
  label = np.full(9000, 5)
  noisy = noise.flip_labels(label, np.array([9, 5, 2, 7]), 0.9999, np.random.default_rng(0))
  counts = np.bincount(noisy[noisy != 5], minlength=10)[[2, 7, 9]]
  # Standard deviation about 45 around 3000.
  assert (abs(counts - 3000) < 200).all()


def test_one_class_has_no_wrong_label():
  with pytest.raises(ValueError, match=r"label_noise is 0.5, .* class 3 only"):
    noise.flip_labels(np.full(4, 3), np.array([3]), 0.5, np.random.default_rng(0))
  noise.flip_labels(np.full(4, 3), np.array([3]), 0.0, np.random.default_rng(0))


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("name", ["split_digits", "permuted_digits", "split_awa2"])
def test_training_labels_alone_are_noisy(fake_load, name, scenario):
  options = {"num_tasks": 2, "scenario": scenario, "validation_fraction": 0.1}
  clean = load_benchmark(name, **options)
  noisy = load_benchmark(name, label_noise=0.25, **options)
  np.testing.assert_array_equal(noisy.spec.classes, clean.spec.classes)
  for one, other in zip(clean, noisy, strict=True):
    for part in ("train", "validation", "test"):
      np.testing.assert_array_equal(getattr(one, part).image, getattr(other, part).image)
    np.testing.assert_array_equal(one.validation.label, other.validation.label)
    np.testing.assert_array_equal(one.test.label, other.test.label)
    wrong = one.train.label != other.train.label
    assert wrong.sum() == math.floor(0.25 * len(wrong) + 0.5)
    assert noisy.spec.classes[one.task_id][other.train.label].all()


def test_the_noise_follows_the_data_seed(fake_load):
  labels = [
    load_benchmark("permuted_digits", label_noise=0.5, data_seed=seed)[1].train.label.tolist()
    for seed in (4, 4, 5)
  ]
  assert labels[0] == labels[1] != labels[2]
