"""One preparation of a data set at a time: those who come later wait for its end."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import filelock

from tagjax.datasets import types


@contextlib.contextmanager
def exclusive(folder: pathlib.Path, tell_waiting: Callable[[], None]) -> Iterator[None]:
  """Holds the lock of a folder; the system frees that of a process that was killed.

  Args:
    folder: made if absent; `.lock` in it is the lock, and stays there.
    tell_waiting: called once if another process holds it.

  Raises:
    DatasetUnavailableError: if the file system refuses.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
      lock.acquire(timeout=0)
    except filelock.Timeout:
      tell_waiting()
      lock.acquire()
  except (OSError, NotImplementedError) as error:
    raise types.DatasetUnavailableError(
      f"cannot lock {folder} ({error}): choose another data_dir (TFDS_DATA_DIR), on a file system "
      "that has locks and that you may write to"
    ) from error
  try:
    yield
  finally:
    lock.release()
