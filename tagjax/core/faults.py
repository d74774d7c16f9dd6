"""One line for whatever ends a process: faults of the user, of the system, of the program."""

import contextlib
import errno
import os
import re
import tempfile
import traceback
from pathlib import Path

from tagjax.core.errors import TagjaxError, reason
from tagjax.core.untrusted import plain_lines, plain_text

_OF_XLA = ("JaxRuntimeError", "XlaRuntimeError")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRACEBACK = "traceback.txt"
_GOES_ON = "then the same command goes on from the last checkpoint"


def line_of(error: Exception, folder: str | os.PathLike | None = None) -> str:
  """What went wrong, and the way out.

  Args:
    error: what ends the process.
    folder: of the run; the traceback of a fault of the program goes there.

  Returns:
    One line; that of a `TagjaxError` as it is.

  >>> line_of(OSError(28, "No space left on device", "runs/a/metrics.jsonl"))[:46]
  'there is no room on the disk for runs/a/metric'
  """
  if isinstance(error, TagjaxError):
    return plain_lines(error)
  found = of_system(error, folder)
  return plain_text(found or f"{reason(error)}: {_kept(error, folder)}")


def of_system(error: BaseException, folder: str | os.PathLike | None = None) -> str:
  """The line for a fault of the system; empty if it is none."""
  if is_out_of_memory(error):
    return _no_memory(str(error))
  if not isinstance(error, OSError) or error.errno is None:
    return ""
  where = error.filename or (f"a file in {folder}" if folder is not None else "a file")
  if error.errno in _NO_ROOM:
    return f"there is no room on the disk for {where}: make room, {_GOES_ON}"
  return f"cannot read or write {where} ({error.strerror}): mend that, {_GOES_ON}"


def is_out_of_memory(error: BaseException) -> bool:
  """Whether memory was asked for that is not there, on the host or on a device."""
  if isinstance(error, MemoryError):
    return True
  is_of_xla = any(one.__name__ in _OF_XLA for one in type(error).__mro__)
  return is_of_xla and bool(re.search(r"RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error)))


def _no_memory(text: str) -> str:
  size = re.search(r"(\d+) ?bytes", text) or re.search(r"([\d.]+ ?[KMGTP]i?B)", text)
  asked = f" ({size[0]} were asked for)" if size else ""
  return (
    f"there is not enough memory{asked}: lower config.batch_size, or the batch or capacity of a "
    "memory (config.memory.batch_size, config.memory.capacity), train fewer seeds together "
    "(config.seeds_together=1), or set config.compute_dtype=bfloat16"
  )


def _kept(error: Exception, folder: str | os.PathLike | None) -> str:
  """Writes the traceback to a file, and says which."""
  text = "".join(traceback.format_exception(error))
  for place in ([Path(folder)] if folder is not None else []) + [None]:
    with contextlib.suppress(OSError):
      return (
        f"a fault of tagjax or of a part of your own; its traceback is in {_write(text, place)}"
      )
  return "a fault of tagjax or of a part of your own; no disk has room for its traceback"


def _write(text: str, folder: Path | None) -> Path:
  if folder is None:
    handle, name = tempfile.mkstemp(prefix="tagjax-", suffix=f"-{_TRACEBACK}")
    path = Path(name)
  else:
    path = folder / _TRACEBACK
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
  with open(handle, "w") as file:
    file.write(text)
  return path
