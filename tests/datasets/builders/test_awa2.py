import json

import numpy as np
import pytest
from picture_files import encoded, pixels, zipped

from tagjax import datasets
from tagjax.datasets import catalog, decode
from tagjax.datasets.builders import awa2

FOLDER = "Animals_with_Attributes2"
CLASSES = [f"animal+{number * 7 % 50}" for number in range(50)]  # not in alphabetical order
PER_CLASS = 4


def _lines(values) -> bytes:
  return "".join(f"    {number}\t{value}\n" for number, value in enumerate(values, 1)).encode()


@pytest.fixture
def members():
  """The archive with four pictures of each animal."""
  rows = [" ".join(f"  {(row * column) % 100:.2f}" for column in range(85)) for row in range(50)]
  found = {
    f"{FOLDER}/classes.txt": _lines(CLASSES),
    f"{FOLDER}/predicates.txt": _lines(f"attribute{number}" for number in range(85)),
    f"{FOLDER}/predicate-matrix-continuous.txt": "\n".join(rows).replace("0.00", "-1", 1).encode(),
    f"{FOLDER}/licenses/{CLASSES[0]}/{CLASSES[0]}_10001.txt": b"by hand",
  }
  for label, name in enumerate(CLASSES):
    for number in range(PER_CLASS):
      picture = encoded(pixels(label * PER_CLASS + number))
      found[f"{FOLDER}/JPEGImages/{name}/{name}_{10001 + number}.jpg"] = picture
  return found


@pytest.fixture
def load(offer, shrink):
  def load(members):
    shrink("awa2", sizes=(50 * PER_CLASS - 50, 50))
    offer(awa2.Awa2, {"AwA2-data.zip": zipped(members)})
    return datasets.load("awa2")

  return load


def test_splits_every_class_in_proportion(load, members, same_examples, data_dir):
  loaded = load(members)
  assert np.bincount(loaded.train.label).tolist() == [PER_CLASS - 1] * 50
  assert np.bincount(loaded.test.label).tolist() == [1] * 50
  both = datasets.Examples(
    np.concatenate([loaded.train.image, loaded.test.image]),
    np.concatenate([loaded.train.label, loaded.test.label]),
  )
  for array in both:
    array.flags.writeable = False
  image = [
    decode.decode(encoded(pixels(seed)), 3, (224, 224), "stretch") for seed in range(50 * PER_CLASS)
  ]
  same_examples(both, np.stack(image), np.arange(50 * PER_CLASS) // PER_CLASS)
  assert loaded.class_names[:3] == ("animal 0", "animal 7", "animal 14")

  assert (loaded.attributes.shape, loaded.attributes.dtype) == ((50, 85), np.float32)
  assert loaded.attributes[0, 0] == -1  # a missing value
  assert loaded.attributes[7, 9] == 63
  metadata = json.loads((data_dir / "awa2" / "1.0.0" / "metadata.json").read_text())
  assert metadata["attribute_names"][2] == "attribute2"


def test_the_split_does_not_hang_on_the_order_of_the_archive(load, members, tmp_path, offer):
  first = load(members)
  backwards = dict(reversed(members.items()))
  offer(awa2.Awa2, {"AwA2-data.zip": zipped(backwards)}, tmp_path / "again")
  second = datasets.load("awa2", tmp_path / "again")
  np.testing.assert_array_equal(first.test.image, second.test.image)
  np.testing.assert_array_equal(first.test.label, second.test.label)


def test_the_unpacked_folder_does_as_well(load, members, shrink, data_dir, tmp_path):
  packed = load(members)
  manual = tmp_path / "again" / "downloads" / "manual" / "awa2"
  for name, content in members.items():
    path = manual / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  unpacked = datasets.load("awa2", tmp_path / "again")
  np.testing.assert_array_equal(packed.test.image, unpacked.test.image)


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    (f"JPEGImages/{CLASSES[3]}/{CLASSES[3]}_10002.jpg", None, "found 199, but the published set"),
    (f"JPEGImages/{CLASSES[3]}/{CLASSES[3]}_10002.jpg", b"GIF89", "_10002.jpg is damaged or no"),
    ("predicates.txt", None, r"has no file .*predicates\.txt"),
    ("classes.txt", _lines(CLASSES[:-1]), "do not match"),
  ],
)
def test_what_no_checksum_vouches_for_is_checked(load, members, name, content, message):
  del members[f"{FOLDER}/{name}"]
  if content is not None:
    members[f"{FOLDER}/{name}"] = content
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    load(members)


def test_the_published_sizes_are_a_split_of_15_percent():
  num_train, num_test = catalog.entry("awa2").sizes
  assert num_train + num_test == 37_322
  assert round(num_test / 37_322, 3) == 0.15


def test_says_what_to_fetch(offline, data_dir):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("awa2")
  for part in ("AwA2-data.zip", awa2.Awa2.BY_HAND[0].page, "manual/awa2"):
    assert part in str(error.value)
