"""The options and names that there are, kept from one start to the next.

Declarations say them, so whoever asks must import all that declares, and JAX with it: a second, for
which a misspelt key need not wait. What was kept holds exactly as long as nothing has changed that
it was read from: every file that was loaded then, Python, its path and the installed entry points.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tagjax.core.folders import cache_dir
from tagjax.core.register import Kind, Option

GROUP = "tagjax"
"""Entry points of this group are imported; what they import registers itself."""


class Known(NamedTuple):
  """What a command line can name.

  Attributes:
    options: of a run, by their keys in the config, such as `ewc.strength`.
    names: of the declarations of each kind.
  """

  options: dict[str, Option]
  names: dict[Kind, tuple[str, ...]]


@functools.cache
def kept(make: Callable[[], Known]) -> Known:
  """What `make` gives, which imports all that declares; what was kept of it if that holds.

  Kept as a pickle: whoever can write to the cache folder can make this process run code of theirs.
  One that belongs to another user, or that everybody may write, is not read.
  """
  path = cache_dir() / "options" / _name()
  if (found := _read(path)) is None:
    found = make()
    _write(path, found)
  return found


def _name() -> str:
  """Of the file, one for each Python and path."""
  points = [(point.name, point.value) for point in importlib.metadata.entry_points(group=GROUP)]
  text = repr((__file__, sys.version, sys.path, sorted(points)))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> Known | None:
  try:
    if not _is_ours(path):
      return None
    stored = path.read_bytes()
    digest, data = stored[:_DIGEST], stored[_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
      return None
    files, known = pickle.loads(data)
    return known if all(_stamp(file) == stamp for file, stamp in files.items()) else None
  except Exception:  # it is not there, or files that it names are not
    return None


def _is_ours(path: Path) -> bool:
  """Whether no other user can have written it, in a cache folder that several share."""
  for status in (path.stat(), path.parent.stat()):
    if status.st_uid != getattr(os, "getuid", lambda: 0)() or status.st_mode & 0o002:
      return False
  return True


_DIGEST = hashlib.sha256().digest_size


def _write(path: Path, known: Known) -> None:
  from tagjax.storage.json_files import write_atomic  # loads NumPy, as `make` has

  files = {str(module.__file__) for module in list(sys.modules.values()) if _has_file(module)}
  with contextlib.suppress(OSError, pickle.PicklingError):
    data = pickle.dumps(({file: _stamp(file) for file in files}, known))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, [hashlib.sha256(data).digest(), data])


def _has_file(module: object) -> bool:
  return isinstance(getattr(module, "__file__", None), str)


def _stamp(file: str) -> tuple[int, int]:
  status = os.stat(file)
  return status.st_mtime_ns, status.st_size
