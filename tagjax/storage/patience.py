"""A line where the storage does not answer: a hung network disk looks like a hung run otherwise."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

SECONDS = 60.0


@contextlib.contextmanager
def tell_if_slow(path: str | os.PathLike, seconds: float = SECONDS) -> Iterator[None]:
  """Says so, once, if the block takes longer.

  Args:
    path: what is read or written.
    seconds: how long it may take.
  """
  timer = threading.Timer(seconds, _tell, (path, seconds))
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _tell(path: str | os.PathLike, seconds: float) -> None:
  with contextlib.suppress(OSError, ValueError):
    print(
      f"warning: {path} has not answered for {seconds:.0f} s: waiting for the disk. Ctrl-C twice "
      "ends the run, and the last finished checkpoint stays",
      file=sys.stderr,
      flush=True,
    )
