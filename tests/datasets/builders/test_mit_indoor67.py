import numpy as np
import pytest
from picture_files import encoded, pixels, tarred

from tagjax import datasets
from tagjax.datasets import decode
from tagjax.datasets.builders import mit_indoor67

CLASSES = [f"room_{number:02d}" for number in range(67)]


@pytest.fixture
def files():
  """The archive with four pictures of each room: two to train on, one for the test, one in no list.

  The pictures are PNG, though their names end in `.jpg`.
  """
  pictures = {
    f"Images/{name}/picture {number}.jpg": encoded(pixels(4 * label + number))
    for label, name in enumerate(CLASSES)
    for number in range(4)
  }
  return {
    "pictures": pictures,
    "train": [f"{name}/picture {number}.jpg" for name in CLASSES for number in (0, 1)],
    "test": [f"{name}/picture 2.jpg" for name in reversed(CLASSES)],
  }


@pytest.fixture
def load(offer, shrink):
  def load(files):
    shrink("mit_indoor67", sizes=(2 * 67, 67))
    lists = {
      f"{split.title()}Images.txt": "\r\n".join(files[split]).encode()
      for split in ("train", "test")
    }
    offer(mit_indoor67.MitIndoor67, {"indoorCVPR_09.tar": tarred(files["pictures"]), **lists})
    return datasets.load("mit_indoor67")

  return load


def _cropped(seeds) -> np.ndarray:
  return np.stack([decode.decode(encoded(pixels(s)), 3, (224, 224), "crop") for s in seeds])


def test_prepares_the_pictures_of_the_lists(load, files, same_examples):
  loaded = load(files)
  train = [4 * label + number for label in range(67) for number in (0, 1)]
  test = [4 * label + 2 for label in range(67)]
  same_examples(loaded.train, _cropped(train), np.arange(134) // 2)
  same_examples(loaded.test, _cropped(test), np.arange(67))
  assert loaded.class_names[3] == "room 03"


@pytest.mark.parametrize("kind", [("GIF", "P"), ("JPEG", "CMYK"), ("PNG", "LA"), ("JPEG", "L")])
def test_pictures_of_other_kinds_are_read(load, files, kind):
  for label, name in enumerate(CLASSES):
    files["pictures"][f"Images/{name}/picture 2.jpg"] = encoded(pixels(label), *kind)
  image = load(files).test.image
  assert image.shape == (67, 224, 224, 3)
  assert image.std() > 10


def test_a_list_of_another_length_is_refused(load, files):
  files["train"].pop()
  with pytest.raises(datasets.DatasetUnavailableError, match="train list: found 133, but the pub"):
    load(files)


def test_a_picture_in_both_lists_is_refused(load, files):
  files["train"][5] = files["test"][5]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"room_61/picture 2.jpg is in both"):
    load(files)


def test_a_missing_picture_is_named(load, files):
  del files["pictures"]["Images/room_07/picture 1.jpg"]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"1 of 134.*room_07/picture 1"):
    load(files)


def test_a_damaged_picture_is_named(load, files):
  files["pictures"]["Images/room_07/picture 1.jpg"] = b"<html>not found</html>"
  with pytest.raises(datasets.DatasetUnavailableError, match=r"room_07/picture 1.jpg is damaged"):
    load(files)


def test_says_which_three_files_to_fetch(offline):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mit_indoor67")
  for part in ("indoorCVPR_09.tar", "TrainImages.txt", "TestImages.txt", "manual/mit_indoor67"):
    assert part in str(error.value)
