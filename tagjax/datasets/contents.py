"""What is inside a `.gz` archive, whoever has compressed it.

A gzip file holds a time and a name beside its content, so a copy that was compressed again, as
Linux distributions do, has another checksum although nothing in it differs. Where the checksum of
the content is known (contents.tsv), such a copy is as good as the publisher's file.
"""

import functools
import gzip
import hashlib
import importlib.resources
import os
import zlib
from typing import NamedTuple

_BLOCK = 1 << 20


class Content(NamedTuple):
  """What an archive holds when it is decompressed.

  Attributes:
    size: its length in bytes.
    sha256: its checksum, in hexadecimal digits.
  """

  size: int
  sha256: str


@functools.cache
def known() -> dict[str, Content]:
  """The contents of contents.tsv, by the archive's URL."""
  text = (importlib.resources.files(__package__) / "contents.tsv").read_text()
  lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
  return {url: Content(int(size), sha256) for url, size, sha256 in lines}


def holds(path: str | os.PathLike[str], content: Content) -> bool:
  """Whether the gzip file at `path` is whole and holds just that.

  No more than `content.size` bytes and a block are decompressed, whatever the file is.
  """
  digest, size = hashlib.sha256(), 0
  try:
    with gzip.open(path, "rb") as file:
      while (block := file.read(_BLOCK)) and size <= content.size:
        digest.update(block)
        size += len(block)
  except (EOFError, gzip.BadGzipFile, zlib.error):
    return False
  return (size, digest.hexdigest()) == content
