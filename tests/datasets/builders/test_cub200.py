import json

import numpy as np
import pytest
from picture_files import encoded, pixels

from tagjax import datasets
from tagjax.datasets import decode
from tagjax.datasets.builders import cub200

FOLDER = "CUB_200_2011"


def _lines(values) -> bytes:
  return "".join(f"{number} {value}\n" for number, value in enumerate(values, 1)).encode()


@pytest.fixture(scope="module")
def every_member():
  """The archive with two pictures of each bird; of the first classes one is for the test."""
  classes = [f"{number:03d}.Bird_number_{number}" for number in range(1, 201)]
  files = [f"{name}/picture_{number}.jpg" for name in classes for number in range(2)]
  found = {
    f"{FOLDER}/images/{file}": encoded(pixels(number), "JPEG") for number, file in enumerate(files)
  }
  attributes = np.arange(200 * 312).reshape(200, 312) % 1001 / 10
  found |= {
    f"{FOLDER}/images.txt": _lines(files),
    f"{FOLDER}/image_class_labels.txt": _lines(number // 2 + 1 for number in range(400)),
    f"{FOLDER}/train_test_split.txt": _lines(number % 2 for number in range(400)),
    f"{FOLDER}/classes.txt": _lines(classes),
    f"{FOLDER}/attributes/class_attribute_labels_continuous.txt": "\n".join(
      " ".join(map(str, row)) for row in attributes.tolist()
    ).encode(),
    "attributes.txt": _lines(f"has_part::kind_{number}" for number in range(312)),
  }
  return found


@pytest.fixture
def members(every_member):
  return dict(every_member)


@pytest.fixture
def load(offer, tar_gz):
  def load(members):
    offer(cub200.Cub200, {"CUB_200_2011.tgz": tar_gz(members)})
    return datasets.load("cub200")

  return load


def _stretched(seeds) -> np.ndarray:
  return np.stack(
    [decode.decode(encoded(pixels(seed), "JPEG"), 3, (224, 224), "stretch") for seed in seeds]
  )


def test_prepares_the_split_of_the_archive(load, members, same_examples, data_dir):
  loaded = load(members)
  train, test = np.arange(1, 400, 2), np.arange(0, 400, 2)
  same_examples(loaded.train, _stretched(train), train // 2)
  same_examples(loaded.test, _stretched(test), test // 2)
  assert loaded.train.image.shape == (200, 224, 224, 3)
  assert loaded.class_names[:2] == ("Bird number 1", "Bird number 2")

  index = int(np.flatnonzero(loaded.train.label == 7)[0])
  corner = loaded.train.image[index, :4, :4].mean((0, 1))  # magnified
  assert np.abs(corner - pixels(15)[0, 0]).max() < 20

  attributes = loaded.attributes
  assert (attributes.shape, attributes.dtype) == ((200, 312), np.float32)
  np.testing.assert_allclose(attributes[0, :4], [0, 0.1, 0.2, 0.3], rtol=1e-6)
  assert attributes.max() == 100
  assert _attribute_names(data_dir)[3] == "has_part::kind_3"


def _attribute_names(data_dir) -> list[str]:
  metadata = json.loads((data_dir / "cub200" / "1.0.0" / "metadata.json").read_text())
  return metadata["attribute_names"]


def test_attribute_names_may_lie_where_the_readme_says(load, members, data_dir):
  members[f"{FOLDER}/attributes/attributes.txt"] = members.pop("attributes.txt")
  load(members)
  assert _attribute_names(data_dir)[3] == "has_part::kind_3"


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("images/003.Bird_number_3/picture_1.jpg", None, r"1 of 200 pictures are missing.*number_3"),
    ("classes.txt", None, r"has no file CUB_200_2011/classes\.txt"),
    ("classes.txt", lambda text: text[: text.index(b"\n200 ")], "names do not match"),
    ("train_test_split.txt", lambda text: text.replace(b"7 0", b"7 2"), "'2' is not a number from"),
    ("image_class_labels.txt", lambda text: text + b"401 201\n", "'201' is not a number from 1"),
    ("images.txt", lambda text: text.replace(b"\n9 ", b"\n8 "), "not 1 to 400, each once"),
    (
      "attributes/class_attribute_labels_continuous.txt",
      lambda text: text[: text.rindex(b" ")],
      r"200 rows of \[311, 312\] numbers, not 200 of 312",
    ),
  ],
)
def test_an_archive_of_another_layout_is_refused(load, members, name, change, message):
  content = members.pop(f"{FOLDER}/{name}")
  if change is not None:
    assert change(content) != content
    members[f"{FOLDER}/{name}"] = change(content)
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    load(members)


def test_a_damaged_picture_is_named_when_it_is_read(load, members):
  name = f"{FOLDER}/images/003.Bird_number_3/picture_1.jpg"
  members[name] = members[name][:100]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"train example \d+: "):
    load(members)
