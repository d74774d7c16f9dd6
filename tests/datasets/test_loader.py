import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import decode, prepare, prepared

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


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
  """Half a second's work."""
  folder = tmp_path_factory.mktemp("prepared")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TAGJAX_CACHE_DIR", str(folder))
    prepare.prepare("digits")
  return folder


@pytest.fixture
def digits_folder(prepared_once, cache_dir):
  shutil.copytree(prepared_once, cache_dir)
  return prepared.find("digits").folder


def _edit(path, old, new):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("count", ["1436", str(10**15), "-1437", "Infinity", "1e400"])
@pytest.mark.parametrize("input", ["memory", "stream"])
def test_a_set_of_another_size_than_the_published_one_is_refused(
  digits_folder, sizes_count, count, input
):
  _edit(digits_folder / "dataset_info.json", '"1437"', count)
  with pytest.raises(datasets.DatasetUnavailableError, match="delete that folder") as caught:
    datasets.load("digits", input=input)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
@pytest.mark.parametrize("content", [b"\x80abc", b"[" * 100_000], ids=["latin-1", "nested"])
def test_unreadable_texts_are_damage(digits_folder, name, content):
  (digits_folder / name).write_bytes(content)
  if name == "label.labels.txt" and content[:1] == b"[":
    return  # a name
  with pytest.raises(datasets.DatasetUnavailableError, match="delete that folder") as caught:
    datasets.load("digits")
  assert "\n" not in str(caught.value)


_DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
_NESTED = '{"pythonClassName": "%s", "featuresDict": {"features": {"image": {%s}}}}'


@pytest.mark.parametrize(
  "features",
  [
    _NESTED % (_DICT, '"pythonClassName": "outsider.Evil"'),
    _NESTED % (_DICT, '"python_class_name": "outsider.Evil"'),
    _NESTED % (_DICT, r'"pythonClassName": "outsider.\u0045vil"'),
    '{"type": "outsider.Evil", "content": {}}',
    json.dumps(
      {
        "pythonClassName": _DICT,
        "jsonFeature": {"json": json.dumps({"a": {"type": "outsider.Evil", "content": 1}})},
      }
    ),
  ],
  ids=["camel", "snake", "escaped", "old", "text"],
)
def test_a_prepared_set_imports_nothing(digits_folder, tmp_path, monkeypatch, features):
  """As the folder from which Python imports may hold what came with the data."""
  (tmp_path / "outsider.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()")
  monkeypatch.syspath_prepend(tmp_path)
  (digits_folder / "features.json").write_text(features)
  with pytest.raises(datasets.DatasetUnavailableError, match=r"names the class outsider\.Evil"):
    datasets.load("digits")
  assert not (tmp_path / "executed").exists()
  with pytest.raises(ValueError, match=r"Unrecognized"):  # TFDS would have run it
    decode.tfds.builder_from_directory(digits_folder)
  assert (tmp_path / "executed").exists()
  del sys.modules["outsider"]


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ('"none"', '"zlib"', "numbers are compressed"),
    ("tensor_feature.Tensor", "dataset_feature.Dataset", "names the class"),
  ],
)
def test_features_that_could_fill_memory_are_refused(digits_folder, old, new, words):
  _edit(digits_folder / "features.json", old, new)
  with pytest.raises(datasets.DatasetUnavailableError, match=words):
    datasets.load("digits")


def test_a_set_reads_no_file_outside_of_its_folder(digits_folder, tmp_path):
  (shard,) = digits_folder.glob("digits-test.array_record*")
  shard.rename(tmp_path / shard.name)
  _edit(
    digits_folder / "dataset_info.json",
    '"{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"',
    f'"{tmp_path}/{{DATASET}}-{{SPLIT}}.{{FILEFORMAT}}-{{SHARD_X_OF_Y}}"',
  )
  with pytest.raises(datasets.DatasetUnavailableError, match="is no file in its folder"):
    datasets.load("digits")


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
