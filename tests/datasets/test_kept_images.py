"""Whatever becomes of the files, images are right; and they are made once where nothing happens."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import arrays, folders, kept_images

SHAPE = (40, 6, 5, 3)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
IMAGE[7] = 0  # what a hole in a file looks like
ALL = np.arange(len(IMAGE))


class Counted:
  """The images, and the rows of them that were made."""

  shape, dtype = SHAPE, IMAGE.dtype

  def __init__(self):
    self.made = []

  def __len__(self):
    return len(IMAGE)

  def __getitem__(self, rows):
    if 39 in rows.tolist() and self.made == ["broken"]:
      raise datasets.DatasetUnavailableError("example 39 is broken")
    self.made += rows.tolist()
    return IMAGE[rows]


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "cache" / "split"


@pytest.fixture
def opened(folder):
  """Opens the folder as a new process does; images, and those that they are made of."""

  def opened():
    source = Counted()
    return kept_images.KeptImages(SHAPE, lambda: source, folder), source

  return opened


def check(images, rows):
  np.testing.assert_array_equal(images[rows], IMAGE[rows])


def test_each_image_is_made_once(opened, folder):
  images, source = opened()
  rows = np.array([30, 2, 7, 2])
  assert (images.shape, len(images), images.dtype) == (SHAPE, 40, np.uint8)
  for _ in range(2):
    check(images, rows)
  assert sorted(source.made) == [2, 2, 7, 30]
  images, source = opened()  # the first process was killed here
  check(images, rows)
  assert source.made == []
  check(images, ALL)
  assert sorted(source.made) == [row for row in ALL if row not in rows]
  assert [path.name for path in folder.iterdir()] == ["image.npy"]
  np.testing.assert_array_equal(arrays.read_images(folder, 40, SHAPE[1:]), IMAGE)
  images, source = opened()
  check(images, ALL[::-1])
  assert source.made == []
  assert images[ALL[:0]].shape == (0, *SHAPE[1:])


def cut(content):
  return content[: len(content) // 2]


@pytest.mark.parametrize("name", ["image.partial", "image.sums", "image.npy"])
@pytest.mark.parametrize(
  "damage",
  [cut, lambda content: b"", lambda content: bytes(len(content)), lambda content: content[9:] * 2],
  ids=["cut", "empty", "zeros", "other content"],
)
def test_damaged_files_are_mended(opened, folder, name, damage):
  images, _ = opened()
  check(images, ALL if name == "image.npy" else ALL[:-1])
  content = (folder / name).read_bytes()
  (folder / name).write_bytes(damage(content))
  for _ in range(2):
    images, source = opened()
    check(images, ALL)
  assert source.made == []


@pytest.mark.parametrize("name", ["image.partial", "image.npy"])
def test_a_file_that_is_cut_off_while_it_is_open(opened, folder, name):
  images, source = opened()
  check(images, ALL if name == "image.npy" else ALL[:-1])
  images, source = opened()
  check(images, ALL[:20])
  os.truncate(folder / name, 1000)
  check(images, ALL)
  assert source.made


def test_two_at_once(opened, folder):
  images, sources = zip(*(opened() for _ in range(2)), strict=True)
  rng = np.random.default_rng(1)
  for _ in range(30):
    check(images[rng.integers(2)], rng.integers(0, 40, 7))
  assert set(sources[0].made) | set(sources[1].made) == set(ALL)
  for one in images:
    check(one, ALL)
  assert [path.name for path in folder.iterdir()] == ["image.npy"]


def test_a_file_of_another_process_that_is_not_whole_stays_so(opened, folder):
  (first, _), (second, _) = opened(), opened()
  check(second, ALL[:-1])
  check(first, ALL)
  (folder / "image.npy").unlink()
  third, source = opened()
  check(third, ALL[:3])
  check(second, ALL)
  assert not (folder / "image.npy").exists()
  check(third, ALL)
  assert len(source.made) == 40


def test_nothing_is_left_where_all_are_decoded_at_once(opened, folder):
  images, _ = opened()
  check(images, ALL[:5])
  arrays.write(folder, 40, SHAPE[1:], zip(IMAGE, ALL, strict=True))
  assert sorted(path.name for path in folder.iterdir()) == ["image.npy", "label.npy"]
  check(images, ALL)
  images, source = opened()
  check(images, ALL)
  assert source.made == []


def test_holes_take_no_room(opened, folder):
  shape = (2000, 100, 100, 3)
  images = kept_images.KeptImages(shape, lambda: np.ones(shape, np.uint8), folder)
  images[np.array([5, 1999])]
  assert 2 * 30_000 < folders.size_on_disk(folder) < 1_000_000 < folders.size(folder)


def test_threads_share_them(opened):
  images, _ = opened()
  rng = np.random.default_rng(1)
  with ThreadPoolExecutor(4) as threads:
    list(threads.map(lambda rows: check(images, rows), rng.integers(0, 40, (100, 9))))


def full(*arguments):
  raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", [full, lambda *arguments: 3], ids=["refused", "in part"])
def test_a_full_disk_is_told_once(opened, monkeypatch, capsys, write):
  images, source = opened()
  check(images, ALL[:5])
  monkeypatch.setattr(os, "pwrite", write)
  for _ in range(2):
    check(images, ALL)
  monkeypatch.undo()
  (line,) = capsys.readouterr().err.splitlines()
  assert "cannot keep decoded images in" in line
  assert len(source.made) == 40 + 35  # the first five are still there


def test_an_image_that_cannot_be_made_is_an_error_as_ever(opened):
  images, source = opened()
  source.made = ["broken"]
  with pytest.raises(datasets.DatasetUnavailableError, match="39 is broken"):
    images[ALL]
  source.made = []
  check(images, ALL)
  assert len(source.made) == 40


def test_where_no_files_can_be_made(opened, folder, capsys):
  folder.parent.parent.mkdir(parents=True, exist_ok=True)
  folder.parent.touch()
  images, source = opened()
  for _ in range(2):
    check(images, ALL)
  assert len(source.made) == 80
  assert len(capsys.readouterr().err.splitlines()) == 1
  assert not kept_images.may_keep("photos", {folder: SHAPE})
  assert "are not kept" in capsys.readouterr().err


def test_only_half_of_the_room_is_taken(opened, folder, monkeypatch, capsys):
  shapes = {folder: (1000, 100, 100, 3)}
  monkeypatch.setattr(folders, "room", lambda path: 59_999_999)
  assert not kept_images.may_keep("photos", shapes)
  assert "28.6 MiB are needed and twice as much must be free, not 57.2" in capsys.readouterr().err
  monkeypatch.setattr(folders, "room", lambda path: 60_000_000)
  assert kept_images.may_keep("photos", shapes)
  (line,) = capsys.readouterr().err.splitlines()
  assert str(folder.parent) in line
  assert "input='files'" in line
  check(opened()[0], ALL)
  monkeypatch.setattr(folders, "room", lambda path: 0)
  assert kept_images.may_keep("photos", {folder: SHAPE})  # it is there
  assert capsys.readouterr().err == ""
