"""The files that a builder reads, what is known of them, and whether a copy is the right one."""

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from tagjax.datasets import contents, folders, types

_BLOCK = 1 << 20

Advance = Callable[[int], None]
"""Is told the number of bytes read since the last call."""


class Archive(NamedTuple):
  """A file that is downloaded, or put in place by hand.

  Attributes:
    name: its file name.
    url: where it is.
    size: its length in bytes.
    sha256: its checksum, in hexadecimal digits.
  """

  name: str
  url: str
  size: int
  sha256: str


class ByHand(NamedTuple):
  """A file, or an unpacked folder, that only the user can fetch: a form, a login, a letter.

  A builder lists what it needs as `BY_HAND`, and finds each with `locate(by_hand,
  dl_manager.manual_dir)`. If its `DatasetInfo` has `metadata=MetadataDict()`, the sizes and
  checksums of the files that were found are noted there, under `"sources"`.

  Attributes:
    names: the names under which it may lie there, the official one first; a name may be a folder's.
    page: the web page that hands it out.
    how: what is asked of the user there, in a few words ("after signing the licence").
    size: its length in bytes, where known.
    sha256: its checksum in hexadecimal digits, where known.
  """

  names: tuple[str, ...]
  page: str
  how: str = ""
  size: int | None = None
  sha256: str | None = None


class Copy(NamedTuple):
  """What was found on the disk.

  Attributes:
    size: in bytes; of a folder, that of all files in it.
    sha256: the checksum; None for a folder.
  """

  size: int
  sha256: str | None


def of_builder(builder: type) -> list[Archive]:
  """The archives of a builder class: its `URLS`, with what checksums.tsv says of them."""
  infos = builder.url_infos or {}
  return [
    Archive(infos[url].filename, url, int(infos[url].size), infos[url].checksum)
    for url in builder.URLS
  ]


def by_hand(builder: type) -> tuple[ByHand, ...]:
  """What a builder class needs that no program can download."""
  return getattr(builder, "BY_HAND", ())


def locate(by_hand: ByHand, folder: str | os.PathLike[str]) -> pathlib.Path | None:
  """The first of its names that is in `folder`, or None."""
  paths = (pathlib.Path(folder) / name for name in by_hand.names)
  return next((path for path in paths if path.exists()), None)


def total_size(builder: type) -> int | None:
  """Bytes of all that a builder class reads; None where that is not known of every file."""
  sizes = [wanted.size for wanted in (*of_builder(builder), *by_hand(builder))]
  return None if None in sizes else sum(sizes)


def check(wanted: Archive | ByHand, path: pathlib.Path, advance: Advance | None = None) -> Copy:
  """Compares a copy with what is known of it: size, checksum, else the checksum of its content.

  Args:
    wanted: what it should be.
    path: the copy; nothing is known of a folder, which is only measured.
    advance: is told how much was read.

  Returns:
    What it is.

  Raises:
    DatasetUnavailableError: if it is something else.
  """
  if path.is_dir():
    return Copy(folders.size(path), None)
  copy = Copy(path.stat().st_size, _sha256(path, advance))
  if wanted.size in (None, copy.size) and wanted.sha256 in (None, copy.sha256):
    return copy
  if isinstance(wanted, Archive):
    content = contents.known().get(wanted.url)
    if content is not None and contents.holds(path, content):
      return copy
  raise types.DatasetUnavailableError(
    f"{path} is damaged: it has {copy.size} bytes and sha256 {copy.sha256}, but "
    f"{' and '.join(_known(wanted))} are right. Delete it and fetch it again from {origin(wanted)}"
  )


def description(wanted: Archive | ByHand) -> str:
  """A file's name and what is known of it, in words.

  >>> description(ByHand(("faces.zip", "faces"), "https://example.org", size=42))
  'faces.zip or faces  42 bytes'
  """
  name = wanted.name if isinstance(wanted, Archive) else " or ".join(wanted.names)
  return "  ".join([name, *_known(wanted)])


def origin(wanted: Archive | ByHand) -> str:
  """Where a file comes from, in words.

  >>> origin(ByHand(("faces.zip",), "https://example.org", "with an account"))
  'https://example.org with an account'
  """
  if isinstance(wanted, Archive):
    return wanted.url
  return f"{wanted.page} {wanted.how}".rstrip()


def _known(wanted: Archive | ByHand) -> list[str]:
  size = [] if wanted.size is None else [f"{wanted.size} bytes"]
  return [*size, f"sha256 {wanted.sha256}"] if wanted.sha256 else size


def _sha256(path: pathlib.Path, advance: Advance | None) -> str:
  digest = hashlib.sha256()
  with path.open("rb") as file:
    while block := file.read(_BLOCK):
      digest.update(block)
      if advance:
        advance(len(block))
  return digest.hexdigest()
