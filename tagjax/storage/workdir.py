"""The folder of a run: its config, its log, its lock; refused before anything is overwritten."""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tagjax.core import paths, untrusted
from tagjax.core.errors import WorkdirError
from tagjax.storage.json_files import read_json, write_atomic, write_json_atomic
from tagjax.storage.patience import tell_if_slow

CONFIG, LOG, RESULTS, LOCK, CHECKPOINTS, PROFILE = (
  "config.json",
  "metrics.jsonl",
  "results.json",
  ".lock",
  "checkpoints",
  "profile",
)


DAMAGED_LOG = "metrics.damaged.jsonl"
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

  _lock: IO | None = None

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
      self._lock = file
      try:
        yield
      finally:
        self._lock = None

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

  def open_log(
    self, length: int, sha256: str = "", lines: Iterable[Mapping[str, Any]] = ()
  ) -> "Log":
    """The log, cut to its first `length` bytes: what was written after a checkpoint is redone.

    A log that has lost some of these bytes, or holds others, is set aside with a warning, and
    `lines` take its place.

    Args:
      length: of what was written before the checkpoint.
      sha256: digest of these bytes; not compared if empty.
      lines: what the checkpoint itself knows.

    Raises:
      WorkdirError: if it is no file.
    """
    log = Log(self.path / LOG)
    there = log.cut(length)
    if there == length and sha256 in ("", log.sha256()):
      return log
    log.close()
    lost = "other lines than it had" if there == length else f"{there} of its {length} bytes"
    print(
      f"warning: {self.path / LOG} holds {lost} when the checkpoint was written: accuracies and "
      "growth are written anew from the checkpoint, losses of the steps before it are lost",
      file=sys.stderr,
    )
    if there and not (self.path / DAMAGED_LOG).exists():
      os.replace(self.path / LOG, self.path / DAMAGED_LOG)
    write_atomic(self.path / LOG, (_line(values) for values in lines))
    log = Log(self.path / LOG)
    log.cut(os.path.getsize(self.path / LOG))
    return log

  def log_digest(self) -> str | None:
    """The digest of the whole log; None if there is none."""
    return digest_of(self.path / LOG)[0] if (self.path / LOG).is_file() else None

  def check_lock(self) -> None:
    """Checks that this process still has the folder to itself, if it has locked it.

    Raises:
      WorkdirError: if the lock, or the folder with it, was deleted or moved away.
    """
    if self._lock is None:
      return
    try:
      there = os.stat(self.path / LOCK)
    except OSError:
      there = None
    if there is None or not os.path.samestat(os.fstat(self._lock.fileno()), there):
      raise WorkdirError(
        f"{self.path / LOCK} was deleted or replaced while this run went on, so that another run "
        "may write there: stopped without saving; the same command goes on from the last checkpoint"
      )

  def join_logs(self, others: Sequence["Workdir"]) -> None:
    """Writes the log anew, of those of other folders, in order."""
    write_atomic(self.path / LOG, ((other.path / LOG).read_bytes() for other in others))


class Log:
  """metrics.jsonl: one JSON object a line."""

  def __init__(self, path: Path):
    """Opens the log for appending; see `Workdir.open_log`."""
    self._path = path
    self._file = open(_open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+b")  # noqa: SIM115  (closed by close())
    self._digest = hashlib.sha256()

  def cut(self, length: int) -> int:
    """Cuts it to its first `length` bytes, reads these, and returns how many there are."""
    there = min(length, os.fstat(self._file.fileno()).st_size)
    self._file.truncate(there)
    self._file.seek(0)
    while block := self._file.read(2**20):
      self._digest.update(block)
    return there

  def write(self, **values) -> None:
    """Appends a line."""
    line = _line(values)
    self._digest.update(line)
    self._file.write(line)

  def sha256(self) -> str:
    """The digest of all lines."""
    return self._digest.hexdigest()

  def sync(self) -> int:
    """Makes sure that all lines are on disk; returns the log's length in bytes."""
    with tell_if_slow(self._path):
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

  def sha256(self) -> str:
    """There is nothing of which it could be."""
    return ""

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

  def check_lock(self) -> None:
    """There is none."""

  def open_log(
    self, length: int, sha256: str = "", lines: Iterable[Mapping[str, Any]] = ()
  ) -> NoLog:
    """A log that keeps nothing."""
    return NoLog()

  def log_digest(self) -> None:
    """There is no log."""


def digest_of(path: Path, length: int = sys.maxsize) -> tuple[str, int]:
  """The sha256 of a file's first `length` bytes, and how many there are; 0 of a missing one."""
  digest, there = hashlib.sha256(), 0
  with contextlib.suppress(OSError, ValueError), untrusted.open_regular(path, sys.maxsize) as file:
    while block := file.read(min(2**20, length - there)):
      digest.update(block)
      there += len(block)
  return digest.hexdigest(), there


def _line(values: Mapping[str, Any]) -> bytes:
  return (json.dumps(values) + "\n").encode()


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
