"""Results come in order, a few ahead, and no more are worked out when nobody asks."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tagjax.datasets.read_ahead import ReadAhead, num_threads


class Work:
  """Squares, of which the earlier ones take longer."""

  def __init__(self):
    self.begun = []

  def __call__(self, number):
    self.begun.append(number)
    time.sleep(0.02 / (1 + number))
    if number == 13:
      raise ValueError("unlucky")
    return number**2


def settled(work):
  """How many were begun, when no more are."""
  count = -1
  while count != (count := len(work.begun)):
    time.sleep(0.05)
  return count


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_results_are_in_the_order_of_their_arguments(ahead):
  assert list(ReadAhead(Work(), range(9), ahead=ahead)) == [number**2 for number in range(9)]
  assert list(ReadAhead(Work(), [], ahead=ahead)) == []


def test_works_ahead_and_not_on_everything():
  work = Work()
  results = ReadAhead(work, iter(range(10)), ahead=3)
  assert settled(work) == 3
  assert next(results) == 0
  assert settled(work) == 4


def test_an_error_is_raised_in_its_place():
  results = ReadAhead(Work(), [1, 13, 2], ahead=3)
  assert next(results) == 1
  with pytest.raises(ValueError, match="unlucky"):
    next(results)
  assert next(results) == 4


def test_what_nobody_asks_for_is_left():
  work = Work()
  results = ReadAhead(work, [1] * 1000, ahead=500)
  next(results)
  del results
  gc.collect()
  assert settled(work) < 500


def test_threads_are_shared():
  for _ in range(3):
    assert list(ReadAhead(abs, [-1, -2], ahead=2)) == [1, 2]
  ours = [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
  assert len(ours) <= num_threads()


_FORKS = """
import os, time
from tagjax.datasets.read_ahead import ReadAhead
def works():
  return len(list(ReadAhead(time.sleep, [0.01] * 9, ahead=9))) == 9
assert works()
time.sleep(0.1)  # all threads are idle
pid = os.fork()
if not pid:
  os._exit(0 if works() else 1)
assert os.waitpid(pid, 0) == (pid, 0)
"""


def test_a_forked_process_has_threads_of_its_own():
  command = [sys.executable, "-W", "ignore", "-c", _FORKS]
  process = subprocess.Popen(command, start_new_session=True)
  try:
    assert process.wait(timeout=30) == 0
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
