"""Where data live: the TFDS folder that the user names, and the project's own cache."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time

from tagjax.core import paths
from tagjax.core.folders import cache_dir as cache_dir

PathLike = str | os.PathLike[str]

_ABANDONED_SECONDS = 24 * 3600


def data_dir(given: PathLike | None = None) -> pathlib.Path:
  """The folder of prepared data sets: `given`, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`."""
  chosen = given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return paths.absolute(chosen)


def own_data_dir() -> pathlib.Path:
  """Where sets are prepared that need no download, or whose `data_dir` is read-only."""
  return cache_dir() / "tfds"


def is_writable(folder: pathlib.Path) -> bool:
  """Whether files can be made in `folder`, or `folder` itself in what exists above it.

  Tries it, because access bits say nothing of read-only mounts and of the superuser.
  """
  try:
    with tempfile.TemporaryFile(dir=_existing(folder)):
      return True
  except OSError:
    return False


def manual_dir(root: pathlib.Path, name: str) -> pathlib.Path:
  """Where the files of the data set `name` belong that are put in place by hand.

  A folder for each set, since MNIST and Fashion-MNIST use the same file names.
  """
  return root / "downloads" / "manual" / name


def size(folder: pathlib.Path) -> int:
  """Bytes of all files in `folder` and below; of a file, its own; 0 where there is nothing.

  Files that vanish meanwhile are not counted.
  """
  total = 0
  for path in [folder, *folder.rglob("*")]:
    with contextlib.suppress(OSError):
      if path.is_file():
        total += path.stat().st_size
  return total


def size_on_disk(folder: pathlib.Path) -> int:
  """As `size`, without the holes of files that are written at random places."""
  total = 0
  for path in [folder, *folder.rglob("*")]:
    with contextlib.suppress(OSError):
      if path.is_file():
        status = path.stat()
        blocks = getattr(status, "st_blocks", None)  # Windows does not tell
        total += status.st_size if blocks is None else min(status.st_size, 512 * blocks)
  return total


def in_words(size: int) -> str:
  """A number of bytes as people read it.

  >>> in_words(360), in_words(30_000_000), in_words(13_000_000_000)
  ('360 bytes', '28.6 MiB', '12.1 GiB')
  """
  for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
    if size >= 2**exponent:
      return f"{size / 2**exponent:.1f} {unit}"
  return f"{size} bytes"


def room(folder: pathlib.Path) -> int:
  """Bytes that are free where `folder` is, or will be."""
  return shutil.disk_usage(_existing(folder)).free


def _existing(folder: pathlib.Path) -> pathlib.Path:
  while not folder.exists() and folder != folder.parent:
    folder = folder.parent
  return folder


def remove_abandoned(folder: pathlib.Path) -> None:
  """Removes the `incomplete.*` of killed processes in `folder`, a day later.

  Younger ones may be what another process is writing; nobody reads them.
  """
  for path in folder.glob("incomplete.*"):
    with contextlib.suppress(OSError):
      if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
        shutil.rmtree(path)


def remove_leftovers(root: pathlib.Path, name: str) -> None:
  """Removes what killed preparations of the data set `name` have left behind, whatever its age.

  Only for the process that holds the lock of the set: nobody else is preparing it then.
  """
  unfinished = (root / name).glob("incomplete.*")
  cut_off = (root / "downloads" / name).glob("*.tmp.*")  # TFDS begins a download anew
  for path in [*unfinished, *cut_off]:
    shutil.rmtree(path, ignore_errors=True)
