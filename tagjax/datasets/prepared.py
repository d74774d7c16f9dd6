"""Finds prepared data sets and tells their state, without importing TFDS (half a second)."""

import hashlib
import os
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple

from tagjax.core import untrusted
from tagjax.datasets import arrays, catalog, folders, types

_FORMAT = "array_record"
_MAX_NAMES_BYTES = 2**24
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Prepared(NamedTuple):
  """A prepared data set on the disk.

  Attributes:
    folder: `<data_dir>/<name>/<version>`.
    version: its version.
    num_examples: number of examples of each split.
    digest: changes whenever the set is prepared again or its files change.
  """

  folder: pathlib.Path
  version: str
  num_examples: dict[str, int]
  digest: str


def roots(name: str, data_dir: folders.PathLike | None) -> list[pathlib.Path]:
  """The folders in which the data set `name` is looked for, in this order."""
  if catalog.entry(name).embedded:
    return [folders.own_data_dir()]  # whatever else carries such a short name is not ours
  return [folders.data_dir(data_dir), folders.own_data_dir()]


def writable_root(name: str, data_dir: folders.PathLike | None) -> pathlib.Path:
  """The folder in which the data set `name` is prepared when it is nowhere.

  Raises:
    DatasetUnavailableError: if neither the data folder nor the cache can be written.
  """
  for root in roots(name, data_dir):
    if folders.is_writable(root / name):
      return root
  raise arrays.unwritable(folders.cache_dir(), "not writable")


def find(name: str, data_dir: folders.PathLike | None = None) -> Prepared | None:
  """The prepared set `name`; of several versions the one that our builder makes, else the newest.

  Args:
    name: a name of the catalog.
    data_dir: see `tagjax.datasets.load`.

  Returns:
    What was found, or None.

  Raises:
    DatasetUnavailableError: if it is there as TFRecord only, which needs TensorFlow to read.
  """
  unreadable = []
  for root in roots(name, data_dir):
    for folder in _versions(root / name, first=catalog.entry(name).version):
      info = _info(folder)
      if _FORMAT in (info.get("fileFormat"), *info.get("alternativeFileFormats", ())):
        return _prepared(folder, info)
      unreadable.append((folder, info.get("fileFormat", "tfrecord")))
  if unreadable:
    folder, file_format = unreadable[0]
    raise types.DatasetUnavailableError(
      f"{name} is prepared in {folder} as {file_format}, which only TensorFlow can read: move that "
      f"folder away or choose another data_dir (TFDS_DATA_DIR), and it is prepared as {_FORMAT}"
    )
  return None


def _versions(folder: pathlib.Path, first: str) -> Iterable[pathlib.Path]:
  """Version folders of a data set; `incomplete.*` of killed preparations is none."""
  try:
    entries = list(folder.iterdir())
  except OSError:
    return []
  complete = [
    path
    for path in entries
    if _VERSION.fullmatch(path.name)
    and (path / "dataset_info.json").is_file()
    and (path / "features.json").is_file()
  ]
  return sorted(complete, key=lambda path: (path.name == first, _number(path.name)), reverse=True)


def _number(version: str) -> tuple[int, ...]:
  return tuple(int(part) for part in version.split("."))


def _info(folder: pathlib.Path) -> dict:
  try:
    info = untrusted.read_json(folder / "dataset_info.json")
  except (OSError, ValueError) as error:
    raise damaged(folder, error) from error
  if not isinstance(info, dict):
    raise damaged(folder, "dataset_info.json holds no object")
  return info


def _prepared(folder: pathlib.Path, info: dict) -> Prepared:
  try:
    num_examples = {
      split["name"]: sum(int(length) for length in split["shardLengths"])
      for split in info["splits"]
    }
    counts = {split: num_examples[split] for split in ("train", "test")}
  except (KeyError, TypeError, ValueError, OverflowError) as error:
    raise damaged(folder, f"dataset_info.json: {error!r:.200}") from error
  return Prepared(folder, folder.name, counts, _digest(folder))


def check_sizes(name: str, prepared: Prepared) -> None:
  """Compares the numbers of examples with those of the published set.

  Raises:
    DatasetUnavailableError: if they differ.
  """
  for split, expected in zip(("train", "test"), catalog.entry(name).sizes, strict=True):
    found = prepared.num_examples[split]
    if found != expected:
      raise damaged(prepared.folder, f"{split}: {found} examples, {expected} are right")


def class_names(prepared: Prepared) -> tuple[str, ...]:
  """The names of the classes that TFDS has noted; nothing, where the builder knew none.

  Raises:
    DatasetUnavailableError: if they cannot be read.
  """
  path = prepared.folder / "label.labels.txt"
  try:
    lines = untrusted.read_text(path, _MAX_NAMES_BYTES).splitlines()
  except FileNotFoundError:
    return ()
  except (OSError, ValueError) as error:
    raise damaged(prepared.folder, f"{path.name}: {error}") from error
  return tuple(untrusted.plain_text(line) for line in lines)


def _digest(folder: pathlib.Path) -> str:
  """Digest of the folder's file names, sizes, times and of its JSON files' content.

  Hashing the examples too would take longer than reading them from the cache.
  """
  digest = hashlib.sha256()
  for path in sorted(folder.iterdir()):
    status = path.stat()
    name = os.fsencode(path.name)
    digest.update(b"%s\0%d\0%d\0" % (name, status.st_size, status.st_mtime_ns))
    if path.suffix == ".json" and path.is_file():
      digest.update(untrusted.read_bytes(path))
  return digest.hexdigest()[:16]


_SAMPLED_BYTES = 2**22


def content_digest(folder: pathlib.Path) -> str:
  """Digest of what a prepared set holds, the same wherever and whenever it was prepared.

  The names and sizes of all files count, the content of small ones, and of large ones the
  beginning, the middle and the end: `python -m tagjax.datasets verify` reads the rest.

  Raises:
    DatasetUnavailableError: if a file cannot be read.
  """
  digest = hashlib.sha256()
  try:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    piece = _SAMPLED_BYTES // (3 * max(1, len(files)))
    for path in files:
      size = path.stat().st_size
      digest.update(b"%s\0%d\0" % (os.fsencode(path.name), size))
      with untrusted.open_regular(path, sys.maxsize) as file:
        if size <= 3 * piece:
          digest.update(file.read(size))
          continue
        for place in (0, size // 2, size - piece):
          file.seek(place)
          digest.update(file.read(piece))
  except (OSError, ValueError) as error:
    raise damaged(folder, error) from error
  return digest.hexdigest()[:16]


def damaged(folder: pathlib.Path, reason: object) -> types.DatasetUnavailableError:
  """The error for a prepared set that cannot be read."""
  told = " ".join(untrusted.plain_text(str(reason)).split())  # TFDS has reasons of several lines
  return types.DatasetUnavailableError(
    f"the prepared data set {folder} cannot be read ({told:.500}): delete that folder, and it is "
    "prepared again"
  )
