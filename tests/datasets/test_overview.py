import shutil

import pytest

from tagjax import datasets
from tagjax.datasets import archives, catalog, folders, overview, prepare
from tagjax.datasets.builders import fashion_mnist, mnist


@pytest.fixture
def files(offer, idx_files, random_examples):
  train, test = random_examples(1, 20, (28, 28), 10), random_examples(2, 10, (28, 28), 10)
  return offer(mnist.Mnist, idx_files(train, test))


def _status(name: str) -> str:
  return "\n".join(overview.status(name))


@pytest.mark.parametrize("name", datasets.names())
def test_every_set_has_a_row_and_a_status(name):
  row, entry = overview.row(name), catalog.entry(name)
  assert row["name"] == name
  assert row["classes"] == str(entry.num_classes)
  by_hand = archives.by_hand(catalog.builder(name))
  right = "built in" if entry.embedded else "to be downloaded"
  assert row["state"] == ("to be fetched by hand" if by_hand else right)
  sizes = [item.wanted.size for item in overview.take_inventory(name, None).items]
  assert folders.in_words(sum(size or 0 for size in sizes)) in row["files"] or not any(sizes)
  assert ("over" in row["files"] or row["files"] == "unknown") == (None in sizes)
  status = _status(name)
  assert f"prepare {name}" in status
  assert entry.licence in status
  for item in overview.take_inventory(name, None).items:
    assert archives.description(item.wanted) in status
    assert archives.origin(item.wanted) in status


def test_the_state_follows_the_disk(files, cache_dir):
  assert overview.row("mnist")["state"] == "files are here"
  path = files / "t10k-labels-idx1-ubyte.gz"
  kept = path.read_bytes()
  path.unlink()
  assert overview.row("mnist")["state"] == "3 of 4 files here, to be downloaded"
  path.write_bytes(kept)
  prepare.prepare("mnist")
  assert overview.row("mnist")["state"] == "prepared"


def test_a_set_that_only_tensorflow_can_read(data_dir):
  folder = data_dir / "mnist" / "3.0.1"
  folder.mkdir(parents=True)
  (folder / "features.json").write_text("{}")
  (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
  assert overview.row("mnist")["state"] == "unreadable: see status"
  assert "only TensorFlow can read" in _status("mnist")


def test_status_names_every_file_with_its_folder(files, data_dir):
  (files / "t10k-labels-idx1-ubyte.gz").unlink()
  status = _status("mnist")
  for path in files.iterdir():
    assert f"put in place by hand, {folders.in_words(path.stat().st_size)}: {path}" in status
  assert "missing: t10k-labels-idx1-ubyte.gz" in status
  assert f"unless you put it into {files}" in status


def test_status_of_a_prepared_set_says_what_there_is_and_asks_for_nothing(files, data_dir):
  loaded = datasets.load("mnist")
  shutil.rmtree(files)
  status = _status("mnist")
  folder = data_dir / "mnist" / "3.0.1"
  assert f"{folders.in_words(folders.size(folder))}: {folder}" in status
  assert "20 training and 10 test examples" in status
  assert status.count("  decoded, ") == 2
  assert folders.in_words(loaded.train.image.nbytes + 20 * 4 + 2 * 128) in status  # two headers
  assert "missing" not in status
  assert "need not be" in status
  assert "may be deleted" not in status


def test_arrays_of_files_that_are_gone_are_called_so(cache_dir):
  datasets.load("digits")
  shutil.rmtree(cache_dir / "tfds")
  stale = folders.size(cache_dir / "arrays" / "digits")
  status = _status("digits")
  assert f"decoded from other files, {folders.in_words(stale)}, may be deleted" in status


def test_where_else_files_are_is_said(data_dir):
  assert fashion_mnist.FashionMnist.ELSEWHERE in _status("fashion_mnist")


def test_looking_changes_nothing(data_dir, cache_dir):
  for name in datasets.names():
    overview.row(name)
    _status(name)
  assert not data_dir.exists()
  assert not cache_dir.exists()
