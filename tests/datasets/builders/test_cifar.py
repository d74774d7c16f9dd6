import itertools
import json
import os
import pathlib

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import decode, prepared
from tagjax.datasets.builders import cifar10, cifar100


def _records(image, *labels) -> bytes:
  planes = image.transpose(0, 3, 1, 2).reshape(len(image), -1)
  return np.concatenate([*(label[:, None] for label in labels), planes], axis=1).tobytes()


def _names(count: int) -> bytes:
  return "".join(f"class {number}\n" for number in range(count)).encode() + b"\n"


@pytest.fixture
def small_cifar10(random_examples, tar_gz):
  """The archive of CIFAR-10 with 20 examples a batch; the files, train and test examples."""
  parts = [random_examples(number, 20, (32, 32, 3), 10) for number in range(6)]
  folder = "cifar-10-batches-bin"
  members = {
    f"{folder}/data_batch_{number}.bin": _records(*part) for number, part in enumerate(parts[1:], 1)
  }
  members |= {
    f"{folder}/test_batch.bin": _records(*parts[0]),
    f"{folder}/batches.meta.txt": _names(10),
  }
  train = [np.concatenate(arrays) for arrays in zip(*parts[1:], strict=True)]
  return {"cifar-10-binary.tar.gz": tar_gz(members)}, train, parts[0]


def test_prepares_the_archive_of_cifar10(small_cifar10, offer, same_examples, data_dir):
  files, train, test = small_cifar10
  offer(cifar10.Cifar10, files)
  loaded = datasets.load("cifar10")
  same_examples(loaded.train, *train)
  same_examples(loaded.test, *test)
  assert (loaded.version, loaded.num_classes, loaded.max_value) == ("3.0.2", 10, 255)
  names = (data_dir / "cifar10" / "3.0.2" / "label.labels.txt").read_text().split("\n")
  assert names[3] == "class 3"


def test_prepares_the_archive_of_cifar100_with_fine_labels(
  random_examples, tar_gz, offer, same_examples
):
  train = random_examples(1, 200, (32, 32, 3), 100)
  test = random_examples(2, 100, (32, 32, 3), 100)
  folder = "cifar-100-binary"
  members = {
    f"{folder}/train.bin": _records(train[0], train[1] // 5, train[1]),
    f"{folder}/test.bin": _records(test[0], test[1] // 5, test[1]),
    f"{folder}/coarse_label_names.txt": _names(20),
    f"{folder}/fine_label_names.txt": _names(100),
  }
  offer(cifar100.Cifar100, {"cifar-100-binary.tar.gz": tar_gz(members)})
  loaded = datasets.load("cifar100")
  same_examples(loaded.train, *train)
  same_examples(loaded.test, *test)
  assert loaded.num_classes == 100


def test_order_is_the_same_in_every_preparation(small_cifar10, offer, tmp_path):
  files, *_ = small_cifar10
  offer(cifar10.Cifar10, files)
  offer(cifar10.Cifar10, files, tmp_path / "again")
  first = datasets.load("cifar10")
  second = datasets.load("cifar10", tmp_path / "again")
  np.testing.assert_array_equal(first.train.image, second.train.image)
  np.testing.assert_array_equal(first.train.label, second.train.label)


def test_opens_the_set_that_the_stock_builder_prepared():
  beside = pathlib.Path(__file__).parents[3] / ".." / "shared" / "data" / "tfds"
  root = next(
    (
      pathlib.Path(root)
      for root in (REAL_DATA_DIR, beside)
      if root and (pathlib.Path(root) / "cifar10").is_dir()
    ),
    None,
  )
  if root is None:
    pytest.skip("no prepared CIFAR-10: set TFDS_DATA_DIR to a folder that has it")
  found = prepared.find("cifar10", root)
  assert found.num_examples == {"train": 50_000, "test": 10_000}
  info = json.loads((found.folder / "dataset_info.json").read_text())
  assert info["fileFormat"] == "array_record"
  images, labels = zip(
    *itertools.islice(decode.Records(found, "test", (32, 32, 3)).examples(), 1000), strict=True
  )
  assert np.bincount(labels, minlength=10).min() > 60  # 100 of each class on average
  # The published means of CIFAR-10 are 125.3, 123.0 and 113.9.
  assert np.abs(np.mean(images, axis=(0, 1, 2)) - [125.3, 123.0, 113.9]).max() < 4


REAL_DATA_DIR = os.environ.get("TFDS_DATA_DIR")  # before the fixtures change it
