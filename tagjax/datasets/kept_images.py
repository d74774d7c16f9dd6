"""Decoded images that are kept on the disk, so that each is decoded once.

`image.partial` has the layout of `image.npy`, which `input="memory"` maps, and `image.sums` a
checksum for each row: 0 for one that has not been written. A row counts only if its checksum is
right. So whatever happens to the files, a row is either the decoded image or decoded again: a
process is killed, the power fails, a file is cut off, several processes or hosts write at once.
When all rows are there, `image.partial` becomes `image.npy`.
"""

import contextlib
import io
import math
import os
import pathlib
import sys
import threading
import weakref
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from tagjax.datasets import arrays, folders

Shape = tuple[int, ...]

_DTYPE = np.dtype(np.uint8)
_CAN_KEEP = hasattr(os, "preadv")  # Windows has none


class LazyImages(Protocol):
  """Images that are made when asked for: reads like an array, by rows.

  Attributes:
    shape: `[N, H, W, C]`.
    dtype: uint8.
  """

  shape: Shape
  dtype: np.dtype

  def __len__(self) -> int: ...

  def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


class KeptImages:
  """Lazy images that are kept once they have been made. Threads may share it.

  Attributes:
    shape: `[N, H, W, C]`.
    dtype: uint8.
  """

  dtype = _DTYPE

  def __init__(self, shape: Shape, images: Callable[[], LazyImages], folder: pathlib.Path):
    """Nothing is opened yet.

    Args:
      shape: of the images.
      images: gives them; not called until one is missing.
      folder: of the files.
    """
    self.shape = shape
    self._images, self._folder = images, folder
    self._store: _Store | None = None
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    """The images of the given rows, in their order.

    Raises:
      DatasetUnavailableError: as the images themselves do.
    """
    rows = np.asarray(rows)
    store = self._open()
    result = np.empty((len(rows), *self.shape[1:]), self.dtype)
    in_order = np.argsort(rows).tolist()  # a disk need not go back and forth
    missing = [place for place in in_order if not store.read(int(rows[place]), result[place])]
    if missing:
      result[missing] = self._images()[rows[missing]]
      store.write(rows[missing].tolist(), result[missing])
    store.finish_if_whole()
    return result

  def _open(self) -> "_Store":
    with self._lock:
      if self._store is None:
        self._store = _Store(self._folder, self.shape)
      return self._store


class _Store:
  """The files of one split.

  Rows are read and written by calls, not through a map: where a disk is full or a file is cut off,
  a call fails, and a map ends the process.
  """

  def __init__(self, folder: pathlib.Path, shape: Shape):
    self._folder, self._row_bytes = folder, math.prod(shape[1:])
    self._known = np.zeros(shape[0], bool)  # rows that this process has seen to be right
    self._is_open = self._is_writable = True
    self._lock = threading.Lock()
    try:
      if (whole := arrays.read_images(folder, shape[0], shape[1:])) is not None:
        self._open_whole(whole.offset)
      else:
        self._open_partial(shape)
    except OSError as error:
      self._is_open = self._is_writable = False
      self._tell(error)

  def _open_whole(self, offset: int) -> None:
    self._file, self._offset = _open(self, self._folder / "image.npy", os.O_RDONLY), offset
    self._known[:] = True
    self._is_writable = False

  def _open_partial(self, shape: Shape) -> None:
    self._folder.mkdir(parents=True, exist_ok=True)
    how = os.O_RDWR | os.O_CREAT
    self._file = _open(self, self._folder / arrays.PARTIAL, how)
    self._sums = _open(self, self._folder / arrays.SUMS, how)
    header = _npy_header(shape)
    self._offset = len(header)
    # Several processes may do this at once, and with files of any content.
    _write(self._file, header, 0)
    os.truncate(self._file, self._offset + math.prod(shape))
    os.truncate(self._sums, 4 * shape[0])

  def read(self, row: int, image: np.ndarray) -> bool:
    """Reads a row into `image`; False: it is not there."""
    if not self._is_open:
      return False
    try:
      checksum = None if self._known[row] else os.pread(self._sums, 4, 4 * row)
      if checksum == bytes(4):
        return False
      if os.preadv(self._file, [image], self._place(row)) != self._row_bytes:
        return False
    except OSError:
      return False
    if checksum is None:
      return True
    self._known[row] = checksum == _checksum(image)
    return bool(self._known[row])

  def write(self, rows: list[int], images: np.ndarray) -> None:
    """Writes rows; where that fails, no more are written."""
    if not self._is_writable:
      return
    try:
      for row, image in zip(rows, images, strict=True):
        _write(self._file, image, self._place(row))
        _write(self._sums, _checksum(image), 4 * row)
        self._known[row] = True
    except OSError as error:
      with self._lock:
        if self._is_writable:
          self._tell(error)
        self._is_writable = False

  def finish_if_whole(self) -> None:
    """Gives the file its last name when all rows are there; another process may have done so."""
    if not self._is_writable or not self._known.all():
      return
    with self._lock:
      if not self._is_writable:
        return
      self._is_writable = False
    partial = self._folder / arrays.PARTIAL
    with contextlib.suppress(OSError):
      os.fsync(self._file)
      # Ours may have its last name already, and be followed by another that is not whole.
      if os.path.samestat(os.stat(partial), os.fstat(self._file)):
        os.replace(partial, self._folder / "image.npy")
        os.remove(self._folder / arrays.SUMS)

  def _place(self, row: int) -> int:
    return self._offset + row * self._row_bytes

  def _tell(self, error: OSError) -> None:
    print(
      f"cannot keep decoded images in {self._folder} ({error}): those that are not there are "
      "decoded in every epoch",
      file=sys.stderr,
    )


def may_keep(name: str, shapes: Mapping[pathlib.Path, Shape]) -> bool:
  """Whether the decoded images of a data set should be kept, which a line on stderr tells.

  They may take half of the room that is left.

  Args:
    name: of the data set.
    shapes: of the images of each split, by the folder of their files.
  """
  if not _CAN_KEEP:
    return False
  missing = {folder: _missing_bytes(folder, shape) for folder, shape in shapes.items()}
  needed = sum(missing.values())
  if not needed:
    return True
  folder = max(missing, key=missing.__getitem__)
  free = folders.room(folder)
  if not folders.is_writable(folder):
    reason = "it cannot be written"
  elif 2 * needed > free:
    reason = f"{folders.in_words(needed)} are needed and twice as much must be free, not "
    reason += folders.in_words(free)
  else:
    print(
      f"{name}: decoded images are kept in {folder.parent} ({folders.in_words(needed)} more at "
      "most); input='files' keeps none",
      file=sys.stderr,
    )
    return True
  print(
    f"{name}: decoded images are not kept in {folder.parent} ({reason}), so they are decoded in "
    "every epoch: TAGJAX_CACHE_DIR names another folder",
    file=sys.stderr,
  )
  return False


def is_whole(folder: pathlib.Path, shape: Shape) -> bool:
  """Whether all images are there."""
  return arrays.read_images(folder, shape[0], shape[1:]) is not None


def _missing_bytes(folder: pathlib.Path, shape: Shape) -> int:
  """What the file has still to grow by; it has holes for the rows that are not there."""
  if is_whole(folder, shape):
    return 0
  try:
    there = os.stat(folder / arrays.PARTIAL).st_blocks * 512
  except OSError:
    there = 0
  return max(0, math.prod(shape) - there)


def _npy_header(shape: Shape) -> bytes:
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {"descr": _DTYPE.str, "fortran_order": False, "shape": shape}
  )
  return header.getvalue()


def _checksum(image: np.ndarray) -> bytes:
  return zlib.crc32(image).to_bytes(4, "little")


def _open(owner: object, path: pathlib.Path, how: int) -> int:
  """A file descriptor that is closed with its owner."""
  file = os.open(path, how | getattr(os, "O_CLOEXEC", 0), 0o666)
  weakref.finalize(owner, os.close, file)
  return file


def _write(file: int, content: bytes | np.ndarray, place: int) -> None:
  written = os.pwrite(file, content, place)
  if written != len(memoryview(content).cast("B")):
    raise OSError("the disk is full")
