import os
import pathlib
import shutil
import time

from tagjax.datasets import folders


def test_data_dir_is_the_argument_then_the_variable_then_the_default(monkeypatch, tmp_path):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
  assert folders.data_dir(tmp_path / "argument") == tmp_path / "argument"
  assert folders.data_dir() == tmp_path / "variable"
  monkeypatch.delenv("TFDS_DATA_DIR")
  assert folders.data_dir() == pathlib.Path.home() / "tensorflow_datasets"
  assert folders.data_dir("~/x") == pathlib.Path.home() / "x"


def test_cache_dir_honours_its_variables(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "own"))
  assert folders.cache_dir() == tmp_path / "own"
  monkeypatch.delenv("TAGJAX_CACHE_DIR")
  assert folders.cache_dir() == tmp_path / "xdg" / "tagjax"
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert folders.cache_dir() == pathlib.Path.home() / ".cache" / "tagjax"


def test_writable_is_what_can_be_written(tmp_path):
  (tmp_path / "file").touch()
  assert folders.is_writable(tmp_path / "not" / "yet" / "there")
  assert not folders.is_writable(tmp_path / "file" / "below")
  assert not (tmp_path / "not").exists()


def test_removes_only_what_was_abandoned_long_ago(tmp_path):
  for name, hours in (("incomplete.OLD_1.0.0", 25), ("incomplete.NEW_1.0.0", 1), ("1.0.0", 99)):
    (tmp_path / name).mkdir()
    (tmp_path / name / "part").touch()
    then = time.time() - hours * 3600
    os.utime(tmp_path / name, (then, then))
  folders.remove_abandoned(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["1.0.0", "incomplete.NEW_1.0.0"]


def test_leftovers_go_whatever_their_age_and_nothing_else(tmp_path):
  kept = ["digits/1.0.0", "downloads/manual/digits/a.tmp.b", "downloads/mnist/a.gz.tmp.1f"]
  gone = ["digits/incomplete.AB_1.0.0", "downloads/digits/a.gz.tmp.1f"]
  for name in (*kept, *gone):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "part").touch()
  (tmp_path / "downloads" / "digits" / "a.gz").touch()
  folders.remove_leftovers(tmp_path, "digits")
  assert {name for name in (*kept, *gone) if (tmp_path / name).exists()} == set(kept)
  assert (tmp_path / "downloads" / "digits" / "a.gz").exists()


def test_size_counts_all_files_below(tmp_path):
  assert folders.size(tmp_path / "none") == 0
  (tmp_path / "a" / "b").mkdir(parents=True)
  (tmp_path / "a" / "one").write_bytes(b"12345")
  (tmp_path / "a" / "b" / "two").write_bytes(b"123")
  assert folders.size(tmp_path) == 8
  assert folders.size(tmp_path / "a" / "one") == 5


def test_room_is_that_of_the_disk_on_which_the_folder_will_be(tmp_path):
  free = shutil.disk_usage(tmp_path).free
  assert abs(folders.room(tmp_path / "not" / "yet") - free) < free / 10
