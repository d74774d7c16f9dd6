import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets.builders import stl10

NAMES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def _planes(image) -> bytes:
  """Red, green and blue planes one after another, each column by column."""
  return np.ascontiguousarray(image.transpose(0, 3, 2, 1)).tobytes()


@pytest.fixture
def pack(tar_gz, random_examples):
  """The archive with 20 images a split and some without labels; and what is in the splits."""

  def pack(**changes):
    train = random_examples(1, 20, (96, 96, 3), 10)
    test = random_examples(2, 20, (96, 96, 3), 10)
    members = {
      "test_X.bin": _planes(test[0]),
      "test_y.bin": (test[1] + 1).astype(np.uint8).tobytes(),
      "train_X.bin": _planes(train[0]),
      "train_y.bin": (train[1] + 1).astype(np.uint8).tobytes(),
      "unlabeled_X.bin": bytes(96 * 96 * 3 * 5),
      "class_names.txt": "\n".join(NAMES).encode(),
      "fold_indices.txt": b"0 1 2\n",
    } | changes
    content = tar_gz(
      {f"stl10_binary/{name}": member for name, member in members.items() if member is not None}
    )
    return {"stl10_binary.tar.gz": content}, train, test

  return pack


def test_prepares_the_official_archive(pack, offer, same_examples):
  files, train, test = pack()
  offer(stl10.Stl10, files)
  loaded = datasets.load("stl10")
  same_examples(loaded.train, *train)
  same_examples(loaded.test, *test)
  assert loaded.class_names == tuple(NAMES)
  assert (loaded.version, loaded.num_classes) == ("1.0.0", 10)


def test_columns_come_before_rows(pack, offer):
  red_left_edge = bytes([255] * 96) + bytes(96 * 96 * 3 - 96)
  files, *_ = pack(**{"train_X.bin": red_left_edge, "train_y.bin": b"\x03"})
  offer(stl10.Stl10, files)
  (image,) = datasets.load("stl10").train.image
  assert (image[:, 0] == [255, 0, 0]).all()
  assert not image[:, 1:].any()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"test_y.bin": None}, r"has no file stl10_binary/test_y\.bin"),
    ({"class_names.txt": None}, r"has no file stl10_binary/class_names\.txt"),
    ({"train_y.bin": bytes(19)}, r"train_X\.bin .* are not 19 images"),
    ({"class_names.txt": b"cat dog"}, "2 names"),
    ({"train_y.bin": bytes([11] * 20)}, r"train_y\.bin .* labels from 11 to 11, not from 1 to 10"),
    ({"train_y.bin": bytes([0] * 10 + [10] * 10)}, "labels from 0 to 10, not from 1 to 10"),
  ],
)
def test_an_archive_of_another_layout_is_reported(pack, offer, changes, message):
  files, *_ = pack(**changes)
  offer(stl10.Stl10, files)
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    datasets.load("stl10")
