"""What a run says may be lost; the run goes on."""

import os
from typing import Any, TextIO


class Forgiving:
  """A text stream that drops what cannot be written, as when nobody reads it or the disk is full.

  After the first failure its descriptor leads to nowhere, so that what C libraries write, and what
  is flushed at the end of the process, is dropped as well.

  Args:
    stream: `sys.stdout` or `sys.stderr`.
  """

  def __init__(self, stream: TextIO):
    self._stream = stream

  def write(self, text: str) -> int:
    """As of any stream; never fails for lack of a reader or of room."""
    try:
      return self._stream.write(text)
    except OSError:
      self._close()
      return len(text)

  def flush(self) -> None:
    """As of any stream; never fails for lack of a reader or of room."""
    try:
      self._stream.flush()
    except OSError:
      self._close()

  def _close(self) -> None:
    try:
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self._stream.fileno())
      os.close(nowhere)
    except (OSError, ValueError):  # a stream of a notebook has no descriptor
      pass

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)
