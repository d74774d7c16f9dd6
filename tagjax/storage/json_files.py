"""JSON files that are never half written."""

import contextlib
import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tagjax.core import untrusted
from tagjax.core.errors import TagjaxError


class ResultsError(TagjaxError, ValueError):
  """A file of a run is missing or cannot be read; the message names it and the way out."""


def as_json(value: Any, where: str = "") -> Any:
  """`value` as plain JSON: NumPy becomes numbers and lists, NaN becomes None.

  Raises:
    ValueError: for an infinity or a type that JSON does not have, naming its place.

  >>> as_json({"loss": np.float32(0.5), "row": np.array([1.0, np.nan]), "pair": (1, None)})
  {'loss': 0.5, 'row': [1.0, None], 'pair': [1, None]}
  """
  if hasattr(value, "__array__"):  # NumPy's and JAX's arrays and scalars
    value = np.asarray(value).tolist()
  if isinstance(value, dict):
    return {str(key): as_json(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [as_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
  if isinstance(value, float) and math.isnan(value):
    return None
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, float) and math.isfinite(value):
    return value
  raise ValueError(f"{where or 'the value'} is {value!r}, which JSON cannot hold")


def write_json_atomic(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` (see `as_json`) so that `path` holds the old file or the new one, never half.

  Raises:
    ValueError: if `value` cannot be JSON.
    OSError: if the file cannot be written.
  """
  text = _collapse(json.dumps(as_json(value), indent=2, allow_nan=False, ensure_ascii=False)) + "\n"
  write_atomic(path, [text.encode()])


def write_atomic(path: str | os.PathLike, blocks: Iterable[bytes]) -> None:
  """Writes `blocks` one after another so that `path` holds the old file or the new one, never half.

  Raises:
    OSError: if the file cannot be written.
  """
  path = Path(path)
  # In the same folder: a rename is atomic only within a file system.
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
  try:
    with open(handle, "wb") as file:
      for block in blocks:
        file.write(block)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's file is for its owner only
    os.replace(temporary, path)
    sync_path(path.parent)  # or a loss of power could take the new name back
  except BaseException:
    with contextlib.suppress(OSError):
      os.unlink(temporary)
    raise


def sync_path(path: str | os.PathLike) -> None:
  """Makes sure that what a file or folder holds is on the disk.

  Raises:
    OSError: if it cannot be.
  """
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno != errno.EINVAL:  # a file system without it for folders
      raise
  finally:
    os.close(descriptor)


def read_json(path: str | os.PathLike) -> Any:
  """Reads a JSON file.

  Raises:
    ResultsError: if it is missing, no regular file, no JSON, or would fill memory.
  """
  try:
    return untrusted.read_json(path)
  except FileNotFoundError as error:
    raise ResultsError(
      f"there is no {path}: has the run ended, and is the folder right?"
    ) from error
  except OSError as error:
    raise ResultsError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:
    raise ResultsError(
      f"{path} is no JSON ({error}): move it away and run again, or restore a copy"
    ) from error


def _collapse(text: str) -> str:
  """Puts lists of plain values on one line each, so that a matrix looks like one."""
  # JSON escapes the newlines within strings: a bracket before a newline is always a list's.
  innermost = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")
  return innermost.sub(lambda found: "[" + re.sub(r",\n\s*", ", ", found[1]) + "]", text)


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask
