"""What there is of each data set on this machine, in words."""

import pathlib
from collections.abc import Iterator, Sequence

from tagjax.datasets import archives, catalog, folders, inventory, types
from tagjax.datasets import prepared as prepared_lib


def row(name: str, data_dir: folders.PathLike | None = None) -> dict[str, str]:
  """The data set's row of the table of all: column -> text."""
  entry = catalog.entry(name)
  return {
    "name": name,
    "state": _state(name, data_dir),
    "title": entry.title,
    "classes": str(entry.num_classes),
    "images": " + ".join(map(str, entry.sizes)),
    "shape": " x ".join(map(str, entry.image_shape)),
    "files": _size([item.wanted.size for item in take_inventory(name, data_dir).items]),
    "licence": entry.licence,
  }


def _size(sizes: Sequence[int | None]) -> str:
  """The sum in words, of which some parts may be unknown.

  >>> _size([1024, 1024]), _size([1024, None]), _size([None]), _size([])
  ('2.0 KiB', 'over 1.0 KiB', 'unknown', '')
  """
  known = [size for size in sizes if size is not None]
  if len(known) == len(sizes):
    return folders.in_words(sum(known)) if known else ""
  return f"over {folders.in_words(sum(known))}" if known else "unknown"


def _state(name: str, data_dir: folders.PathLike | None) -> str:
  try:
    if prepared_lib.find(name, data_dir) is not None:
      return "prepared"
  except types.DatasetUnavailableError:
    return "unreadable: see status"
  found = take_inventory(name, data_dir)
  if not found.items:
    return "built in"
  if len(found.present) == len(found.items):
    return "files are here"
  how = "to be fetched by hand" if found.to_fetch else "to be downloaded"
  return f"{len(found.present)} of {len(found.items)} files here, {how}" if found.present else how


def take_inventory(name: str, data_dir: folders.PathLike | None) -> inventory.Inventory:
  """The files of the data set `name`, here and missing."""
  try:
    root = prepared_lib.writable_root(name, data_dir)
  except types.DatasetUnavailableError:
    root = prepared_lib.roots(name, data_dir)[0]
  return inventory.take(name, catalog.builder(name), root, data_dir)


def status(name: str, data_dir: folders.PathLike | None = None) -> Iterator[str]:
  """What is on the disk of the data set `name`, where, and what is to be done: lines of text."""
  entry = catalog.entry(name)
  yield f"{name}: {entry.title}; {entry.homepage}; licence: {entry.licence}"
  try:
    prepared = prepared_lib.find(name, data_dir)
  except types.DatasetUnavailableError as error:
    prepared = None
    yield f"  {error}"
  else:
    yield from _prepared_lines(name, prepared)
  yield from _cache_lines(name, prepared)
  elsewhere = getattr(catalog.builder(name), "ELSEWHERE", "")
  yield from _file_lines(take_inventory(name, data_dir), prepared is not None, elsewhere)


def _prepared_lines(name: str, prepared: prepared_lib.Prepared | None) -> Iterator[str]:
  if prepared is None:
    yield f"  not prepared: `python -m tagjax.datasets prepare {name}` does it, or the first use"
    return
  counts = prepared.num_examples
  yield (
    f"  prepared, version {prepared.version}, {counts['train']} training and {counts['test']} test "
    f"examples, {folders.in_words(folders.size(prepared.folder))}: {prepared.folder}"
  )


def _cache_lines(name: str, prepared: prepared_lib.Prepared | None) -> Iterator[str]:
  used = [folder for split in _SPLITS for folder in cached(name, prepared, split)]
  for folder in used:
    yield f"  decoded, {folders.in_words(folders.size_on_disk(folder))}: {folder}"
  everything = folders.cache_dir() / "arrays" / name
  stale = folders.size_on_disk(everything) - sum(map(folders.size_on_disk, used))
  if stale:
    yield f"  decoded from other files, {folders.in_words(stale)}, may be deleted: {everything}"


_SPLITS = ("train", "test")


def cached(name: str, prepared: prepared_lib.Prepared | None, split: str) -> list[pathlib.Path]:
  """The folders of the cache that hold a split of just these prepared files."""
  if prepared is None:
    return []
  folder = folders.cache_dir() / "arrays" / name / prepared.version
  return sorted(folder.glob(f"{split}-*-{prepared.digest}"))


def _file_lines(found: inventory.Inventory, is_prepared: bool, elsewhere: str) -> Iterator[str]:
  if not found.items:
    yield "  no files to fetch: its images come with an installed package"
  for item in found.items:
    if item.path:
      origin = "downloaded" if item.downloaded else "put in place by hand"
      yield f"  {origin}, {folders.in_words(folders.size(item.path))}: {item.path}"
    elif not is_prepared:
      yield f"  missing: {archives.description(item.wanted)}"
      yield f"    from {archives.origin(item.wanted)}"
  if is_prepared and len(found.present) < len(found.items):
    yield "  the files that it was made from are not all here, and need not be"
  elif found.to_fetch:
    yield f"  only you can fetch what is missing; put it into {found.folder}"
  elif found.to_download:
    yield f"  what is missing will be downloaded, unless you put it into {found.folder}"
    if elsewhere:
      yield f"  {elsewhere}"
