"""Readers of the archives' formats, with the standard library: no TensorFlow, nothing unpacked.

They read what the checksums have already vouched for, so a file that does not fit its format
means that the wrong checksum or the wrong reader was given: a ValueError says where.
"""

import gzip
import os
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tagjax.datasets import members as members_lib

IDX_FILES = {
  "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
  "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
"""The images and labels of each split, as the MNIST family names them."""

CIFAR_SHAPE = (32, 32, 3)
_CIFAR_BYTES = 32 * 32 * 3
_CIFAR_MAX_BYTES = 200_000_000


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
  """The uint8 array in a gzipped IDX file.

  The file holds two zero bytes, the type (8: unsigned bytes), the number of dimensions, each
  dimension as a big-endian 32-bit integer, and the bytes.

  Args:
    path: the `.gz` file.

  Returns:
    uint8, in the shape that the file declares.

  Raises:
    ValueError: if the header or the length is another.
  """
  with gzip.open(path, "rb") as file:
    content = file.read()
  if len(content) < 4 or content[:3] != b"\x00\x00\x08":
    raise ValueError(f"{path} is not an IDX file of unsigned bytes: it starts {content[:4]!r}")
  start = 4 + 4 * content[3]
  if len(content) < start:
    raise ValueError(f"{path} ends within its header")
  shape = struct.unpack(f">{content[3]}I", content[4:start])
  if len(content) - start != int(np.prod(shape)):
    raise ValueError(f"{path} declares the shape {shape} but holds {len(content) - start} bytes")
  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_pair(
  images: str | os.PathLike[str], labels: str | os.PathLike[str]
) -> Iterator[tuple[np.ndarray, int]]:
  """Pairs of image `[height, width]` and label from two IDX files, in the files' order.

  Raises:
    ValueError: if they do not hold the same number of examples.
  """
  image, label = read_idx(images), read_idx(labels)
  if image.ndim != 3 or label.shape != image.shape[:1]:
    raise ValueError(f"{images} {image.shape} and {labels} {label.shape} do not belong together")
  yield from zip(image, label.tolist(), strict=True)


class CifarRecord(NamedTuple):
  """One record of a CIFAR file: its labels, coarse before fine, and the image `[32, 32, 3]`."""

  labels: tuple[int, ...]
  image: np.ndarray


def read_cifar(
  archive: str | os.PathLike[str], members: Sequence[str], num_labels: int
) -> Iterator[CifarRecord]:
  """The records of some members of a CIFAR `.tar.gz` (binary version), in their order.

  A record is `num_labels` bytes of labels and 3072 bytes of image, channel first.

  Args:
    archive: the `.tar.gz` file.
    members: names of the members to read.
    num_labels: 1 for CIFAR-10, 2 for CIFAR-100.

  Yields:
    One record after another.

  Raises:
    ValueError: if a member is missing or its length does not fit.
  """
  record_bytes = num_labels + _CIFAR_BYTES
  for member, content in members_lib.read(archive, members, max_bytes=_CIFAR_MAX_BYTES).items():
    if len(content) % record_bytes:
      raise ValueError(
        f"{member} in {archive} holds {len(content)} bytes, no multiple of {record_bytes}"
      )
    records = np.frombuffer(content, np.uint8).reshape(-1, record_bytes)
    images = records[:, num_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for labels, image in zip(records[:, :num_labels].tolist(), images, strict=True):
      yield CifarRecord(tuple(labels), image)


def read_lines(archive: str | os.PathLike[str], member: str) -> list[str]:
  """The lines that are not empty of a text member of a CIFAR archive: the names of classes."""
  (content,) = members_lib.read(archive, [member], max_bytes=_CIFAR_MAX_BYTES).values()
  return [line for line in content.decode().splitlines() if line.strip()]
