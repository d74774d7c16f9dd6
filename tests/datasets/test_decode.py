"""Images of a prepared set: decoded when asked for, in the order asked for, brought to one size."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.datasets import decode, image_folder, kept_images, prepared

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def png(array, mode=None):
  file = io.BytesIO()
  Image.fromarray(array, mode).save(file, "PNG")
  return file.getvalue()


def test_pictures_are_converted_to_the_channels_asked_for():
  np.testing.assert_array_equal(decode.decode(png(PICTURE), 3), PICTURE)
  grey = decode.decode(png(PICTURE), 1)
  assert grey.shape == (6, 9, 1)
  expected = PICTURE @ np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(grey[..., 0], expected, atol=1)
  colour = decode.decode(png(PICTURE[..., 0]), 3)
  np.testing.assert_array_equal(colour, np.repeat(PICTURE[..., :1], 3, axis=-1))


def test_a_picture_of_the_right_size_is_left_alone():
  for how in image_folder.RESIZES:
    np.testing.assert_array_equal(decode.decode(png(PICTURE), 3, (6, 9), how), PICTURE)


def test_stretching_shows_the_whole_picture_and_cropping_its_middle():
  # A third of the width each is red, green and blue.
  bands = np.zeros((10, 30, 3), np.uint8)
  for band in range(3):
    bands[:, 10 * band : 10 * band + 10, band] = 255
  stretched = decode.decode(png(bands), 3, (10, 10), "stretch")
  assert [int(column.argmax()) for column in stretched[5, [0, 5, 9]]] == [0, 1, 2]
  cropped = decode.decode(png(bands), 3, (10, 10), "crop")
  np.testing.assert_array_equal(cropped, bands[:, 10:20])
  upright = decode.decode(png(bands.transpose(1, 0, 2)), 3, (20, 20), "crop")
  assert (upright[..., 1] > 128).all()


@pytest.fixture
def records():
  datasets.load("digits")
  return decode.Records(prepared.find("digits"), "test", (8, 8, 1))


def test_rows_come_as_they_are_asked_for(records):
  whole = datasets.load("digits").test
  rows = np.array([300, 2, 2, 17])
  assert (records.shape, len(records), records.dtype) == ((360, 8, 8, 1), 360, np.uint8)
  np.testing.assert_array_equal(records[rows], whole.image[rows])
  assert records[rows[:0]].shape == (0, 8, 8, 1)
  np.testing.assert_array_equal(list(records.labels()), whole.label)


def test_a_row_that_is_not_there_is_an_error_of_the_set(records):
  with pytest.raises(datasets.DatasetUnavailableError, match="test"):
    records[np.array([360])]


def test_a_streamed_set_keeps_what_was_decoded(cache_dir, monkeypatch):
  kept, test = datasets.load("digits", input="stream")[2:4]
  files = datasets.load("digits", input="files").train
  assert not list((cache_dir / "arrays").rglob("image.*"))
  rows = np.random.default_rng(0).permutation(1437)
  assert isinstance(files.image, decode.Records)
  np.testing.assert_array_equal(kept.image[rows[:100]], files.image[rows[:100]])
  np.testing.assert_array_equal(kept.image[rows], files.image[rows])
  test.image[np.arange(360)]
  # The next time, nothing is read from the prepared files.
  monkeypatch.setattr(decode, "Records", None)
  again = datasets.load("digits", input="memory").train
  np.testing.assert_array_equal(again.image[rows], files.image[rows])
  np.testing.assert_array_equal(again.label, files.label)


def test_what_was_kept_of_another_version_is_not_used(cache_dir):
  rows = np.arange(1437)
  image = datasets.load("digits", input="stream").train.image[rows]
  for path in (cache_dir / "arrays").rglob("image.npy"):
    path.write_bytes(path.read_bytes()[:200] + bytes(1437 * 64 - 72))  # as old pixels
  (shard,) = (cache_dir / "tfds").rglob("digits-train.array_record*")
  assert not datasets.load("digits", input="stream").train.image[rows[9:]].any()
  os.utime(shard, (1, 1))
  np.testing.assert_array_equal(datasets.load("digits", input="stream").train.image[rows], image)


def test_large_sets_are_streamed_by_themselves(monkeypatch):
  assert isinstance(datasets.load("digits").test.image, np.ndarray)
  monkeypatch.setattr("tagjax.datasets.loader.LARGE_BYTES", 1797 * 64 - 1)
  assert isinstance(datasets.load("digits").test.image, kept_images.KeptImages)
  with pytest.raises(ValueError, match="input='streamed' is unknown"):
    datasets.load("digits", input="streamed")
