"""Stopping politely: Ctrl-C and SIGTERM ask the loop to save and end."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


class StopRequest:
  """Whether the user or the scheduler has asked the run to stop.

  Attributes:
    requested: True from the first signal on.
  """

  def __init__(self):
    self.requested = False

  def _handle(self, number, frame):
    del frame
    if self.requested:  # asked twice: at once
      raise KeyboardInterrupt
    self.requested = True
    name = signal.Signals(number).name
    print(f"{name}: saving, then stopping (once more: stop at once)", file=sys.stderr)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Turns SIGINT and SIGTERM into a request while the block runs.

  Python delivers signals to the main thread only; elsewhere nothing is installed.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield request
    return
  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, request._handle) for number in numbers]
  try:
    yield request
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)
