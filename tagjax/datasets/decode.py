"""Reads a prepared data set through TFDS and decodes its images; slow, done once a set."""

import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import prepared as prepared_lib

_MODES = {1: "L", 3: "RGB"}
_BATCH = 1000  # reading records one by one takes three times as long


def examples(
  prepared: prepared_lib.Prepared, split: str, image_shape: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, int]]:
  """Image (uint8, `image_shape`) and label of each example of a split, in the files' order.

  TFDS would decode images with OpenCV where that is installed and with Pillow elsewhere, and the
  two disagree on some files: so it hands the bytes over, and Pillow decodes them here.

  Raises:
    DatasetUnavailableError: if the files are damaged, hold fewer examples than declared, or images
      of another shape.
  """
  try:
    builder = tfds.builder_from_directory(prepared.folder)
    is_encoded = isinstance(builder.info.features["image"], tfds.features.Image)
    source = builder.as_data_source(
      split,
      decoders={"image": tfds.decode.SkipDecoding()} if is_encoded else None,
      file_format="array_record",
    )
  except Exception as error:  # array_record raises what its C++ half does
    raise prepared_lib.damaged(prepared.folder, error) from error
  found = prepared.num_examples[split]
  for start in range(0, found, _BATCH):
    indices = range(start, min(start + _BATCH, found))
    try:
      records = source.__getitems__(list(indices))
    except Exception as error:
      raise prepared_lib.damaged(prepared.folder, f"{split}: {error}") from error
    for index, record in zip(indices, records, strict=True):
      try:
        image = _decode(record["image"], image_shape[-1]) if is_encoded else record["image"]
      except Exception as error:
        raise prepared_lib.damaged(prepared.folder, f"{split} example {index}: {error}") from error
      if image.shape != image_shape:
        raise prepared_lib.damaged(
          prepared.folder, f"{split} example {index} has shape {image.shape}, not {image_shape}"
        )
      yield image, int(record["label"])


def _decode(encoded: bytes, channels: int) -> np.ndarray:
  with Image.open(io.BytesIO(encoded)) as image:
    mode = _MODES[channels]
    array = np.asarray(image if image.mode == mode else image.convert(mode))
  return array[..., np.newaxis] if channels == 1 else array
