"""The folder of a run: its config, its log, its lock; refused before anything is overwritten."""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tagjax.core import paths
from tagjax.core.errors import WorkdirError
from tagjax.storage.json_files import read_json, write_atomic, write_json_atomic

CONFIG, LOG, RESULTS, LOCK, CHECKPOINTS, PROFILE = (
  "config.json",
  "metrics.jsonl",
  "results.json",
  ".lock",
  "checkpoints",
  "profile",
)


_LEFTOVER = re.compile(r"\..+\.(json|jsonl|png)\.[a-z0-9_]+\.tmp")  # see write_atomic
_MOST_NAMED = 20
_FOLDERS = (CHECKPOINTS, PROFILE, "groups", "runs", "shares", "trials", "tuning", "workers")
_SUFFIXES = (".json", ".jsonl", ".png", ".db")


class InUseError(WorkdirError):
  """Another process is running in the folder."""


class Workdir:
  """A run's folder.

  Attributes:
    path: absolute path.
  """

  def __init__(self, path: str | os.PathLike):
    """Creates the folder if it is missing.

    Raises:
      WorkdirError: if it cannot be created or written to, or one of the run's files is a link.
    """
    self.path = paths.absolute(path)
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      self._refuse_links()
      os.close(_open_own(self.path / LOCK, os.O_RDWR | os.O_CREAT))
    except OSError as error:
      raise WorkdirError(
        f"cannot write to workdir {self.path} ({error.strerror}): choose another with --workdir"
      ) from error

  def _refuse_links(self) -> None:
    """A folder that somebody else has packed may hold links to files of ours."""
    with os.scandir(self.path) as entries:
      links = [entry.name for entry in entries if entry.is_symlink()]
    for name in links:
      if name in (LOCK, *_FOLDERS) or Path(name).suffix in _SUFFIXES:
        raise WorkdirError(
          f"{name} in workdir {self.path} is a link to {os.readlink(self.path / name)}: a run "
          "writes to files of its own; delete the link, or put what it names in its place"
        )

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Keeps a second process out while the block runs.

    Raises:
      InUseError: if another process is running here.
      WorkdirError: if the file system has no locks.
    """
    with open(_open_own(self.path / LOCK, os.O_RDWR), "r+") as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise InUseError(
          f"another process is running in {self.path}: wait for it, or choose another --workdir"
        ) from error
      except OSError as error:
        raise WorkdirError(
          f"cannot lock {self.path} ({error.strerror}): choose a --workdir on a file system with "
          "locks"
        ) from error
      self._remove_leftovers()
      yield

  def _remove_leftovers(self) -> None:
    """Removes what a process that was killed while it wrote a file has left behind."""
    for path in self.path.glob(".*.tmp"):
      if _LEFTOVER.fullmatch(path.name):
        with contextlib.suppress(OSError):
          path.unlink()

  @property
  def checkpoints(self) -> Path:
    """Where the checkpoints lie."""
    return self.path / CHECKPOINTS

  @property
  def profile(self) -> Path:
    """Where a trace of the programs goes."""
    return self.path / PROFILE

  @property
  def results(self) -> Path:
    """The results file; there once the run has ended."""
    return self.path / RESULTS

  def has_results(self) -> bool:
    """Whether the run has ended."""
    return self.results.exists()

  def check(self, config: dict[str, Any]) -> None:
    """Checks that the run that lies here, if any, has this config.

    Raises:
      WorkdirError: naming the keys that differ.
    """
    path = self.path / CONFIG
    if not path.exists():
      return
    there = read_json(path)
    if not isinstance(there, dict):
      raise WorkdirError(f"{path} holds no config: restore a copy, or choose another --workdir")
    differing = [
      f"{key} is {old!r:.200} there and {new!r:.200} here"
      for key, old, new in itertools.islice(
        differences({"config": there}, {"config": config}), _MOST_NAMED
      )
    ]
    if differing:
      raise WorkdirError(
        f"workdir {self.path} holds a run with another config: {'; '.join(differing)}. "
        "Choose another --workdir, or the same config to go on with that run"
      )

  def claim(self, config: dict[str, Any]) -> None:
    """Writes the config: from now on this folder belongs to a run with it."""
    write_json_atomic(self.path / CONFIG, config)

  def open_log(self, length: int) -> "Log":
    """The log, cut to its first `length` bytes: what was written after a checkpoint is redone.

    Raises:
      WorkdirError: if it is shorter than that, or no file.
    """
    return Log(self.path / LOG, length)

  def join_logs(self, others: Sequence["Workdir"]) -> None:
    """Writes the log anew, of those of other folders, in order."""
    write_atomic(self.path / LOG, ((other.path / LOG).read_bytes() for other in others))


class Log:
  """metrics.jsonl: one JSON object a line."""

  def __init__(self, path: Path, length: int):
    """Opens the log for appending after its first `length` bytes; see `Workdir.open_log`."""
    self._file = open(_open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")  # noqa: SIM115  (closed by close())
    there = os.fstat(self._file.fileno()).st_size
    if there < length:
      self._file.close()
      raise WorkdirError(
        f"{path} has {there} bytes, and had {length} when the checkpoint was written: put the log "
        f"back, or move the folder {CHECKPOINTS} away to start from the beginning"
      )
    self._file.truncate(length)

  def write(self, **values) -> None:
    """Appends a line."""
    self._file.write((json.dumps(values) + "\n").encode())

  def sync(self) -> int:
    """Makes sure that all lines are on disk; returns the log's length in bytes."""
    self._file.flush()
    os.fsync(self._file.fileno())
    return self._file.tell()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


class NoLog:
  """Takes the place of a `Log` where nothing is written."""

  def write(self, **values) -> None:
    """Does nothing."""

  def sync(self) -> int:
    """Does nothing."""
    return 0

  def close(self) -> None:
    """Does nothing."""


class NoWorkdir:
  """Takes the place of a `Workdir` where nothing is kept.

  Attributes:
    path: None.
    profile: None: there is no place for a trace.
  """

  path: None = None
  profile: None = None
  results: str = "results.json"

  @contextlib.contextmanager
  def lock(self) -> Iterator[None]:
    """Does nothing."""
    yield

  def has_results(self) -> bool:
    """It never has any."""
    return False

  def check(self, config: dict[str, Any]) -> None:
    """Does nothing."""

  def claim(self, config: dict[str, Any]) -> None:
    """Does nothing."""

  def open_log(self, length: int) -> NoLog:
    """A log that keeps nothing."""
    return NoLog()


def _open_own(path: Path, how: int) -> int:
  """A descriptor of a file of the run, which is neither a link nor a pipe.

  Raises:
    WorkdirError: if it is something else than a file, or cannot be opened.
  """
  try:
    file = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
  except OSError as error:
    if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
      raise _no_file(path) from error
    raise
  if not stat.S_ISREG(os.fstat(file).st_mode):
    os.close(file)
    raise _no_file(path)
  return file


def _no_file(path: Path) -> WorkdirError:
  return WorkdirError(f"{path} is no regular file: move it away, or choose another --workdir")


def differences(one: Any, other: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
  """`(key, value of one, value of the other)` wherever two trees of JSON values differ.

  >>> list(differences({"ewc": {"clip": 0}, "seed": 1}, {"ewc": {"clip": 2}, "seed": 1}))
  [('ewc.clip', 0, 2)]
  """
  if isinstance(one, dict) and isinstance(other, dict):
    for name in sorted(one.keys() | other.keys()):
      inner = f"{key}.{name}" if key else name
      yield from differences(one.get(name), other.get(name), inner)
  elif one != other:
    yield key, one, other
