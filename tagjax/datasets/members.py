"""The files within a tar or zip archive, read where they lie: nothing is ever unpacked to the disk.

An archive may come from anywhere, so each member is looked at before it is given out. Refused are

- names that would lead elsewhere if anybody made files of them: absolute ones, with `..`, with a
  drive letter, with a backslash; and a name that is there twice;
- links, devices, pipes and sparse files: what they give is not what is stored in them;
- encrypted members, and other compressions than deflate in a zip;
- more bytes or more members than the caller foresees, and enormous tar headers.

Neither `tarfile` nor `zipfile` gives out more bytes of a member than its header declares, once
sparse files are refused. So the declared sizes bound the real ones, and too large an archive is
found before its bytes are decompressed.
"""

import contextlib
import errno
import gzip
import io
import os
import pathlib
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple

from tagjax.core import untrusted

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a file open for reading that can seek, such as a member that is an archive itself."""

MAX_MEMBERS = 1_000_000

_CHUNK = 2**20  # the most that is asked for at once; no honest tar header is longer
_MAX_PADDING = 16 * _CHUNK
_DRIVE = re.compile(r"[A-Za-z]:")
_DAMAGES = (
  tarfile.TarError,
  zipfile.BadZipFile,
  gzip.BadGzipFile,
  zlib.error,
  EOFError,
  NotImplementedError,  # how `zipfile` says that it does not know a feature of the format
  struct.error,
  OverflowError,
)


class Member(NamedTuple):
  """A file within an archive.

  Attributes:
    name: its name, with `/` between folders and without a leading `./`.
    size: its length in bytes.
    open: opens it for reading; the file can seek, but a `.tar.gz` is slow to read backwards. Serves
      as long as the archive is open, which is until the iteration goes past the last member.
  """

  name: str
  size: int
  open: Callable[[], BinaryIO]

  def read(self) -> bytes:
    """All of its bytes."""
    with self.open() as file:
      return file.read()


def members(source: Source, *, max_bytes: int, max_members: int = MAX_MEMBERS) -> Iterator[Member]:
  """The files in a `.tar`, `.tar.gz` or `.zip`, in the archive's order; folders are left out.

  The content tells which of the three it is, since a downloaded file may have any name.

  Args:
    source: the archive.
    max_bytes: the most bytes that its members may have together, decompressed.
    max_members: the most members that it may have, folders included.

  Yields:
    One file after another. Read it before asking for the next.

  Raises:
    ValueError: if the archive is damaged or holds what is refused, see above; names the archive
      and the member.
  """
  with _opened(source) as file, _blaming(source):
    if _is_zip(file):
      yield from _zip_members(file, source, max_bytes, max_members)
    else:
      yield from _tar_members(file, source, max_bytes, max_members)


def read(
  source: Source, names: Collection[str], *, max_bytes: int, max_members: int = MAX_MEMBERS
) -> dict[str, bytes]:
  """The content of some members, under their names; stops as soon as it has them all.

  Args:
    source: the archive.
    names: the members to read.
    max_bytes: see `members`.
    max_members: see `members`.

  Raises:
    ValueError: as `members` does, and if a member is missing.
  """
  wanted, found = set(names), {}
  with contextlib.closing(
    members(source, max_bytes=max_bytes, max_members=max_members)
  ) as iterator:
    while len(found) < len(wanted) and (member := next(iterator, None)):
      if member.name in wanted:
        found[member.name] = member.read()
  missing = sorted(wanted - set(found))
  if missing:
    raise ValueError(f"{_title(source)} has no file {', '.join(missing)}")
  return {name: found[name] for name in names}


def _tar_members(
  file: BinaryIO, source: Source, max_bytes: int, max_members: int
) -> Iterator[Member]:
  with contextlib.ExitStack() as stack:
    if _starts_with(file, b"\x1f\x8b"):
      file = stack.enter_context(gzip.GzipFile(fileobj=file))
    blocks = _TarBlocks(file)
    tar = stack.enter_context(tarfile.TarFile(fileobj=blocks))
    guard = _Guard(source, max_bytes, max_members)
    for info in tar:
      name = guard.admit(info.name, info.size)
      if info.issparse() or not (info.isreg() or info.isdir()):
        raise guard.refusal(info.name, "it is neither a plain file nor a folder")
      if info.isreg():
        yield Member(name, info.size, _opener(source, lambda info=info: tar.extractfile(info)))
    blocks.end()


def _zip_members(
  file: BinaryIO, source: Source, max_bytes: int, max_members: int
) -> Iterator[Member]:
  archive = zipfile.ZipFile(file)  # closed with `file`
  guard = _Guard(source, max_bytes, max_members)
  admitted = [(guard.admit(info.filename, info.file_size), info) for info in archive.infolist()]
  for name, info in admitted:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
      raise guard.refusal(info.filename, "it is neither a plain file nor a folder")
    if info.flag_bits & 0x1:
      raise guard.refusal(info.filename, "it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise guard.refusal(info.filename, f"its compression {info.compress_type} is not deflate")
    if not info.is_dir():
      yield Member(name, info.file_size, _opener(source, lambda info=info: archive.open(info)))


class _Guard:
  """Admits one member after another, as long as the archive stays within its bounds."""

  def __init__(self, source: Source, max_bytes: int, max_members: int):
    self._source = source
    self._max_bytes = max_bytes
    self._max_members = max_members
    self._bytes = 0
    self._names = set()

  def admit(self, name: str, size: int) -> str:
    """The name without `./` and a closing `/`, if the member may pass."""
    plain = name.rstrip("/").removeprefix("./")
    if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in name.split("/"):
      raise self.refusal(name, "its name leads out of the archive")
    if plain in self._names:
      raise self.refusal(name, "its name is there twice")
    if size < 0:
      raise self.refusal(name, f"its size is {size}")
    self._names.add(plain)
    self._bytes += size
    if len(self._names) > self._max_members:
      raise ValueError(f"{_title(self._source)} has more than {self._max_members} members")
    if self._bytes > self._max_bytes:
      raise ValueError(
        f"{_title(self._source)} unpacks to more than the {self._max_bytes} bytes that are foreseen"
      )
    return plain

  def refusal(self, name: str, reason: str) -> ValueError:
    return ValueError(f"{_title(self._source)}: member {name!r} is refused: {reason}")


class _TarBlocks:
  """The file under a `TarFile`, which does not let a header declare itself as large as memory.

  `tarfile` reads extended headers whole. Content is read by `_Content`, in chunks.
  """

  def __init__(self, file: BinaryIO):
    self._file = file
    self._last = b""
    self.seek, self.seekable, self.tell = file.seek, file.seekable, file.tell

  def read(self, size: int) -> bytes:
    if not 0 <= size <= _CHUNK:
      raise tarfile.ReadError(f"a header declares {size} bytes")
    self._last = self._file.read(size)
    return self._last

  def end(self) -> None:
    """Checks the end: for `tarfile` any header that it cannot read is one, and it stops there."""
    if self._last.strip(b"\0"):
      raise tarfile.ReadError("a header cannot be read")
    for _ in range(_MAX_PADDING // _CHUNK):  # behind it lies the checksum of a `.gz`
      if not self._file.read(_CHUNK):
        return
    raise tarfile.ReadError(f"more than {_MAX_PADDING} bytes follow its end")


class _Content(io.RawIOBase):
  """The content of a member, in chunks; what is wrong with it is told as a ValueError."""

  def __init__(self, source: Source, file: BinaryIO):
    self._source, self._file = source, file

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return self._file.seekable()

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    with _blaming(self._source):
      return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()

  def readinto(self, buffer) -> int:
    with _blaming(self._source):
      content = self._file.read(min(len(buffer), _CHUNK))
    buffer[: len(content)] = content
    return len(content)

  def readall(self) -> bytes:
    with _blaming(self._source):
      return b"".join(iter(lambda: self._file.read(_CHUNK), b""))

  def close(self) -> None:
    self._file.close()
    super().close()


def _opener(source: Source, open_raw: Callable[[], BinaryIO]) -> Callable[[], BinaryIO]:
  def opener() -> BinaryIO:
    with _blaming(source):
      return io.BufferedReader(_Content(source, open_raw()))

  return opener


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
  if isinstance(source, str | os.PathLike):
    with pathlib.Path(source).open("rb") as file:
      yield file
  else:
    yield source


@contextlib.contextmanager
def _blaming(source: Source) -> Iterator[None]:
  try:
    yield
  except _DAMAGES as error:
    raise _damage(source, error) from error
  except OSError as error:
    if error.errno != errno.EINVAL:  # a place in the file that there cannot be
      raise
    raise _damage(source, error) from error


def _damage(source: Source, error: Exception) -> ValueError:
  reason = untrusted.plain_text(str(error))
  return ValueError(f"{_title(source)} is damaged or no tar or zip archive: {reason}")


def _title(source: Source) -> str:
  if isinstance(source, str | os.PathLike):
    return str(source)
  return str(getattr(source, "name", "an archive within an archive"))


def _is_zip(file: BinaryIO) -> bool:
  return _starts_with(file, b"PK\x03\x04") or _starts_with(file, b"PK\x05\x06")  # or empty


def _starts_with(file: BinaryIO, magic: bytes) -> bool:
  start = file.read(len(magic))
  file.seek(0)
  return start == magic
