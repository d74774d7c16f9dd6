"""Small data sets whose every image carries its own number, so that each can be traced."""

import numpy as np
import pytest

from tagjax import datasets


def make_examples(num_classes, per_class, shape, seed):
  rng = np.random.default_rng(seed)
  label = rng.permutation(np.repeat(np.arange(num_classes), per_class)).astype(np.int32)
  image = rng.integers(0, 200, (len(label), *shape)).astype(np.uint8)
  # The first two pixels hold the row number.
  flat = image.reshape(len(label), -1)
  flat[:, 0], flat[:, 1] = np.arange(len(label)) % 200, np.arange(len(label)) // 200
  return datasets.Examples(image, label)


def make_dataset(num_classes=10, train_per_class=12, test_per_class=5, shape=(4, 4, 1)):
  return datasets.Dataset(
    name="fake",
    version="1.0.0",
    train=make_examples(num_classes, train_per_class, shape, seed=1),
    test=make_examples(num_classes, test_per_class, shape, seed=2),
    num_classes=num_classes,
    max_value=255,
  )


def row_numbers(examples):
  flat = examples.image.reshape(len(examples), -1).astype(int)
  return flat[:, 0] + 200 * flat[:, 1]


@pytest.fixture
def dataset():
  return make_dataset()


@pytest.fixture
def fake_load(monkeypatch):
  """`tagjax.datasets.load` without files: a small data set of each name."""
  asked = []

  def load(name, data_dir=None, *, input="auto"):
    del input
    asked.append((name, data_dir))
    return make_dataset(num_classes=100 if name == "cifar100" else 10)

  monkeypatch.setattr(datasets, "load", load)
  return asked
