"""Checkpoints that are verified when they are read, over Orbax.

A checkpoint is one Orbax step: a `Composite` of

* `state`: the bytes of all leaves, in the order of their paths, as one uint8 array. One array and
  not one a leaf, because Orbax takes about a millisecond a leaf and refuses leaves of size zero
  (an empty memory has them);
* `progress`: JSON with the position, the caller's progress, the path, dtype, shape and number
  of bytes of every leaf, and a sha256 over all of it.

Orbax restores flipped bits and states of another shape without a word. Here the digest finds the
first, and the list of leaves the second.
"""

import functools
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import chex
import jax
import numpy as np

from tagjax.core.errors import TagjaxError
from tagjax.core.untrusted import plain_text
from tagjax.storage.json_files import sync_path
from tagjax.storage.patience import tell_if_slow
from tagjax.storage.tree_bytes import describe, differences, pack, unpack

if TYPE_CHECKING:  # a fifth of a second to import: done when a run first saves
  import orbax.checkpoint as ocp

_FORMAT = 1
_DAMAGED = "damaged"
_POSITION = re.compile(r"0|[1-9][0-9]*")


def _accept(progress: dict[str, Any]) -> None:
  """Takes a checkpoint of whatever it is of."""


class CheckpointError(TagjaxError, RuntimeError):
  """No checkpoint can be restored, or one cannot be written; the message names the way out."""


class CheckpointMismatchError(CheckpointError):
  """The checkpoint is sound, but belongs to a state of another structure, dtype or shape."""


class Restored(NamedTuple):
  """What `Checkpoints.restore_latest` returns.

  Attributes:
    position: the position that it was saved under.
    state: pytree like the template.
    progress: the JSON object that was saved with it.
  """

  position: int
  state: chex.ArrayTree
  progress: dict[str, Any]


class Checkpoints:
  """The newest checkpoints of one run, in one directory.

  `save` returns as soon as the state has been copied to the host, so its buffers may be donated
  at once; the files are written in the background. Orbax writes to a temporary folder and renames
  it when all is there: a process killed at any moment leaves the last finished checkpoint. What
  Orbax has written is then synced to the disk, before the next save: a loss of power costs the
  newest checkpoint at most, and with `keep=1` all.

  Args:
    directory: where the checkpoints are; made if missing.
    keep: how many of the newest to keep, at least 1. With 1 there is no older one to fall back on.
    warn: called with one line of text when a damaged checkpoint is passed over; prints to stderr
      by default.

  Raises:
    ValueError: if `keep` is below 1.
    CheckpointError: if the directory cannot be written.

  Example:
    >>> import tempfile, jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
    ...   checkpoints.save(7, {"weight": jnp.arange(3.0)}, {"task": 1})
    ...   restored = checkpoints.restore_latest({"weight": jnp.zeros(3)})
    >>> restored.position, restored.state["weight"].tolist(), restored.progress
    (7, [0.0, 1.0, 2.0], {'task': 1})
  """

  def __init__(
    self,
    directory: str | Path,
    keep: int = 2,
    *,
    warn: Callable[[str], None] | None = None,
  ):
    if keep < 1:
      raise ValueError(f"keep must be at least 1, got {keep}")
    self.directory = Path(directory).absolute()
    self._warn = warn or _print_warning
    self._keep = keep
    self._finishing: threading.Thread | None = None
    self._failure: Exception | None = None
    _quieten_orbax()
    try:
      self.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise CheckpointError(
        f"cannot write checkpoints to {self.directory}: {error}; give another directory"
      ) from error
    for entry in self.directory.iterdir():
      if entry.is_symlink():
        raise CheckpointError(f"{entry} is a link, and checkpoints are folders: delete it")

  @functools.cached_property
  def _manager(self) -> "ocp.CheckpointManager":
    """What writes; made when it is first needed, and importing it takes a fifth of a second."""
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=self._keep,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=_this_process(),
      ),
    )

  def save(self, position: int, state: chex.ArrayTree, progress: dict[str, Any]) -> None:
    """Saves `state` and `progress` under `position`.

    Waits for the files of the previous save, then copies the state; its own files are finished by
    the next `save`, `wait` or `close`.

    Args:
      position: how far the run is, larger than that of every checkpoint in the directory.
      state: pytree of arrays (JAX, typed random keys, NumPy, scalars); None and empty tuples are
        part of the structure and cost nothing.
      progress: JSON object with string keys. NumPy numbers and arrays become numbers and lists.
        Numbers come back with the same bits (Python writes the shortest text that does that); NaN
        and infinities come back as themselves, written as `NaN` and `Infinity`. Tuples come back
        as lists.

    Raises:
      ValueError: if `position` is not larger than the last one saved.
      TypeError: if `progress` cannot be written as JSON or `state` has a leaf that is no array.
      CheckpointError: if this or the previous save could not be written.
    """
    self.wait()
    latest = max(self.positions(), default=-1)
    if position <= latest:
      raise ValueError(
        f"position {position} must be larger than {latest}, which {self.directory} already holds; "
        "restore it first, or give an empty directory"
      )
    leaves, data = pack(state)
    header = {
      "format": _FORMAT,
      "position": int(position),
      "leaves": leaves,
      "progress": _as_json(progress),
    }
    record = {**header, "sha256": _digest(header, data)}
    # Orbax refuses an array without elements.
    data = data if data.size else np.zeros(1, np.uint8)
    import orbax.checkpoint as ocp

    try:
      saved = self._manager.save(
        int(position),
        args=ocp.args.Composite(
          state=ocp.args.StandardSave({"bytes": data}), progress=ocp.args.JsonSave(record)
        ),
      )
    except Exception as error:
      raise self._cannot_save(error) from error
    if not saved:
      raise CheckpointError(f"Orbax did not save position {position} in {self.directory}")
    name = str(int(position))
    self._finishing = threading.Thread(target=self._finish, args=(name,), daemon=True)
    self._finishing.start()

  def wait(self) -> None:
    """Returns when the files of the last save are finished.

    Raises:
      CheckpointError: if they could not be written.
    """
    thread, self._finishing = self._finishing, None
    if thread is not None:
      with tell_if_slow(self.directory):
        thread.join()
    error, self._failure = self._failure, None
    if error is not None:
      raise self._cannot_save(error) from error

  def positions(self) -> list[int]:
    """The positions of the finished checkpoints, damaged ones too, oldest first."""
    # Read from disk: Orbax does not list a checkpoint that lost one of its own marker files.
    return sorted(
      int(entry.name) for entry in self.directory.iterdir() if _POSITION.fullmatch(entry.name)
    )

  def is_empty(self) -> bool:
    """Whether there is no checkpoint, not even a damaged one."""
    return not self.positions()

  def check_room(self, state_bytes: int) -> None:
    """Checks that the disk has room for all checkpoints that there are at once.

    Args:
      state_bytes: of a state; the next one is written before the oldest is deleted.

    Raises:
      CheckpointError: if it has not.
    """
    lacking = max(1, self._keep + 1 - len(self.positions()))
    try:
      free = shutil.disk_usage(self.directory).free
    except OSError:
      return
    if free < lacking * state_bytes:
      raise CheckpointError(
        f"the disk of {self.directory} has {free} bytes left, and checkpoints will need {lacking} "
        f"x {state_bytes}: make room, choose another --workdir, or keep fewer of them "
        "(config.keep_checkpoints)"
      )

  def restore_latest(
    self, template_state: chex.ArrayTree, check: Callable[[dict[str, Any]], None] = _accept
  ) -> Restored | None:
    """Restores the newest checkpoint that is whole.

    Newer ones that are damaged are named through `warn` and moved to the folder `damaged`, so
    that their positions are free again.

    Args:
      template_state: pytree with the structure, dtypes, shapes and shardings of the state that
        was saved; arrays or `jax.ShapeDtypeStruct`. Its values do not matter.
      check: called with the progress, before the state is compared with the template; raises what
        it likes if the checkpoint is of something else.

    Returns:
      The position, the state and the progress; None if there is no checkpoint.

    Raises:
      CheckpointMismatchError: if the newest whole checkpoint is of another structure.
      CheckpointError: if there are checkpoints, and all are damaged. Nothing is moved then.
    """
    self.wait()
    damaged = {}
    for position in reversed(self.positions()):
      record, data, reason = _read(self.directory, position, _most_bytes(template_state))
      if reason:
        damaged[position] = reason
        continue
      check(record["progress"])
      restored = _restored(self.directory, record, data, template_state)
      self._set_aside(damaged, position)
      return restored
    if damaged:
      reasons = "; ".join(f"{position}: {reason}" for position, reason in damaged.items())
      raise CheckpointError(
        f"all checkpoints in {self.directory} are damaged ({reasons}); "
        "delete that directory to start from the beginning, or put a copy of a whole one there"
      )
    return None

  def close(self) -> None:
    """Finishes the last save and ends Orbax's threads.

    Raises:
      CheckpointError: if the last save could not be written.
    """
    if not self._has_manager():
      return
    try:
      self.wait()
    finally:
      if (error := self._end_threads()) is not None:
        raise self._cannot_save(error) from error

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *exception) -> None:
    del exception
    self.close()

  def _finish(self, name: str) -> None:
    """Waits for the files and syncs them, in a thread."""
    try:
      self._manager.wait_until_finished()
      for parent, _, files in os.walk(self.directory / name, topdown=False):
        for file in files:
          sync_path(os.path.join(parent, file))
        sync_path(parent)
      sync_path(self.directory)
    except Exception as error:  # told by `wait`
      self._failure = error

  def _end_threads(self) -> Exception | None:
    """Ends Orbax's threads; returns the first of its errors.

    It raises each of them once, and while it has one it leaves what writes in the background alone:
    the next run in this process would find a checkpoint appear under its hands.
    """
    first = None
    for _ in range(_MOST_ERRORS):
      try:
        self._manager.close()
        break
      except Exception as error:
        first = first or error
    return first

  def _set_aside(self, damaged: dict[int, str], used: int) -> None:
    for position, reason in damaged.items():
      target = self.directory / _DAMAGED / str(position)
      number = 1
      while target.exists():
        number += 1
        target = self.directory / _DAMAGED / f"{position}_{number}"
      target.parent.mkdir(exist_ok=True)
      (self.directory / str(position)).rename(target)
      self._warn(
        f"checkpoint {position} is damaged ({reason}); moved to {target}, going on from {used}"
      )
    if damaged and self._has_manager():
      self._manager.reload()

  def _has_manager(self) -> bool:
    return "_manager" in self.__dict__

  def _cannot_save(self, error: Exception) -> CheckpointError:
    return CheckpointError(
      f"cannot save a checkpoint in {self.directory}: {type(error).__name__}: {error}; "
      "check that the disk has room and that the directory can be written"
    )


def restore(
  directory: str | Path,
  position: int,
  template_state: chex.ArrayTree,
  check: Callable[[dict[str, Any]], None] = _accept,
) -> Restored:
  """Restores one checkpoint and writes nothing, so that other processes may do the same.

  Args:
    directory: where the checkpoints are.
    position: which.
    template_state: see `Checkpoints.restore_latest`.
    check: see `Checkpoints.restore_latest`.

  Raises:
    CheckpointMismatchError: if it is of another structure.
    CheckpointError: if it is not there, or damaged.
  """
  _quieten_orbax()
  directory = Path(directory).absolute()
  record, data, reason = _read(directory, position, _most_bytes(template_state))
  if reason:
    raise CheckpointError(f"cannot read checkpoint {directory / str(position)}: {reason}")
  check(record["progress"])
  return _restored(directory, record, data, template_state)


class Inspected(NamedTuple):
  """What `inspect` tells of a checkpoint.

  Attributes:
    position: that it was saved under.
    progress: that was saved with it; empty if it is damaged.
    damage: what is wrong with it; empty if nothing is.
  """

  position: int
  progress: dict[str, Any]
  damage: str


def inspect(directory: str | Path) -> list[Inspected]:
  """Reads all checkpoints, oldest first, and compares each with its digest; writes nothing."""
  _quieten_orbax()
  directory = Path(directory).absolute()
  names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
  found = []
  for position in sorted(int(name) for name in names if _POSITION.fullmatch(name)):
    size = sum(file.lstat().st_size for file in (directory / str(position)).rglob("*"))
    record, _, damage = _read(directory, position, max(2**30, _MOST_PACKED * size))
    found.append(Inspected(position, record.get("progress", {}), damage))
  return found


_MOST_ERRORS = 5  # of one save
_MOST_PACKED = 64  # bytes of a state for each byte on the disk, of what nobody knows the size of


def remove_leftovers(directory: str | Path) -> None:
  """Deletes what a process that was killed while it saved has left behind."""
  for path in Path(directory).glob("*.orbax-checkpoint-tmp*"):
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path, ignore_errors=True)


def _most_bytes(template_state: chex.ArrayTree) -> int:
  """The longest state that is read, which another run's may be: a checkpoint can declare any."""
  return max(2**28, 4 * sum(leaf[-1] for leaf in describe(template_state)))


def _check_files(folder: Path) -> None:
  """Refuses what a checkpoint that was written here does not hold."""
  for parent, folders, files in os.walk(folder):
    for name in (*folders, *files):
      mode = os.lstat(os.path.join(parent, name)).st_mode
      if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{name} is neither a file nor a folder")


def _read(directory: Path, position: int, most_bytes: int) -> tuple[dict, np.ndarray, str]:
  """The record and the bytes of one checkpoint, and why it is damaged (empty if it is not)."""
  import orbax.checkpoint as ocp

  nothing, own = np.zeros(0, np.uint8), _this_process()
  try:
    _check_files(directory / str(position))
    # A fresh reader: the manager's own remembers what it listed when it was made.
    with _reader(ocp.JsonCheckpointHandler(multiprocessing_options=own)) as reader:
      record = reader.restore(directory / str(position) / "progress")
    size = sum(leaf[-1] for leaf in record["leaves"])
    if not 0 <= size <= most_bytes:
      raise ValueError(
        f"it declares {size} bytes, more than the {most_bytes} that this run may need"
      )
    with _reader(ocp.StandardCheckpointHandler(multiprocessing_options=own)) as reader:
      data = reader.restore(
        directory / str(position) / "state",
        args=ocp.args.StandardRestore({"bytes": np.empty(max(size, 1), np.uint8)}),
      )["bytes"][:size]
    digest = record.pop("sha256")
    whole = digest == _digest(record, data) and record["position"] == position
  except Exception as error:  # Whatever a damaged file makes Orbax raise: it is damaged.
    text = plain_text(" ".join(str(error).split()))
    return {}, nothing, f"{type(error).__name__}: {text[:200]}"
  if not whole:
    return {}, nothing, "its sha256 differs from the one that was stored with it"
  return record, data, ""


def _restored(directory: Path, record: dict, data: np.ndarray, template: Any) -> Restored:
  differing = differences(record["leaves"], template)
  if differing:
    raise CheckpointMismatchError(
      f"checkpoint {directory / str(record['position'])} does not fit this run's state: "
      f"{differing}; use the settings that it was saved with, or another directory"
    )
  return Restored(record["position"], unpack(data, template), record["progress"])


def _reader(handler: Any) -> "ocp.Checkpointer":
  import orbax.checkpoint as ocp

  return ocp.Checkpointer(handler, multiprocessing_options=_this_process())


def _this_process() -> "ocp.options.MultiprocessingOptions":
  """Orbax waits for all processes otherwise, and here one writes while the others train."""
  import orbax.checkpoint as ocp

  own = jax.process_index()
  return ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})


def _print_warning(text: str) -> None:
  print(f"warning: {text}", file=sys.stderr)


def _quieten_orbax() -> None:
  """Keeps Orbax's own log out of the run's output: what it fails at arrives as an exception."""
  logger = logging.getLogger("absl")
  if _is_not_orbax not in logger.filters:
    logger.addFilter(_is_not_orbax)


def _is_not_orbax(record: logging.LogRecord) -> bool:
  return "orbax" not in Path(record.pathname).parts


def _as_json(progress: dict[str, Any]) -> dict[str, Any]:
  _require_string_keys(progress, "progress")
  return json.loads(json.dumps(progress, default=_plain))


def _require_string_keys(value: Any, where: str) -> None:
  if isinstance(value, dict):
    for key, item in value.items():
      if not isinstance(key, str):
        raise TypeError(f"{where} has the key {key!r}: JSON keeps strings only, use {str(key)!r}")
      _require_string_keys(item, f"{where}[{key!r}]")
  elif isinstance(value, list | tuple):
    for index, item in enumerate(value):
      _require_string_keys(item, f"{where}[{index}]")


def _plain(value: Any) -> Any:
  if isinstance(value, np.generic | np.ndarray | jax.Array):
    return np.asarray(value).tolist()
  raise TypeError(f"progress holds a {type(value).__name__}, which JSON cannot: {value!r:.80}")


def _digest(header: dict[str, Any], data: np.ndarray) -> str:
  text = json.dumps(header, sort_keys=True)
  digest = hashlib.sha256(text.encode())
  digest.update(np.ascontiguousarray(data))
  return digest.hexdigest()
