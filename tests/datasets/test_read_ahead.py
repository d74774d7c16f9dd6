"""Results come in order, a few ahead, from threads that end when nobody asks any more."""

import gc
import threading
import time

import pytest

from tagjax.datasets.read_ahead import ReadAhead


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


def threads():
  return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def has_none_within_seconds():
  for _ in range(100):
    gc.collect()
    if not threads():
      return True
    time.sleep(0.02)
  return False


def test_what_nobody_asks_for_is_left_and_its_threads_end():
  assert has_none_within_seconds()
  work = Work()
  results = ReadAhead(work, range(1000), ahead=500)
  next(results)
  assert threads()
  del results
  assert has_none_within_seconds()
  assert len(work.begun) < 500
