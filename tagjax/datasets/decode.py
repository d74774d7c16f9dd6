"""Reads a prepared data set through TFDS and decodes its images."""

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from tagjax.datasets import feature_names, picture_files, read_ahead, shards
from tagjax.datasets import prepared as prepared_lib

_MODES = {1: "L", 3: "RGB"}
_RECORDS = 256  # read at once where no image is decoded: one by one takes three times as long


class Records:
  """The images of a prepared split, decoded when asked for: `records[rows]`, uint8 `[n, H, W, C]`.

  Reads like an array of images and may be larger than memory. Threads may share it.

  TFDS would decode images with OpenCV where that is installed and with Pillow elsewhere, and the
  two disagree on some files: so it hands the bytes over, and Pillow decodes them here.

  Attributes:
    shape: `[N, H, W, C]`.
    dtype: uint8.
  """

  dtype = np.dtype(np.uint8)

  def __init__(
    self,
    prepared: prepared_lib.Prepared,
    split: str,
    image_shape: tuple[int, int, int],
    resize: str | None = None,
  ):
    """Opens the files.

    Args:
      prepared: the data set.
      split: `"train"` or `"test"`.
      image_shape: of the images that are given out.
      resize: see `resize`; None: images of another shape are an error.

    Raises:
      DatasetUnavailableError: if the files are damaged.
    """
    self.shape = (prepared.num_examples[split], *image_shape)
    self._folder, self._split, self._resize = prepared.folder, split, resize
    try:
      feature_names.check(prepared.folder)
      builder = tfds.builder_from_directory(prepared.folder)
      source = builder.as_data_source(split, file_format="array_record")
      files = source.dataset_info.splits[split].file_instructions
      self._shards = shards.Shards([(_own(file, prepared.folder), file.take) for file in files])
      # Alone: TFDS decodes what else there may be, with whatever the other features ask for.
      features = {name: builder.info.features[name] for name in ("image", "label")}
      self._features = tfds.features.FeaturesDict(features)
      self._is_encoded = isinstance(features["image"], tfds.features.Image)
    except Exception as error:  # array_record raises what its C++ half does
      raise prepared_lib.damaged(prepared.folder, error) from error

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    """The images of the given rows, in their order.

    Raises:
      DatasetUnavailableError: see `examples`.
    """
    images, _ = self._decode_all(np.asarray(rows))
    return images

  def examples(self) -> Iterator[tuple[np.ndarray, int]]:
    """Image and label of every example, in the files' order; threads decode ahead.

    Raises:
      DatasetUnavailableError: if the files are damaged, hold fewer examples than declared, or
        images of another shape that are not to be resized.
    """
    size = read_ahead.piece_size(math.prod(self.shape[1:]))
    for images, labels in read_ahead.ReadAhead(
      self._decode_all, self._in_pieces(size), ahead=2 * read_ahead.num_threads()
    ):
      yield from zip(images, labels, strict=True)

  def labels(self) -> Iterator[int]:
    """The label of every example, in the files' order."""
    for rows in self._in_pieces(_RECORDS):
      yield from (label for _, label in self._read(rows))

  def _in_pieces(self, size: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size))

  def _decode_all(self, rows: np.ndarray) -> tuple[np.ndarray, list[int]]:
    images, labels = np.empty((len(rows), *self.shape[1:]), self.dtype), []
    for place, (image, label) in enumerate(self._read(rows)):
      images[place] = self._decode(image, int(rows[place]))
      labels.append(label)
    return images, labels

  def _read(self, rows: np.ndarray) -> list[tuple[bytes | np.ndarray, int]]:
    """Image, encoded unless the set stores arrays, and label of each row."""
    try:
      return [self._parse(record) for record in self._shards.read(rows)]
    except Exception as error:
      raise prepared_lib.damaged(self._folder, f"{self._split}: {error}") from error

  def _parse(self, record: bytes) -> tuple[bytes | np.ndarray, int]:
    if not self._is_encoded:
      example = self._features.deserialize_example_np(record)
      return example["image"], int(example["label"])
    # As TFDS does it, which takes five times as long: it prepares for features of every kind.
    features = tf_example_pb2.Example.FromString(record).features.feature
    return features["image"].bytes_list.value[0], features["label"].int64_list.value[0]

  def _decode(self, image: bytes | np.ndarray, row: int) -> np.ndarray:
    where = f"{self._split} example {row}"
    height, width, channels = shape = self.shape[1:]
    if isinstance(image, bytes):
      try:
        image = decode(image, channels, (height, width), self._resize)
      except Exception as error:
        raise prepared_lib.damaged(self._folder, f"{where}: {error}") from error
    if image.shape != shape:
      raise prepared_lib.damaged(self._folder, f"{where} has shape {image.shape}, not {shape}")
    return image


def _own(file: Any, folder: pathlib.Path) -> str:
  """The path of a file of the data set, which lies in its folder whatever the set says."""
  path = pathlib.Path(file.filename)
  if path.parent != folder or not path.is_file():
    raise ValueError(f"{path.name} is no file in its folder")
  return str(path)


def decode(
  encoded: bytes | str | os.PathLike,
  channels: int,
  size: tuple[int, int] | None = None,
  how: str | None = None,
) -> np.ndarray:
  """The picture of an image file, uint8 `[height, width, channels]`.

  Args:
    encoded: the file, or its content.
    channels: 1 (grey) or 3 (red, green, blue); pictures of another kind are converted.
    size: height and width to bring it to, see `resize`.
    how: see `resize`; None: the picture keeps its size.

  Raises:
    OSError, ValueError: see `tagjax.datasets.picture_files.opened`.
  """
  with picture_files.opened(encoded) as image:
    mode = _MODES[channels]
    image = image if image.mode == mode else image.convert(mode)
    if how is not None and (image.height, image.width) != size:
      image = resize(image, size, how)
    array = np.asarray(image)
  return array[..., np.newaxis] if channels == 1 else array


def resize(image: Image.Image, size: tuple[int, int], how: str) -> Image.Image:
  """Brings a picture to another size, by bilinear interpolation.

  Args:
    image: the picture.
    size: height and width.
    how: `"stretch"`: without regard to its proportions, as the reference codes of A-GEM and TAG do.
      `"crop"`: scaled until it covers the size, and what overhangs cut off evenly.

  >>> resize(Image.new("L", (40, 20)), (10, 10), "crop").size
  (10, 10)
  """
  height, width = size
  if how == "stretch":
    return image.resize((width, height), Image.Resampling.BILINEAR)
  scale = max(width / image.width, height / image.height)
  # The part of the picture that stays, in its own pixels.
  left = (image.width - width / scale) / 2
  top = (image.height - height / scale) / 2
  box = (left, top, image.width - left, image.height - top)
  return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
