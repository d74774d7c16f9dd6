"""The folder of a run of several processes: process 0 writes it, the others read the same one."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import chex
import jax

from tagjax.core import paths
from tagjax.core.errors import WorkdirError
from tagjax.distributed import processes
from tagjax.storage.checkpoint import Checkpoints, Restored, restore
from tagjax.storage.workdir import LOCK, NoLog, NoWorkdir, Workdir

_NETWORK_SECONDS = 30.0  # until what one host wrote must be seen on another


def open_workdir(path: str | os.PathLike | None) -> Workdir | NoWorkdir:
  """The folder of a run; in all processes but the first a `ReadWorkdir`; None: nothing is kept.

  Raises:
    WorkdirError: if it cannot be written.
  """
  if path is None:
    return NoWorkdir()
  if jax.process_count() == 1:
    return Workdir(path)
  return SharedWorkdir(path) if processes.is_writer() else ReadWorkdir(path)


def open_checkpoints(folder: Workdir | NoWorkdir, keep: int) -> "Store":
  """The run's checkpoints; in all processes but the first `ReadCheckpoints`.

  Raises:
    CheckpointError: if they cannot be written.
  """
  if folder.path is None:
    return NoCheckpoints()
  if jax.process_count() == 1:
    return Checkpoints(folder.checkpoints, keep)
  if processes.is_writer():
    return SharedCheckpoints(folder.checkpoints, keep)
  return ReadCheckpoints(folder.checkpoints)


class SharedWorkdir(Workdir):
  """The folder as process 0 has it: it shows the others which one it is."""

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Keeps other runs out while the block runs."""
    with super().lock():
      mark = secrets.token_hex()
      (self.path / LOCK).write_text(mark)
      processes.exchange(mark)
      yield


class ReadWorkdir(Workdir):
  """The folder as the other processes have it; they write nothing."""

  def __init__(self, path: str | os.PathLike):
    """Names the folder; process 0 makes it."""
    self.path = paths.absolute(path)

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Waits for process 0 to hold the lock.

    Raises:
      WorkdirError: if this process sees another folder than process 0.
    """
    mark, waited = processes.exchange("")[0], 0.0
    while self._mark() != mark:
      if waited >= _NETWORK_SECONDS:
        raise WorkdirError(
          f"process {jax.process_index()} does not see in {self.path} what process 0 writes there: "
          "choose a --workdir on a file system that all hosts share"
        )
      time.sleep(0.5)
      waited += 0.5
    yield

  def _mark(self) -> str:
    try:
      return (self.path / LOCK).read_text()
    except OSError:
      return ""

  def claim(self, config) -> None:
    """Leaves it to process 0."""

  def open_log(self, length: int, sha256: str = "", lines: Iterable = ()) -> NoLog:
    """A log that keeps nothing."""
    return NoLog()


class SharedCheckpoints(Checkpoints):
  """The checkpoints as process 0 has them: it tells the others which one it takes."""

  def is_empty(self) -> bool:
    """Whether there is none."""
    empty = super().is_empty()
    processes.exchange("empty" if empty else "")
    return empty

  def restore_latest(
    self, template_state: chex.ArrayTree, check: Callable[[dict], None]
  ) -> Restored | None:
    """See `Checkpoints.restore_latest`."""
    restored = super().restore_latest(template_state, check)
    processes.exchange(str(restored.position))
    return restored


class ReadCheckpoints:
  """The checkpoints as the other processes have them: they take the one that process 0 takes."""

  def __init__(self, directory: Path):
    self._directory = directory

  def is_empty(self) -> bool:
    """Whether process 0 finds none."""
    return processes.exchange("")[0] == "empty"

  def restore_latest(
    self, template_state: chex.ArrayTree, check: Callable[[dict], None]
  ) -> Restored:
    """Restores the checkpoint that process 0 has restored.

    Raises:
      CheckpointError: if it cannot be read from here.
    """
    return restore(self._directory, int(processes.exchange("")[0]), template_state, check)

  def check_room(self, state_bytes: int) -> None:
    """Leaves it to process 0."""

  def save(self, position: int, state: chex.ArrayTree, progress: dict) -> None:
    """Leaves it to process 0."""

  def close(self) -> None:
    """Does nothing."""


class NoCheckpoints:
  """Takes the place of `Checkpoints` where nothing is kept."""

  def is_empty(self) -> bool:
    """There is never one."""
    return True

  def restore_latest(self, template_state: chex.ArrayTree, check: Callable[[dict], None]) -> None:
    """There is nothing to restore."""

  def check_room(self, state_bytes: int) -> None:
    """Nothing needs any."""

  def save(self, position: int, state: chex.ArrayTree, progress: dict) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


Store = Checkpoints | ReadCheckpoints | NoCheckpoints
"""Where a run keeps its checkpoints."""
