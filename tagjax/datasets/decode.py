"""Reads a prepared data set through TFDS and decodes its images."""

import io
import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import prepared as prepared_lib

_MODES = {1: "L", 3: "RGB"}
_BATCH = 1000  # reading records one by one takes three times as long


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
      builder = tfds.builder_from_directory(prepared.folder)
      self._is_encoded = isinstance(builder.info.features["image"], tfds.features.Image)
      self._source = builder.as_data_source(
        split,
        decoders={"image": tfds.decode.SkipDecoding()} if self._is_encoded else None,
        file_format="array_record",
      )
    except Exception as error:  # array_record raises what its C++ half does
      raise prepared_lib.damaged(prepared.folder, error) from error

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    """The images of the given rows, in their order.

    Raises:
      DatasetUnavailableError: see `examples`.
    """
    images = [self._decode(record, row) for row, record in self._read(rows)]
    return np.stack(images) if images else np.zeros((0, *self.shape[1:]), self.dtype)

  def examples(self) -> Iterator[tuple[np.ndarray, int]]:
    """Image and label of every example, in the files' order.

    Raises:
      DatasetUnavailableError: if the files are damaged, hold fewer examples than declared, or
        images of another shape that are not to be resized.
    """
    for row, record in self._all():
      yield self._decode(record, row), int(record["label"])

  def labels(self) -> Iterator[int]:
    """The label of every example, in the files' order."""
    return (int(record["label"]) for _, record in self._all())

  def _all(self) -> Iterator[tuple[int, dict]]:
    for start in range(0, len(self), _BATCH):
      yield from self._read(np.arange(start, min(start + _BATCH, len(self))))

  def _read(self, rows: np.ndarray) -> Iterator[tuple[int, dict]]:
    indices = np.asarray(rows).tolist()
    try:
      records = self._source.__getitems__(indices) if indices else []
    except Exception as error:
      raise prepared_lib.damaged(self._folder, f"{self._split}: {error}") from error
    return zip(indices, records, strict=True)

  def _decode(self, record: dict, row: int) -> np.ndarray:
    where = f"{self._split} example {row}"
    height, width, channels = shape = self.shape[1:]
    if not self._is_encoded:
      image = record["image"]
    else:
      try:
        image = decode(record["image"], channels, (height, width), self._resize)
      except Exception as error:
        raise prepared_lib.damaged(self._folder, f"{where}: {error}") from error
    if image.shape != shape:
      raise prepared_lib.damaged(self._folder, f"{where} has shape {image.shape}, not {shape}")
    return image


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
  """
  with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
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
