"""Results of a slow function in the order of its arguments, worked out ahead by threads.

Threads suffice: reading files, decoding JPEG and PNG, and copying rows release the interpreter's
lock. A thread gets a piece of many images at once, since one image is little more work than handing
it over.
"""

import collections
import functools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Generic, TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

PIECE_IMAGES, PIECE_BYTES = 64, 2 * 2**20
"""Most images of a piece, and most bytes of them (one image at least)."""

MOST_THREADS = 8
"""More than that hold the interpreter's lock by turns where images are small."""


def piece_size(image_bytes: int) -> int:
  """How many images a thread reads at once.

  Args:
    image_bytes: bytes of one of them.

  >>> piece_size(112 * 112 * 3), piece_size(8 * 8), piece_size(2**30)
  (55, 64, 1)
  """
  return min(PIECE_IMAGES, max(1, PIECE_BYTES // max(1, image_bytes)))


def num_threads() -> int:
  """As many as the process has cores: at least 2, since one waits for the disk; few at most."""
  has_affinity = hasattr(os, "sched_getaffinity")  # Linux has; a container may have few cores
  cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
  return min(max(2, cores), MOST_THREADS)


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
  """One pool for the whole process: new threads would get new memory from malloc each time."""
  return futures.ThreadPoolExecutor(num_threads(), "read-ahead")


if hasattr(os, "register_at_fork"):
  os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of the threads


class ReadAhead(Generic[Argument, Result], Iterator[Result]):
  """`map(function, arguments)`, some results ahead of what is asked for.

  The results come in the order of the arguments, however many threads there are. What the function
  raises is raised where its result is asked for. When nobody holds the iterator any more, what has
  not been begun is left.

  >>> list(ReadAhead(abs, [-3, 1, -2], ahead=2))
  [3, 1, 2]
  """

  def __init__(
    self, function: Callable[[Argument], Result], arguments: Iterable[Argument], *, ahead: int
  ):
    """Begins to work.

    Args:
      function: must not hold this iterator, or it is let go late; nor read ahead itself.
      arguments: one for each result.
      ahead: results that are worked out before they are asked for, at least 1.
    """
    self._function, self._arguments = function, iter(arguments)
    self._futures: collections.deque[futures.Future[Result]] = collections.deque()
    weakref.finalize(self, _cancel, self._futures)
    for _ in range(ahead):
      self._begin_next()

  def __next__(self) -> Result:
    if not self._futures:
      raise StopIteration
    first = self._futures.popleft()
    self._begin_next()
    return first.result()

  def _begin_next(self) -> None:
    for argument in self._arguments:
      self._futures.append(_threads().submit(self._function, argument))
      break


def _cancel(pending: Iterable[futures.Future]) -> None:
  for future in pending:
    future.cancel()
