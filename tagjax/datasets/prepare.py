"""Prepares a data set with its own builder: array_record files, made once a machine."""

import contextlib
import importlib
import io
import pathlib
import sys

import tensorflow_datasets as tfds

from tagjax.datasets import archives as archives_lib
from tagjax.datasets import arrays, catalog, folders, types
from tagjax.datasets import prepared as prepared_lib


def prepare(name: str, data_dir: folders.PathLike | None = None) -> None:
  """Prepares the data set `name`, in `data_dir` where that can be written, else in the cache.

  Args:
    name: a name of the catalog.
    data_dir: see `tagjax.datasets.load`.

  Raises:
    DatasetUnavailableError: if archives are missing and the net cannot be reached (within 5 s),
      if one is damaged, or if nothing can be written.
  """
  entry = catalog.entry(name)
  builder_class = getattr(importlib.import_module(f"tagjax.datasets.{entry.module}"), entry.builder)
  root = _writable_root(name, data_dir)
  manual = _collect_archives(name, builder_class, root, data_dir)
  folders.remove_abandoned(root / name)
  _run(builder_class, root, manual)


def _writable_root(name: str, data_dir: folders.PathLike | None) -> pathlib.Path:
  candidates = prepared_lib.roots(name, data_dir)
  for root in candidates:
    if folders.is_writable(root):
      return root
  raise arrays.unwritable(folders.cache_dir(), "not writable")


def _collect_archives(
  name: str, builder_class: type, root: pathlib.Path, data_dir: folders.PathLike | None
) -> pathlib.Path:
  """The folder of the archives put in place by hand; fails if the others are out of reach."""
  wanted = archives_lib.of_builder(builder_class)
  folder = root / "downloads" / "manual" / name  # MNIST and Fashion-MNIST share file names
  for candidate in prepared_lib.roots(name, data_dir):
    manual = candidate / "downloads" / "manual" / name
    if any((manual / archive.name).exists() for archive in wanted):
      folder = manual
      break
  missing = []
  for archive in wanted:
    if (folder / archive.name).exists():
      archives_lib.check(archive, folder / archive.name)
    elif not archives_lib.is_downloaded(archive, root / "downloads", name):
      missing.append(archive)
  if missing:
    reason = archives_lib.why_unreachable(missing[0].url)
    if reason is not None:
      raise types.DatasetUnavailableError(
        archives_lib.instructions(name, missing, folder, reason, _at_hand(data_dir))
      )
    total = sum(archive.size for archive in missing) / 2**20
    print(f"downloading {name} ({total:.0f} MiB) to {root}", file=sys.stderr)
  return folder


def _at_hand(data_dir: folders.PathLike | None) -> list[str]:
  found = []
  for name in catalog.names():
    with contextlib.suppress(types.DatasetUnavailableError):
      if catalog.entry(name).embedded or prepared_lib.find(name, data_dir) is not None:
        found.append(name)
  return found


def _run(builder_class: type, root: pathlib.Path, manual: pathlib.Path) -> None:
  config = tfds.download.DownloadConfig(
    manual_dir=manual, try_download_gcs=False, force_checksums_validation=True
  )
  tfds.disable_progress_bar()
  builder = None
  if getattr(builder_class, "BY_HAND", ()):
    # Without instructions of its own TFDS does not tell a builder where `manual_dir` is.
    builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS = "python -m tagjax.datasets status"
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # ours is for what the user asked for
      builder = builder_class(data_dir=root)
      builder.download_and_prepare(download_config=config, file_format="array_record")
  except Exception as error:
    # Another process was faster: its folder is there, and ours could not take the name.
    if builder is not None and isinstance(error, OSError) and builder.is_prepared():
      return
    raise types.DatasetUnavailableError(
      f"{builder_class.name} cannot be prepared in {root}: {type(error).__name__}: {error}"
    ) from error
