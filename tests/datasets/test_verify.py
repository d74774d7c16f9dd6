import gzip
import json

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import archives, contents, prepare, prepared, verify
from tagjax.datasets.builders import mnist
from tagjax.datasets.progress import Bar


@pytest.fixture
def files(offer, shrink, idx_files, random_examples):
  """A small MNIST, put in place by hand; returns the folder of its files."""
  train, test = random_examples(1, 20, (28, 28), 10), random_examples(2, 10, (28, 28), 10)
  shrink("mnist", sizes=(20, 10))
  return offer(mnist.Mnist, idx_files(train, test))


def _checks(name: str = "mnist") -> list[verify.Check]:
  with Bar() as bar:
    return list(verify.verify(name, None, bar))


def _faults(name: str = "mnist") -> list[str]:
  return [check.text for check in _checks(name) if not check.ok]


def test_all_is_well(files, data_dir):
  datasets.load("mnist")
  checks = _checks()
  assert all(check.ok for check in checks)
  texts = "\n".join(check.text for check in checks)
  for part in (*map(str, files.iterdir()), str(data_dir / "mnist"), "train: 20", "test: 10"):
    assert part in texts
  assert texts.count("the same, decoded") == 2
  assert texts.count("every image decodes to 28 x 28 x 1") == 2


def test_the_digest_is_that_of_the_images_and_labels(files):
  prepare.prepare("mnist")
  first = [check.text for check in _checks() if "sha256 of images" in check.text]
  assert len(first) == len(set(first)) == 2
  datasets.load("mnist")
  assert first == [check.text for check in _checks() if "sha256 of images" in check.text]


def test_what_is_not_prepared_is_a_fault_with_the_way_out(files):
  assert _faults() == ["not prepared: `python -m tagjax.datasets prepare mnist` does it"]


def test_a_set_that_was_streamed_has_its_labels_compared(cache_dir):
  datasets.load("digits", input="stream")
  assert _faults("digits") == []
  path = next((cache_dir / "arrays").rglob("train-*/label.npy"))
  label = np.load(path)
  label[3] = (label[3] + 1) % 10
  np.save(path, label)
  assert _faults("digits") == [
    f"{path.parent} differs from the prepared files in example 3: delete that folder, and it is "
    "written again"
  ]


def test_a_damaged_archive(files):
  prepare.prepare("mnist")
  path = files / "t10k-images-idx3-ubyte.gz"
  path.write_bytes(path.read_bytes()[:-1])
  (fault,) = _faults()
  assert fault.startswith(f"{path} is damaged")


def test_an_archive_that_was_compressed_again_is_said_to_be(files, monkeypatch):
  prepare.prepare("mnist")
  path = files / "t10k-labels-idx1-ubyte.gz"
  inside = gzip.decompress(path.read_bytes())
  url = next(a.url for a in archives.of_builder(mnist.Mnist) if a.name == path.name)
  known = {url: contents.Content(len(inside), contents.hashlib.sha256(inside).hexdigest())}
  monkeypatch.setattr(contents, "known", lambda: known)
  path.write_bytes(gzip.compress(inside, compresslevel=1, mtime=7))
  assert _faults() == []
  assert any(
    check.text.startswith(str(path)) and "compressed by somebody else" in check.text
    for check in _checks()
  )


def test_a_shard_with_a_flipped_byte(files):
  datasets.load("mnist")
  folder = prepared.find("mnist").folder
  shard = next(folder.glob("*train*"))
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 255
  shard.write_bytes(content)
  (fault,) = _faults()
  assert str(folder) in fault
  assert "delete that folder, and it is prepared again" in fault


@pytest.mark.parametrize("changes", [{"sizes": (21, 10)}, {"image_shape": (28, 27, 1)}])
def test_what_the_catalog_says_otherwise(files, shrink, changes):
  prepare.prepare("mnist")
  shrink("mnist", **changes)
  faults = _faults()
  assert faults
  assert all("delete that folder" in fault for fault in faults)
  assert ("train: 20 examples, 21 are right" in faults[0]) == ("sizes" in changes)


def test_labels_and_names_that_are_no_classes(shrink):
  prepare.prepare("digits")
  (prepared.find("digits").folder / "label.labels.txt").write_text("\n".join("0123456789"))
  assert _faults("digits") == []
  shrink("digits", num_classes=9)
  faults = _faults("digits")
  assert len(faults) == 3
  assert "10 names of classes, 9 are right" in faults[0]
  assert all("has label 9, not 0 to 8" in fault for fault in faults[1:])


def test_a_cached_image_that_differs_and_one_that_is_cut_off(cache_dir):
  datasets.load("digits")
  train, test = (
    next((cache_dir / "arrays").rglob(f"{split}-*/image.npy")) for split in ("train", "test")
  )
  image = np.load(train)
  image[5, 0, 0, 0] ^= 1
  np.save(train, image)
  test.write_bytes(test.read_bytes()[:-1])
  first, second = _faults("digits")
  assert first.startswith(f"{train.parent} differs from the prepared files in example 5: delete")
  assert second.startswith(f"{test.parent} is cut off or of another shape: delete")


def test_a_set_that_cannot_be_read_at_all(files):
  prepare.prepare("mnist")
  path = prepared.find("mnist").folder / "dataset_info.json"
  path.write_text(json.dumps({"fileFormat": "array_record"}))
  (fault,) = _faults()
  assert "cannot be read" in fault
