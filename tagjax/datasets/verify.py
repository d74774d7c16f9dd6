"""Checks what is on the disk of a data set: its archives, the prepared files, the decoded arrays.

`load` trusts all three, once they have been made, as far as sizes, names and times go; a disk that
has lost a bit shows only when everything is read.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tagjax.datasets import archives, arrays, catalog, decode, folders, overview, types
from tagjax.datasets import prepared as prepared_lib
from tagjax.datasets.progress import Bar


class Check(NamedTuple):
  """The outcome of one check.

  Attributes:
    ok: whether all is well.
    text: what was checked and, if it is not well, the way out.
  """

  ok: bool
  text: str


def verify(name: str, data_dir: folders.PathLike | None, bar: Bar) -> Iterator[Check]:
  """Checks all that there is of the data set `name`.

  Args:
    name: a name of the catalog.
    data_dir: see `tagjax.datasets.load`.
    bar: shows how far it is.

  Yields:
    One check after another.
  """
  yield from _archives(name, data_dir, bar)
  try:
    prepared = prepared_lib.find(name, data_dir)
  except types.DatasetUnavailableError as error:
    yield Check(False, str(error))
    return
  if prepared is None:
    yield Check(False, f"not prepared: `python -m tagjax.datasets prepare {name}` does it")
    return
  yield _class_names(name, prepared)
  for split, size in zip(("train", "test"), catalog.entry(name).sizes, strict=True):
    yield _count(prepared, split, size)
    yield from _split(name, prepared, split, bar)


def _archives(name: str, data_dir: folders.PathLike | None, bar: Bar) -> Iterator[Check]:
  for item in overview.take_inventory(name, data_dir).present:
    try:
      copy = archives.check(item.wanted, item.path, bar.reading(item.path))
    except types.DatasetUnavailableError as error:
      yield Check(False, str(error))
      continue
    yield Check(True, f"{item.path}: {copy.size} bytes, {_judgement(item.wanted, copy)}")


def _judgement(wanted: archives.Archive | archives.ByHand, copy: archives.Copy) -> str:
  if copy.sha256 is None:
    return "a folder, of which no checksum is known"
  if wanted.sha256 is None:
    return f"sha256 {copy.sha256}, with which nothing is known to compare"
  if wanted.sha256 == copy.sha256:
    return "the right checksum"
  return "compressed by somebody else, the right checksum of what is inside"


def _class_names(name: str, prepared: prepared_lib.Prepared) -> Check:
  expected = catalog.entry(name).num_classes
  try:
    found = len(prepared_lib.class_names(prepared))
  except types.DatasetUnavailableError as error:
    return Check(False, str(error))
  if found not in (0, expected):
    reason = f"{found} names of classes, {expected} are right"
    return Check(False, str(prepared_lib.damaged(prepared.folder, reason)))
  return Check(True, f"{prepared.folder}: {found or 'no'} names of classes")


def _count(prepared: prepared_lib.Prepared, split: str, expected: int) -> Check:
  found = prepared.num_examples[split]
  if found != expected:
    reason = f"{split}: {found} examples, {expected} are right"
    return Check(False, str(prepared_lib.damaged(prepared.folder, reason)))
  return Check(True, f"{split}: {found} examples")


def _split(name: str, prepared: prepared_lib.Prepared, split: str, bar: Bar) -> Iterator[Check]:
  """Decodes every image, looks at every label, and compares both with what is in the cache."""
  entry, total = catalog.entry(name), prepared.num_examples[split]
  copies = [_Cached(folder, total, entry) for folder in overview.cached(name, prepared, split)]
  digest, label = hashlib.sha256(), 0
  try:
    records = decode.Records(prepared, split, entry.image_shape, entry.resize)
    examples = bar.examples(f"checking {name}, {split}", records.examples(), total)
    for row, (image, label) in enumerate(examples):
      if not 0 <= label < entry.num_classes:
        reason = f"{split} example {row} has label {label}, not 0 to {entry.num_classes - 1}"
        raise prepared_lib.damaged(prepared.folder, reason)
      digest.update(image.tobytes() + label.to_bytes(4, "little"))
      for copy in copies:
        copy.compare(row, image, label)
  except types.DatasetUnavailableError as error:
    yield Check(False, str(error))
    return
  shape = " x ".join(map(str, entry.image_shape))
  yield Check(
    True,
    f"{split}: every image decodes to {shape}, every label is a class; sha256 of images and labels "
    f"{digest.hexdigest()}",
  )
  yield from (copy.outcome() for copy in copies)


class _Cached:
  """A split in the cache, compared with the prepared files example by example."""

  def __init__(self, folder: pathlib.Path, num_examples: int, entry: catalog.Entry):
    self._folder, self._fault = folder, None
    if (folder / "image.npy").exists():
      examples = arrays.read(folder, num_examples, entry.image_shape, entry.num_classes)
      self._image, self._label = examples or (None, None)
    else:
      self._image = None
      self._label = arrays.read_labels(folder, num_examples, entry.num_classes)
    if self._label is None:
      self._fault = "is cut off or of another shape"

  def compare(self, row: int, image: np.ndarray, label: int) -> None:
    if self._fault is not None:
      return
    same = self._label[row] == label
    if self._image is not None:
      same = same and np.array_equal(self._image[row], image)
    if not same:
      self._fault = f"differs from the prepared files in example {row}"

  def outcome(self) -> Check:
    if self._fault is None:
      return Check(True, f"{self._folder}: the same, decoded")
    return Check(
      False, f"{self._folder} {self._fault}: delete that folder, and it is written again"
    )
