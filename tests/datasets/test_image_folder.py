"""The user's own folders: what counts, what is passed over, and what is told."""

import os

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.datasets import image_folder, loader

SHAPE = (6, 8, 3)


def write(path, colour=(10, 20, 30), size=(8, 6), **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, colour).save(path, **options)


def load(path, **options):
  return datasets.load_folder(path, **{"image_shape": SHAPE, **options})


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def animals(tmp_path):
  root = tmp_path / "animals"
  for label, name in enumerate(("cat", "dog", "eel")):
    for number in range(10):
      write(root / name / f"{number:02}.png", (label, number, 200))
  return root


def test_classes_are_numbered_by_name_and_each_has_its_share_of_the_test(animals):
  dataset = load(animals)
  assert (dataset.name, dataset.num_classes, dataset.max_value) == ("animals", 3, 255)
  assert dataset.class_names == ("cat", "dog", "eel")
  assert (dataset.train.image.shape, dataset.test.image.shape) == ((24, *SHAPE), (6, *SHAPE))
  assert np.bincount(dataset.test.label).tolist() == [2, 2, 2]
  shown = set()
  for pool in (dataset.train, dataset.test):
    np.testing.assert_array_equal(pool.image[:, 0, 0, 0], pool.label)
    shown |= {(int(one[0, 0, 0]), int(one[0, 0, 1])) for one in pool.image}
  assert len(shown) == 30, "an image is in both splits"


def test_the_split_follows_the_seed(animals):
  numbers = [load(animals, data_seed=seed).test.image[:, 0, 0, 1].tolist() for seed in (0, 0, 1)]
  assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.25, 3), (0.99, 9)])
def test_a_class_has_at_least_one_image_in_each_split(animals, fraction, count):
  assert np.bincount(load(animals, test_fraction=fraction).test.label).tolist() == [count] * 3


def test_folders_train_and_test(tmp_path):
  for part, count in (("train", 3), ("test", 2)):
    for name in ("a", "b"):
      for number in range(count):
        write(tmp_path / "own" / part / name / f"{number}.png")
  dataset = load(tmp_path / "own", test_fraction=0.9)
  assert (len(dataset.train.label), len(dataset.test.label)) == (6, 4)


def test_many_kinds_of_files_and_colours(tmp_path):
  root = tmp_path / "own"
  for suffix in ("png", "JPG", "jpeg", "webp", "gif", "bmp", "tif", "ppm"):
    write(root / "a" / f"one.{suffix}", (200, 200, 200))
  Image.new("L", (8, 6), 200).save(root / "a" / "grey.png")
  Image.new("RGBA", (8, 6), (200, 200, 200, 9)).save(root / "a" / "clear.png")
  Image.new("1", (8, 6), 1).save(root / "a" / "bits.png")
  for dataset in (load(root), load(root, image_shape=(6, 8, 1))):
    images = np.concatenate([dataset.train.image, dataset.test.image])
    assert len(images) == 11
    assert sorted({round(float(one.mean()), -1) for one in images}) == [200, 260]


def test_photographs_are_turned_upright(tmp_path):
  photo = Image.new("RGB", (8, 6), (0, 0, 0))
  photo.paste((255, 255, 255), (0, 0, 8, 3))  # white above
  exif = photo.getexif()
  exif[0x0112] = 3  # taken upside down
  for number in range(2):
    path = tmp_path / "own" / "a" / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, exif=exif)
  image = load(tmp_path / "own").train.image[0]
  assert image[0].max() == 0
  assert image[-1].min() == 255


def test_what_is_no_image_is_passed_over(animals):
  before = load(animals)
  for name in ("notes.txt", ".DS_Store", "._00.png", "Thumbs.db"):
    (animals / "cat" / name).write_bytes(b"no image")
  (animals / ".git").mkdir()
  (animals / "readme.md").write_text("about the animals")
  after = load(animals)
  assert after.class_names == before.class_names
  np.testing.assert_array_equal(after.train.image, before.train.image)


def test_links_are_followed(animals, tmp_path):
  (tmp_path / "linked").mkdir()
  (tmp_path / "linked" / "cat").symlink_to(animals / "cat")
  assert len(load(tmp_path / "linked").train.label) == 8


def test_images_are_decoded_once_and_again_when_they_change(animals, monkeypatch):
  first = load(animals)
  decoded = []
  decode = image_folder._decode
  monkeypatch.setattr(
    image_folder, "_decode", lambda *arguments: decoded.append(1) or decode(*arguments)
  )
  again = load(animals)
  assert decoded == []
  assert again.version == first.version
  np.testing.assert_array_equal(again.train.image, first.train.image)
  assert isinstance(again.train.image, np.memmap)
  write(animals / "cat" / "00.png", (77, 77, 77))
  os.utime(animals / "cat" / "00.png", (1, 1))
  changed = load(animals)
  assert changed.version != first.version
  assert 77 in np.concatenate([changed.train.image, changed.test.image])[:, 0, 0, 1]
  load(animals, image_shape=(3, 3, 3))
  load(animals, resize="crop")
  assert len(decoded) > 60


def test_same_names_in_other_folders_are_other_data_sets(tmp_path):
  for folder, grey in (("one", 50), ("other", 90)):
    for number in range(4):
      path = tmp_path / folder / "set" / "a" / f"{number}.bmp"  # equally large whatever it shows
      write(path, (grey, grey, grey))
      os.utime(path, (1, 1))
  for folder, grey in (("one", 50), ("other", 90)):
    assert (load(tmp_path / folder / "set").train.image == grey).all()


def cats(pool):
  """The files of the first class."""
  return [file for file, label in zip(pool.image._files, pool.label, strict=True) if label == 0]


def test_images_that_are_read_when_needed_are_those_of_the_cache(animals, monkeypatch):
  streams = [load(animals, image_shape=(5, 5, 3), input=how) for how in ("stream", "files")]
  early = streams[0].train.image[np.arange(10)]
  whole = load(animals, image_shape=(5, 5, 3))
  np.testing.assert_array_equal(early, whole.train.image[:10])
  monkeypatch.setattr(loader, "LARGE_BYTES", 100)
  streams.append(load(animals, image_shape=(5, 5, 3)))
  rows = np.array([7, 0, 7])
  for stream in streams:
    assert stream.version == whole.version
    assert not isinstance(stream.train.image, np.ndarray)
    assert (stream.train.image.shape, len(stream.train.image)) == ((24, 5, 5, 3), 24)
    assert stream.train.label.dtype == np.int32
    np.testing.assert_array_equal(stream.train.label, whole.train.label)
    np.testing.assert_array_equal(stream.train.image[rows], whole.train.image[rows])
    assert stream.train.image[rows[:0]].shape == (0, 5, 5, 3)
  (animals / "cat" / "00.png").write_bytes(b"")
  dataset = load(animals, input="files", test_fraction=0.01)
  (broken,) = (
    pool for pool in (dataset.train, dataset.test) if "00.png" in {f.name for f in cats(pool)}
  )
  with pytest.raises(datasets.DatasetUnavailableError, match=r"cat/00.png cannot be read"):
    broken.image[np.arange(len(broken.label))]


def test_an_unreadable_file_is_named(animals):
  (animals / "dog" / "03.png").write_bytes(b"\x89PNG, cut off")
  with pytest.raises(
    datasets.DatasetUnavailableError, match=r"dog/03.png cannot be read"
  ) as caught:
    load(animals)
  assert "\n" not in str(caught.value)


def test_a_class_without_images_is_named(animals):
  (animals / "fox").mkdir()
  with pytest.raises(datasets.DatasetUnavailableError, match=r"fox has no images \(it is empty"):
    load(animals)
  (animals / "fox" / "a.heic").write_bytes(b"")
  with pytest.raises(datasets.DatasetUnavailableError, match=r"has no images \(only .heic"):
    load(animals)
  write(animals / "fox" / "a.png")
  with pytest.raises(datasets.DatasetUnavailableError, match=r"fox has one image only"):
    load(animals)


@pytest.mark.parametrize("there", ["train", "test"])
def test_splits_that_do_not_fit_each_other(tmp_path, there):
  missing = {"train": "test", "test": "train"}[there]
  write(tmp_path / "own" / there / "a" / "1.png")
  write(tmp_path / "own" / there / "b" / "1.png")
  with pytest.raises(datasets.DatasetUnavailableError, match=f"'{there}' but no '{missing}'"):
    load(tmp_path / "own")
  write(tmp_path / "own" / missing / "a" / "1.png")
  with pytest.raises(
    datasets.DatasetUnavailableError, match=f"class 'b' is in '{there}' but not in '{missing}'"
  ):
    load(tmp_path / "own")


def test_folders_that_hold_nothing(tmp_path):
  with pytest.raises(datasets.DatasetUnavailableError, match=r"cannot read .*nowhere: No such"):
    load(tmp_path / "nowhere")
  (tmp_path / "empty").mkdir()
  with pytest.raises(datasets.DatasetUnavailableError, match=r"empty has no folders in it"):
    load(tmp_path / "empty")


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"image_shape": (8, 8)}, "image_shape is"),
    ({"image_shape": (8, 8, 2)}, "image_shape is"),
    ({"image_shape": (0, 8, 3)}, "image_shape is"),
    ({"resize": "pad"}, "resize='pad' is unknown. There are: stretch, crop"),
    ({"input": "disk"}, "input='disk' is unknown. There are: auto, memory, stream, files"),
    ({"test_fraction": 0.0}, "test_fraction is 0.0"),
    ({"test_fraction": 1.0}, "test_fraction is 1.0"),
  ],
)
def test_bad_arguments(animals, options, words):
  with pytest.raises(ValueError, match=words):
    load(animals, **options)
