import io

import numpy as np
import pytest
import scipy.io
from picture_files import encoded, pixels

from tagjax import datasets
from tagjax.datasets import decode
from tagjax.datasets.builders import flowers102

COUNT = 306


def _mat(**arrays) -> bytes:
  buffer = io.BytesIO()
  scipy.io.savemat(buffer, {key: np.array([array], np.uint16) for key, array in arrays.items()})
  return buffer.getvalue()


@pytest.fixture(scope="module")
def every_picture():
  """The pictures `image_00001.jpg`, ..., wider than high."""
  return {
    f"jpg/image_{number:05d}.jpg": encoded(pixels(number), "JPEG") for number in range(1, COUNT + 1)
  }


@pytest.fixture
def files(every_picture):
  """The pictures, the label of each, and the three sets: one picture of each class in each."""
  order = np.random.default_rng(0).permutation(COUNT)
  label = np.zeros(COUNT, int)
  label[order] = np.arange(COUNT) % 102 + 1
  train, validation, test = order.reshape(3, 102) + 1
  return {
    "pictures": dict(every_picture),
    "labels": {"labels": label},
    "sets": {"trnid": train, "valid": validation, "tstid": test},
  }


@pytest.fixture
def load(offer, tar_gz):
  def load(files):
    offer(
      flowers102.Flowers102,
      {
        "102flowers.tgz": tar_gz(files["pictures"]),
        "imagelabels.mat": _mat(**files["labels"]),
        "setid.mat": _mat(**files["sets"]),
      },
    )
    return datasets.load("flowers102")

  return load


def test_trains_on_the_training_and_the_validation_set(load, files, same_examples):
  loaded = load(files)
  sets, label = files["sets"], files["labels"]["labels"]
  for examples, numbers in (
    (loaded.train, np.concatenate([sets["trnid"], sets["valid"]])),
    (loaded.test, sets["tstid"]),
  ):
    contents = [files["pictures"][f"jpg/image_{number:05d}.jpg"] for number in numbers]
    image = np.stack([decode.decode(content, 3, (224, 224), "crop") for content in contents])
    same_examples(examples, image, label[numbers - 1] - 1)
  assert loaded.train.image.shape == (204, 224, 224, 3)
  assert len(loaded.class_names) == 102
  assert loaded.class_names[53] == "sunflower"


def test_a_missing_picture_is_named(load, files):
  number = files["sets"]["tstid"][7]
  del files["pictures"][f"jpg/image_{number:05d}.jpg"]
  with pytest.raises(datasets.DatasetUnavailableError, match=f"1 of 102 pictures.*{number:05d}"):
    load(files)


def test_a_missing_array_is_named(load, files):
  del files["sets"]["valid"]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"setid\.mat has no array valid"):
    load(files)


@pytest.mark.parametrize("label", [0, 103])
def test_labels_that_are_no_class_are_refused(load, files, label):
  files["labels"]["labels"][3] = label
  with pytest.raises(datasets.DatasetUnavailableError, match="labels are not 1 to 102"):
    load(files)


def test_a_damaged_picture_is_reported_when_it_is_read(load, files):
  name = f"jpg/image_{files['sets']['trnid'][0]:05d}.jpg"
  files["pictures"][name] = files["pictures"][name][:200]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"train example \d+: "):
    load(files)
