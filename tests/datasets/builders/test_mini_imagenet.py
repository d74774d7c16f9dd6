import hashlib
import json
import os
import pickle

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets.builders import mini_imagenet

NUM_CLASSES = {"train": 3, "test": 2, "val": 1}
PER_CLASS, NUM_TRAINED = 5, 4
NAMES = {"train": ["n03", "n01", "n02"], "test": ["n09", "n04"], "val": ["n05"]}
CLASS_NAMES = ("n03", "n01", "n02", "n09", "n04", "n05")

OFFICIAL = dict(mini_imagenet._NUM_CLASSES)


@pytest.fixture(autouse=True)
def smaller(monkeypatch):
  """Six classes of five images in place of a hundred of six hundred."""
  monkeypatch.setattr(mini_imagenet, "_NUM_CLASSES", NUM_CLASSES)
  monkeypatch.setattr(mini_imagenet, "_PER_CLASS", PER_CLASS)
  monkeypatch.setattr(mini_imagenet, "_NUM_TRAINED", NUM_TRAINED)


@pytest.fixture
def contents():
  """What the three pickles hold; the rows of a class are not in the order of the images."""
  rng = np.random.default_rng(0)
  contents = {}
  for part, names in NAMES.items():
    rows = rng.permutation(len(names) * PER_CLASS).reshape(len(names), PER_CLASS)
    image = rng.integers(0, 256, (rows.size, 84, 84, 3), np.uint8)
    class_dict = {name: of.tolist() for name, of in zip(names, rows, strict=True)}
    contents[part] = {"image_data": image, "class_dict": class_dict}
  return contents


def _offer(offer, contents):
  files = {f"mini-imagenet-cache-{part}.pkl": pickle.dumps(of) for part, of in contents.items()}
  return offer(mini_imagenet.MiniImagenet, files)


def _expected(contents, which):
  image, label = [], []
  for part, names in NAMES.items():
    for name in names:
      rows = contents[part]["class_dict"][name][which]
      image.extend(contents[part]["image_data"][rows])
      label.extend([CLASS_NAMES.index(name)] * len(rows))
  return np.array(image), np.array(label)


def test_the_official_files_hold_64_and_20_and_16_classes():
  files = [file.names[0].rpartition("-")[2] for file in mini_imagenet.MiniImagenet.BY_HAND]
  assert list(zip(files, OFFICIAL.values(), strict=True)) == [
    ("train.pkl", 64),
    ("test.pkl", 20),
    ("val.pkl", 16),
  ]


def test_classes_are_numbered_train_test_val_in_the_order_of_the_pickles(
  contents, offer, same_examples
):
  _offer(offer, contents)
  loaded = datasets.load("mini_imagenet")
  assert loaded.class_names == CLASS_NAMES
  same_examples(loaded.train, *_expected(contents, slice(0, 4)))
  same_examples(loaded.test, *_expected(contents, slice(4, 5)))


def test_the_other_name_of_the_last_file_serves_too(contents, offer):
  folder = _offer(offer, contents)
  path = folder / "mini-imagenet-cache-val.pkl"
  path.rename(folder / "mini-imagenet-cache-validation.pkl")
  assert len(datasets.load("mini_imagenet").test.label) == 6


def test_rows_may_be_an_array(contents, offer, same_examples):
  expected = _expected(contents, slice(0, 4))
  rows = contents["val"]["class_dict"]
  rows["n05"] = np.array(rows["n05"])
  _offer(offer, contents)
  same_examples(datasets.load("mini_imagenet").train, *expected)


def test_what_was_read_is_noted_in_the_prepared_set(contents, offer, data_dir):
  folder = _offer(offer, contents)
  datasets.load("mini_imagenet")
  metadata = json.loads((data_dir / "mini_imagenet" / "1.0.0" / "metadata.json").read_text())
  for part in NAMES:
    name = f"mini-imagenet-cache-{part}.pkl"
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert metadata["sources"][name]["sha256"] == sha256


def _without_an_image(part):
  part["class_dict"]["n03"].pop()


def _with_an_image_twice(part):
  part["class_dict"]["n03"][0] = part["class_dict"]["n01"][0]


def _with_an_image_out_of_range(part):
  part["class_dict"]["n03"][0] = -1


def _without_a_class(part):
  part["class_dict"].pop("n03")


def _in_another_size(part):
  part["image_data"] = part["image_data"][:, :42]


def _in_floats(part):
  part["image_data"] = part["image_data"].astype(np.float32)


def _without_images(part):
  part.pop("image_data")


def _of_lists(part):
  part["class_dict"] = list(part["class_dict"].values())


def _with_names_of_bytes(part):
  part["class_dict"] = {name.encode(): rows for name, rows in part["class_dict"].items()}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (_with_names_of_bytes, "names its classes .* which are no texts"),
    (_without_an_image, "does not hold 3 classes of 5 images"),
    (_with_an_image_twice, "does not hold 3 classes of 5 images"),
    (_with_an_image_out_of_range, "does not hold 3 classes of 5 images"),
    (_without_a_class, "does not hold 3 classes of 5 images"),
    (_in_another_size, r"images uint8 \(15, 42, 84, 3\), not uint8 \(15, 84, 84, 3\)"),
    (_in_floats, "images float32"),
    (_without_images, "holds no image_data and class_dict: KeyError"),
    (_of_lists, "holds no image_data and class_dict: AttributeError"),
  ],
)
def test_a_pickle_of_another_structure_is_refused(contents, offer, change, message):
  change(contents["train"])
  _offer(offer, contents)
  with pytest.raises(
    datasets.DatasetUnavailableError, match=rf"mini-imagenet-cache-train\.pkl .*{message}"
  ):
    datasets.load("mini_imagenet")


class _Touch:
  """Unpickles as a file that is made."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.system, (f"touch {self.path}",)


def test_a_pickle_with_a_program_is_refused_and_nothing_is_run(contents, offer, tmp_path):
  contents["val"]["author"] = _Touch(tmp_path / "touched")
  _offer(offer, contents)
  with pytest.raises(datasets.DatasetUnavailableError, match=r"it asks for posix\.system"):
    datasets.load("mini_imagenet")
  assert not (tmp_path / "touched").exists()


def test_without_the_pickles_it_is_said_where_to_fetch_them(offline, data_dir):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mini_imagenet")
  for part in NAMES:
    assert f"mini-imagenet-cache-{part}.pkl" in str(error.value)
  assert "https://www.kaggle.com/datasets/whitemoon/miniimagenet" in str(error.value)
  assert str(data_dir / "downloads" / "manual" / "mini_imagenet") in str(error.value)
