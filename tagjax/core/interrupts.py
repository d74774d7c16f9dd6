"""Stopping politely: Ctrl-C, SIGTERM and a closed terminal ask a run to save and end.

It imports the standard library only: `launch.py` calls `watch` before it loads anything else.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

INTERRUPTED = 130
"""The exit status of a process that was asked to stop."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = "saving, then stopping (once more: stop at once)"


class StopRequest:
  """Whether the user or the scheduler has asked the run to stop.

  Attributes:
    requested: True from the first signal on.
  """

  def __init__(self):
    self.requested = False


_requests: list[StopRequest] = []
_is_watched = False


def watch() -> None:
  """From now on a signal ends the process with one line, or asks the run to stop if one goes on.

  A thread of its own answers: while JAX compiles, or the disk hangs, Python's own handlers wait.
  The process ends at once, without exceptions that some code between could swallow.
  """
  global _is_watched
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  for number in _numbers():
    signal.signal(number, _do_nothing)  # or the system's own would end the process
  os.register_at_fork(after_in_child=_forget)
  threading.Thread(target=_listen, args=(read,), name="signals", daemon=True).start()
  _is_watched = True


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Turns signals into a request while the block runs; a second one stops it at once.

  Where nobody has called `watch`, Python's handlers are used, which it calls in the main thread
  only; elsewhere nothing is installed.
  """
  request = StopRequest()
  _requests.append(request)
  try:
    if _is_watched or threading.current_thread() is not threading.main_thread():
      yield request
      return
    before = {number: signal.signal(number, _interrupt) for number in _numbers()}
    try:
      yield request
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)
  finally:
    _requests.remove(request)


def _numbers() -> list[signal.Signals]:
  """The signals that stop a run; a terminal that closes does not stop what ran under `nohup`."""
  found = [signal.Signals[name] for name in _NAMES if hasattr(signal, name)]
  ignored = signal.SIG_IGN
  return [one for one in found if one.name != "SIGHUP" or signal.getsignal(one) != ignored]


def _ask(number: int) -> bool:
  """Asks the run that goes on to stop; whether there is one that had not been asked."""
  if not _requests or _requests[-1].requested:
    return False
  _requests[-1].requested = True
  _say(f"{signal.Signals(number).name}: {_AGAIN}")
  return True


def _interrupt(number, frame):
  del frame
  if not _ask(number):
    raise KeyboardInterrupt


def _listen(read: int) -> None:
  while number := os.read(read, 1):
    name = signal.Signals(number[0]).name
    if name in _NAMES and not _ask(number[0]):
      _say(f"{name}: stopped; the same command goes on from the last checkpoint, if there is one")
      os._exit(INTERRUPTED)


def _say(text: str) -> None:
  with contextlib.suppress(OSError, ValueError):
    if sys.stderr.isatty():
      print("\x1b[?25h", end="", file=sys.stderr)  # the line of progress hides the cursor
    print(text, file=sys.stderr, flush=True)


def _do_nothing(number, frame):
  """The listener answers."""


def _forget() -> None:
  """A forked process is stopped as any other is."""
  signal.set_wakeup_fd(-1)
  for number in _numbers():
    if signal.getsignal(number) is _do_nothing:
      signal.signal(number, signal.SIG_DFL)
