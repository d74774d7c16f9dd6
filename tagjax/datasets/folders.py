"""Where data live: the TFDS folder that the user names, and the project's own cache."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time

PathLike = str | os.PathLike[str]

_ABANDONED_SECONDS = 24 * 3600


def data_dir(given: PathLike | None = None) -> pathlib.Path:
  """The folder of prepared data sets: `given`, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`."""
  chosen = given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(chosen).expanduser().absolute()


def cache_dir() -> pathlib.Path:
  """The project's own folder: `$TAGJAX_CACHE_DIR`, `$XDG_CACHE_HOME/tagjax`, `~/.cache/tagjax`."""
  chosen = os.environ.get("TAGJAX_CACHE_DIR")
  if not chosen:
    chosen = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tagjax"
  return pathlib.Path(chosen).expanduser().absolute()


def own_data_dir() -> pathlib.Path:
  """Where sets are prepared that need no download, or whose `data_dir` is read-only."""
  return cache_dir() / "tfds"


def is_writable(folder: pathlib.Path) -> bool:
  """Whether files can be made in `folder`, or `folder` itself in what exists above it.

  Tries it, because access bits say nothing of read-only mounts and of the superuser.
  """
  while not folder.exists() and folder != folder.parent:
    folder = folder.parent
  try:
    with tempfile.TemporaryFile(dir=folder):
      return True
  except OSError:
    return False


def remove_abandoned(folder: pathlib.Path) -> None:
  """Removes the `incomplete.*` of killed processes in `folder`, a day later.

  Younger ones may be what another process is writing; nobody reads them.
  """
  for path in folder.glob("incomplete.*"):
    with contextlib.suppress(OSError):
      if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
        shutil.rmtree(path)
