import json
import os
import shutil

import pytest

from tagjax import datasets
from tagjax.datasets import prepared


@pytest.fixture
def put(data_dir):
  """Puts a prepared data set there, as far as its descriptions go."""

  def put(version, file_format="array_record", root=data_dir, **more):
    folder = root / "cifar10" / version
    folder.mkdir(parents=True)
    splits = [
      {"name": "train", "shardLengths": ["30", "20"]},
      {"name": "test", "shardLengths": ["10"]},
    ]
    info = {"name": "cifar10", "fileFormat": file_format, "splits": splits, **more}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text("{}")
    return folder

  return put


def test_nothing_there(data_dir):
  assert prepared.find("cifar10") is None
  (data_dir / "cifar10" / "incomplete.ABCDEF_3.0.2").mkdir(parents=True)
  (data_dir / "cifar10" / "3.0.2").mkdir()
  assert prepared.find("cifar10") is None


def test_counts_examples_over_shards(put):
  folder = put("3.0.2")
  found = prepared.find("cifar10")
  assert (found.folder, found.version) == (folder, "3.0.2")
  assert found.num_examples == {"train": 50, "test": 10}


def test_prefers_the_version_of_the_builder_and_then_the_newest(put):
  put("3.0.9")
  put("3.0.10")
  assert prepared.find("cifar10").version == "3.0.10"
  put("3.0.2")
  assert prepared.find("cifar10").version == "3.0.2"


def test_the_root_is_the_first_in_which_the_set_has_a_folder_to_write_to(data_dir, cache_dir):
  assert prepared.writable_root("cifar10", None) == data_dir
  assert prepared.writable_root("digits", None) == cache_dir / "tfds"
  data_dir.mkdir()
  (data_dir / "cifar10").touch()  # no folder, so nothing can be written there
  assert prepared.writable_root("cifar10", None) == cache_dir / "tfds"
  assert prepared.writable_root("cifar100", None) == data_dir


def test_tfrecord_gets_the_remedy(put, data_dir):
  folder = put("3.0.2", "tfrecord")
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("cifar10")
  for part in (str(folder), "tfrecord", "TensorFlow", "move that folder away", "TFDS_DATA_DIR"):
    assert part in str(error.value)
  shutil.rmtree(folder)
  put("3.0.2", "tfrecord", alternativeFileFormats=["array_record"])
  assert prepared.find("cifar10") is not None


def test_an_array_record_set_elsewhere_beats_tfrecord(put, cache_dir):
  put("3.0.2", "tfrecord")
  mine = put("3.0.2", root=cache_dir / "tfds")
  assert prepared.find("cifar10").folder == mine


def test_digest_follows_the_files(put):
  folder = put("3.0.2")
  shard = folder / "cifar10-train.array_record-00000-of-00001"
  digests = [prepared.find("cifar10").digest, prepared.find("cifar10").digest]
  shard.write_bytes(b"abc")
  digests.append(prepared.find("cifar10").digest)
  os.utime(shard, (1, 1))
  digests.append(prepared.find("cifar10").digest)
  assert digests[0] == digests[1]
  assert len(set(digests)) == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"fileFormat": "array_record"}'])
def test_damaged_descriptions_are_reported(put, text):
  folder = put("3.0.2")
  (folder / "dataset_info.json").write_text(text)
  with pytest.raises(datasets.DatasetUnavailableError, match="delete that folder"):
    prepared.find("cifar10")
