import hashlib
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tagjax import datasets
from tagjax.datasets import archives, catalog, folders, inventory, prepare
from tagjax.datasets.builders import fashion_mnist, mnist

_FACES = archives.ByHand(("faces.zip", "faces"), "https://example.org/faces", "with an account")


def _take(builder: type, root) -> inventory.Inventory:
  return inventory.take(builder.name, builder, root, root)


@pytest.fixture
def with_faces(monkeypatch):
  """MNIST, as if it needed a file besides that only the user can fetch."""
  monkeypatch.setattr(mnist.Mnist, "BY_HAND", (_FACES,), raising=False)


def test_everything_is_missing_at_first(with_faces, data_dir):
  found = _take(mnist.Mnist, data_dir)
  assert found.folder == data_dir / "downloads" / "manual" / "mnist"
  assert found.present == []
  assert found.to_download == archives.of_builder(mnist.Mnist)
  assert found.to_fetch == [_FACES]


def test_files_in_place_are_found_by_any_of_their_names(with_faces, data_dir):
  folder = folders.manual_dir(data_dir, "mnist")
  (folder / "faces").mkdir(parents=True)
  (folder / "t10k-labels-idx1-ubyte.gz").touch()
  found = _take(mnist.Mnist, data_dir)
  assert {item.path for item in found.present} == set(folder.iterdir())
  assert not any(item.downloaded for item in found.present)
  assert len(found.to_download) == 3
  assert found.to_fetch == []


def test_the_folder_that_has_something_is_taken(with_faces, data_dir, cache_dir):
  own = folders.manual_dir(cache_dir / "tfds", "mnist")
  (own / "faces").mkdir(parents=True)
  assert _take(mnist.Mnist, data_dir).folder == own


@pytest.mark.parametrize(
  ("note", "counts"),
  [
    (lambda url: json.dumps({"urls": [url]}), True),
    (lambda url: json.dumps({"urls": [url + "x"]}), False),
    (lambda url: "{", False),
    (lambda url: "[]", False),
  ],
  ids=["its URL", "another URL", "cut off", "no object"],
)
def test_a_download_is_known_by_the_note_beside_it(data_dir, note, counts):
  url, downloads = mnist.Mnist.URLS[0], data_dir / "downloads" / "mnist"
  downloads.mkdir(parents=True)
  (downloads / "name.gz").touch()
  (downloads / "name.gz.INFO").write_text(note(url))
  found = _take(mnist.Mnist, data_dir)
  assert [(item.path, item.downloaded) for item in found.present] == [
    (downloads / "name.gz", True)
  ] * counts
  (downloads / "name.gz").unlink()
  assert _take(mnist.Mnist, data_dir).present == []


def test_what_only_the_user_can_fetch_is_asked_for_before_the_net_is_tried(
  with_faces, data_dir, monkeypatch
):
  def refuse(*args):
    raise AssertionError("asked the net")

  monkeypatch.setattr(inventory.network, "why_unreachable", refuse)
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mnist")
  for part in (
    "only you can fetch",
    "faces.zip or faces",
    "https://example.org/faces with an account",
    str(data_dir / "downloads" / "manual" / "mnist"),
  ):
    assert part in str(error.value)
  assert "idx" not in str(error.value)


def test_where_else_the_files_are_is_said(offline):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("fashion_mnist")
  assert fashion_mnist.FashionMnist.ELSEWHERE in str(error.value)
  assert "apt-get install dataset-fashion-mnist" in str(error.value)


class Faces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A set of one image in each split, made of a file and a folder that the user has fetched."""

  name = "faces"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_FACES, archives.ByHand(("list.txt",), "https://example.org", size=5))

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Tensor(shape=(1, 1, 1), dtype=np.uint8),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      metadata=tfds.core.MetadataDict({"kept": 1}),
    )

  def _split_generators(self, dl_manager):
    faces, text = (archives.locate(file, dl_manager.manual_dir) for file in self.BY_HAND)
    image = np.full((1, 1, 1), int((faces / "value").read_text()), np.uint8)
    label = int(text.read_text())
    return {split: [(0, {"image": image, "label": label})] for split in ("train", "test")}

  def _generate_examples(self):
    raise NotImplementedError


@pytest.fixture
def faces(monkeypatch, data_dir):
  """Puts that set into the catalog, and its files into place; returns their folder."""
  entry = catalog.entry("mnist")._replace(image_shape=(1, 1, 1), version="1.0.0")
  monkeypatch.setitem(catalog._ENTRIES, "faces", entry)
  monkeypatch.setattr(catalog, "builder", lambda name: Faces)
  folder = folders.manual_dir(data_dir, "faces")
  (folder / "faces").mkdir(parents=True)
  (folder / "faces" / "value").write_text("42")
  (folder / "list.txt").write_text("00007")
  return folder


def test_what_the_user_has_fetched_is_used_and_noted_down(faces, data_dir):
  loaded = datasets.load("faces")
  assert (loaded.train.image.item(), loaded.test.label.item()) == (42, 7)
  metadata = json.loads((data_dir / "faces" / "1.0.0" / "metadata.json").read_text())
  assert metadata == {
    "kept": 1,
    "sources": {
      "faces": {"size": 2, "sha256": None},
      "list.txt": {"size": 5, "sha256": hashlib.sha256(b"00007").hexdigest()},
    },
  }


def test_what_does_not_fit_is_refused(faces):
  (faces / "list.txt").write_text("7")
  with pytest.raises(datasets.DatasetUnavailableError, match=r"list.txt is damaged: .* 5 bytes"):
    prepare.prepare("faces")
