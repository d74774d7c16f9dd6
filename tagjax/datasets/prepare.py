"""Prepares a data set with its own builder: array_record files, made once a machine."""

import contextlib
import dataclasses
import io
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from tagjax.datasets import archives, catalog, folders, inventory, lock, types
from tagjax.datasets import prepared as prepared_lib
from tagjax.datasets.progress import Bar

_Checked = Sequence[tuple[inventory.Item, archives.Copy]]


def prepare(name: str, data_dir: folders.PathLike | None = None) -> None:
  """Prepares the data set `name`, in `data_dir` where that can be written, else in the cache.

  Of several processes that do so one works and the others wait for it. What a process that was
  killed has left is removed. On a terminal stderr shows a bar.

  Args:
    name: a name of the catalog.
    data_dir: see `tagjax.datasets.load`.

  Raises:
    DatasetUnavailableError: if files are missing that only the user can fetch, or while the net
      cannot be reached (said within 5 s); if one is damaged; if the disk has no room or cannot be
      written.
  """
  builder_class = catalog.builder(name)
  root = prepared_lib.writable_root(name, data_dir)
  found = inventory.take(name, builder_class, root, data_dir)
  inventory.require(name, builder_class, found, _at_hand(data_dir))
  _require_room(name, found, root)

  def tell_waiting():
    print(f"another process is preparing {name} in {root}: waiting for it", file=sys.stderr)

  with lock.exclusive(root / name, tell_waiting):
    if prepared_lib.find(name, data_dir) is not None:
      return  # another process has done it meanwhile
    folders.remove_leftovers(root, name)
    found = inventory.take(name, builder_class, root, data_dir)
    _tell_start(name, found, root)
    with Bar() as bar:
      _run(_watched(builder_class, found, _check(found, bar), root, bar), root, found.folder)


def _at_hand(data_dir: folders.PathLike | None) -> list[str]:
  found = []
  for name in catalog.names():
    with contextlib.suppress(types.DatasetUnavailableError):
      if catalog.entry(name).embedded or prepared_lib.find(name, data_dir) is not None:
        found.append(name)
  return found


def _require_room(name: str, found: inventory.Inventory, root: pathlib.Path) -> None:
  """Refuses what clearly cannot end well: no room for the downloads and the prepared files.

  These take about what the archives take; but an archive may hold more than is read of it, and PNG
  may be smaller. So it asks for no more than half of the archives, or of the decoded images.
  """
  entry = catalog.entry(name)
  downloads = sum(archive.size for archive in found.to_download)
  sizes = [folders.size(item.path) if item.path else item.wanted.size for item in found.items]
  decoded = sum(entry.sizes) * int(np.prod(entry.image_shape))
  needed, free = downloads + min(sum(sizes), decoded) // 2, folders.room(root)
  if needed > free:
    variable = "TAGJAX_CACHE_DIR" if root == folders.own_data_dir() else "TFDS_DATA_DIR"
    raise types.DatasetUnavailableError(
      f"{name} needs at least {folders.in_words(needed)} in {root}, where {folders.in_words(free)} "
      f"are free: make room, or let {variable} name a folder that has it"
    )


def _tell_start(name: str, found: inventory.Inventory, root: pathlib.Path) -> None:
  if not found.items:
    return  # a second's work
  total = sum(archive.size for archive in found.to_download)
  download = f", downloading {folders.in_words(total)}" if total else ""
  print(f"preparing {name} in {root}{download}", file=sys.stderr)


def _check(found: inventory.Inventory, bar: Bar) -> _Checked:
  """What the files are that were put in place by hand; fails if one is damaged."""
  return [
    (item, archives.check(item.wanted, item.path, bar.reading(item.path)))
    for item in found.present
    if not item.downloaded  # TFDS has checked it then
  ]


def _watched(
  builder_class: type,
  found: inventory.Inventory,
  checked: _Checked,
  root: pathlib.Path,
  bar: Bar,
) -> type:
  """The builder class, made to tell the bar how far it is and to take the copies that we take."""
  name = builder_class.name
  downloads = sum(archive.size for archive in found.to_download)
  counts = dict(zip(("train", "test"), catalog.entry(name).sizes, strict=True))

  class Watched(builder_class, skip_registration=True):
    __module__ = builder_class.__module__  # TFDS notes it in the prepared set
    name = builder_class.name
    url_infos = _url_infos(builder_class, checked)
    # Without instructions of its own TFDS does not tell a builder where `manual_dir` is.
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"python -m tagjax.datasets status {name}"

    def _split_generators(self, dl_manager):
      with bar.downloading(name, root / "downloads" / name, downloads):
        splits = super()._split_generators(dl_manager)
      if isinstance(self.info.metadata, dict):
        self.info.metadata["sources"] = {item.path.name: copy._asdict() for item, copy in checked}
      return {
        split: bar.examples(
          f"reading {split}", examples, counts.get(split), then=f"writing {split}"
        )
        for split, examples in splits.items()
      }

  Watched.__name__ = builder_class.__name__
  return Watched


def _url_infos(builder_class: type, checked: _Checked) -> dict:
  """What TFDS checks the archives against; it knows nothing of copies that were compressed anew."""
  infos = dict(builder_class.url_infos or {})
  for item, copy in checked:
    if isinstance(item.wanted, archives.Archive):
      info = infos[item.wanted.url]
      infos[item.wanted.url] = dataclasses.replace(
        info, size=type(info.size)(copy.size), checksum=copy.sha256
      )
  return infos


def _run(builder_class: type, root: pathlib.Path, manual: pathlib.Path) -> None:
  config = tfds.download.DownloadConfig(
    manual_dir=manual, try_download_gcs=False, force_checksums_validation=True
  )
  tfds.disable_progress_bar()
  builder = None
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # ours is for what the user asked for
      builder = builder_class(data_dir=root)
      builder.download_and_prepare(download_config=config, file_format="array_record")
  except Exception as error:
    # A program that knows nothing of our lock was faster: ours could not take the name.
    if builder is not None and isinstance(error, OSError) and builder.is_prepared():
      return
    raise types.DatasetUnavailableError(
      f"{builder_class.name} cannot be prepared in {root}: {type(error).__name__}: {error}"
    ) from error
