import shutil
import subprocess
import sys

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import decode

_LOAD = """
import hashlib, sys
from tagjax import datasets
digits = datasets.load("digits")
print(hashlib.sha256(digits.train.image.tobytes() + digits.train.label.tobytes()).hexdigest())
print("tensorflow" in sys.modules, "tensorflow_datasets" in sys.modules)
"""


def _start() -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-c", _LOAD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def _finish(process: subprocess.Popen) -> list[str]:
  out, err = process.communicate(timeout=120)
  assert process.returncode == 0, err
  return out.splitlines()


@pytest.fixture
def never_decode(monkeypatch):
  def refuse(*args):
    raise AssertionError("decoded although cached")

  return lambda: monkeypatch.setattr(decode, "Records", refuse)


def test_two_processes_prepare_at_once_and_neither_imports_tensorflow():
  first, second = [_finish(process) for process in [_start(), _start()]]
  assert first == second
  assert first[1] == "False True"  # prepared by TFDS
  third = _finish(_start())
  assert third[0] == first[0]
  assert third[1] == "False False"  # from the cache


def test_second_load_comes_from_the_cache(never_decode):
  first = datasets.load("digits")
  never_decode()
  second = datasets.load("digits")
  np.testing.assert_array_equal(first.train.image, second.train.image)
  assert isinstance(second.train.image, np.memmap)


def test_damaged_cache_is_written_again(cache_dir):
  first = np.array(datasets.load("digits").train.image)
  damaged = list((cache_dir / "arrays").rglob("image.npy"))
  assert len(damaged) == 2
  for path in damaged:
    path.write_bytes(path.read_bytes()[:-100])
  np.testing.assert_array_equal(datasets.load("digits").train.image, first)
  assert len(datasets.load("digits").test.image) == 360


def test_cache_of_a_set_that_was_prepared_again_is_not_used(cache_dir, never_decode):
  datasets.load("digits")
  shutil.rmtree(cache_dir / "tfds")
  never_decode()
  with pytest.raises(AssertionError, match="decoded although cached"):
    datasets.load("digits")


def test_digits_leave_the_data_dir_alone(cache_dir, data_dir):
  datasets.load("digits")
  assert not data_dir.exists()
  assert {path.name for path in cache_dir.iterdir()} == {"arrays", "tfds"}


@pytest.mark.parametrize("damage", ["cut", "zeros", "gone", "features", "json", "fewer"])
def test_damaged_prepared_set_is_reported(cache_dir, damage):
  datasets.load("digits")
  shutil.rmtree(cache_dir / "arrays")
  folder = cache_dir / "tfds" / "digits" / "1.0.0"
  shard = folder / "digits-train.array_record-00000-of-00001"
  content = shard.read_bytes()
  if damage == "cut":
    shard.write_bytes(content[: len(content) // 2])
  elif damage == "zeros":
    shard.write_bytes(bytes(len(content)))
  elif damage == "gone":
    shard.unlink()
  elif damage == "fewer":
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"1437"', '"1438"'))
  elif damage == "features":
    (folder / "features.json").write_text("{}")
  else:
    (folder / "features.json").unlink()
  with pytest.raises(datasets.DatasetUnavailableError, match="delete that folder"):
    datasets.load("digits")
