"""The archives that a builder reads: which are here, which are not, and can the net be reached.

TFDS by itself tries an unreachable server for 204 s and ends in four chained tracebacks.
"""

import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import NamedTuple

from tagjax.datasets import types

_PROBE_SECONDS = 3.0


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


def locate(by_hand: ByHand, folder: str | os.PathLike[str]) -> pathlib.Path | None:
  """The first of its names that is in `folder`, or None."""
  paths = (pathlib.Path(folder) / name for name in by_hand.names)
  return next((path for path in paths if path.exists()), None)


def of_builder(builder: type) -> list[Archive]:
  """The archives of a builder class: its `URLS`, with what checksums.tsv says of them."""
  infos = builder.url_infos or {}
  return [
    Archive(infos[url].filename, url, int(infos[url].size), infos[url].checksum)
    for url in builder.URLS
  ]


def check(archive: Archive, path: pathlib.Path) -> None:
  """Compares a file put in place by hand with its size and checksum.

  Raises:
    DatasetUnavailableError: if they differ.
  """
  with path.open("rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  if (path.stat().st_size, sha256) != (archive.size, archive.sha256):
    raise types.DatasetUnavailableError(
      f"{path} is damaged: it has {path.stat().st_size} bytes and sha256 {sha256}, but "
      f"{archive.size} bytes and sha256 {archive.sha256} are right. Delete it and fetch it again "
      f"from {archive.url}"
    )


def is_downloaded(archive: Archive, downloads: pathlib.Path, name: str) -> bool:
  """Whether TFDS has downloaded the archive for the data set `name` before.

  It leaves a `<file>.INFO` with the URL beside the file.
  """
  for note in (downloads / name).glob("*.INFO"):
    try:
      urls = json.loads(note.read_text()).get("urls", ())
    except (OSError, ValueError, AttributeError):
      continue
    if archive.url in urls and note.with_suffix("").is_file():
      return True
  return False


def why_unreachable(url: str, seconds: float = _PROBE_SECONDS) -> str | None:
  """The reason why `url` cannot be had, in a few words, or None if its server answers.

  Asks from a thread of its own, since looking a host's name up knows no timeout.
  """
  answers = []

  def ask():
    import requests  # what TFDS downloads with, so it sees the same proxies and certificates

    try:
      with requests.get(url, stream=True, timeout=seconds) as response:
        answers.append(None if response.ok else f"HTTP {response.status_code}")
    except requests.RequestException as error:
      answers.append(type(error).__name__)

  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(seconds)
  return answers[0] if answers else f"no answer within {seconds:g} s"


def instructions(
  name: str,
  archives: Sequence[Archive],
  folder: pathlib.Path,
  reason: str,
  at_hand: Sequence[str],
) -> str:
  """What to do without the net: which files to fetch elsewhere and where to put them.

  Args:
    name: the data set.
    archives: the files that are missing.
    folder: where they belong.
    reason: why they cannot be downloaded.
    at_hand: names of the data sets that need no download.
  """
  files = "\n".join(
    f"  {archive.name}  {archive.size} bytes  sha256 {archive.sha256}\n    from {archive.url}"
    for archive in archives
  )
  return (
    f"{name} is not prepared and cannot be downloaded ({reason}). Fetch these files elsewhere:\n"
    f"{files}\nand put them into\n  {folder}\nor let TFDS_DATA_DIR name a folder where {name} is "
    f"prepared. Without any download there are: {', '.join(at_hand)}"
  )
