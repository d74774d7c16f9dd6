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


def make_dataset(
  num_classes=10, train_per_class=12, test_per_class=5, shape=(4, 4, 1), name="fake", **fields
):
  return datasets.Dataset(
    name=name,
    version="1.0.0",
    train=make_examples(num_classes, train_per_class, shape, seed=1),
    test=make_examples(num_classes, test_per_class, shape, seed=2),
    num_classes=num_classes,
    max_value=255,
    **fields,
  )


def _drawer_names():
  """Three alphabets of 4, 2 and 5 characters."""
  sizes = {"Greek": 4, "Latin": 2, "Tagalog": 5}
  return tuple(
    f"{name}/character{n:02}" for name, size in sizes.items() for n in range(1, size + 1)
  )


def _office_names():
  domains = ("Art", "Clipart", "Product", "RealWorld")
  return tuple(f"{domain}/thing {n:02}" for domain in domains for n in range(65))


FAKES = {
  "cifar100": {"num_classes": 100},
  "mini_imagenet": {"num_classes": 100, "shape": (6, 6, 3)},
  "cub200": {
    "num_classes": 200,
    "shape": (6, 6, 3),
    "attributes": np.eye(200, 7, dtype=np.float32),
  },
  "tiny_imagenet": {"num_classes": 200},
  "imagenet": {"num_classes": 1000, "train_per_class": 2, "test_per_class": 1},
  "ms_celeb": {
    "num_classes": 10_000,
    "train_per_class": 1,
    "test_per_class": 1,
    "shape": (2, 2, 1),
  },
  "glyphs": {"num_classes": 62},
  "awa2": {"num_classes": 50, "attributes": np.arange(150, dtype=np.float32).reshape(50, 3)},
  "omniglot_by_drawer": {"num_classes": 11, "class_names": _drawer_names()},
  "office_home": {"num_classes": 260, "class_names": _office_names()},
  "stl10": {"shape": (4, 4, 3)},
  "cifar10": {"shape": (4, 4, 3)},
  "svhn_cropped": {"shape": (4, 4, 3)},
  "flowers102": {"num_classes": 102, "shape": (6, 6, 3)},
}
"""What tells the small data sets from one another; those that are not here have the defaults."""


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
    return make_dataset(name=name, **FAKES.get(name, {}))

  monkeypatch.setattr(datasets, "load", load)
  return asked
