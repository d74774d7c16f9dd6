"""Batches of a task that is larger than memory, read by threads while the device computes.

What is asked for is read ahead, in pieces, always in the given order: which batches come does not
depend on the threads, nor on where the reading began.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from tagjax.datasets import read_ahead
from tagjax.input_pipeline.device_examples import DeviceExamples


class Feed:
  """The batches of one epoch, from some batch on.

  Attributes:
    position: the batch that comes next.
  """

  def __init__(
    self,
    examples,
    order: np.ndarray,
    start: int = 0,
    *,
    ahead: int = 1,
    index: np.ndarray | None = None,
  ):
    """Begins to read.

    Args:
      examples: of a `benchmarks.Experience`.
      order: int `[N, B]`, the rows of each batch; those beyond the number of examples are padding,
        which stands at the end of the order.
      start: the first batch that is read.
      ahead: batches that are read before they are asked for, rounded up to whole pieces.
      index: of each example, see `tagjax.core.types.Batch`; None: its row.
    """
    self.position = start
    self._batch_size = order.shape[1]
    self._shape, self._dtype = examples.image.shape[1:], np.dtype(examples.image.dtype)
    rows = order[order < len(examples)]
    self._num_rows = len(rows)
    self._index = (rows if index is None else index[rows]).astype(np.int32)
    size = read_ahead.piece_size(math.prod(self._shape) * self._dtype.itemsize)
    first = range(self._row(start), len(rows), size)
    self._pieces = read_ahead.ReadAhead(
      _Reader(examples),
      (rows[row : row + size] for row in first),
      ahead=-(-ahead * self._batch_size // size),
    )
    self._rest = _Rows((), (), ())  # of the last piece, for the next window

  def window(self, stop: int, capacity: int) -> DeviceExamples:
    """The examples of the batches from `position` to `stop` (exclusive), on the device.

    Args:
      stop: at least `position + 1`.
      capacity: rows of the result; those that the batches leave over are padding.
    """
    first, last = self._row(self.position), self._row(stop)
    size = last - first
    # Pieces are copied to their place, and the padding with them: the window is written once.
    image = np.zeros((capacity, *self._shape), self._dtype)
    label, task_id, index = np.zeros((3, capacity), np.int32)
    index[:size] = self._index[first:last]
    filled = 0
    while filled < size:
      part = self._next_rows(size - filled)
      place = slice(filled, filled + len(part.label))
      image[place], label[place], task_id[place] = part
      filled = place.stop
    self.position = stop
    return DeviceExamples(*map(jnp.asarray, (image, label, task_id, index, np.int32(size))))

  def _row(self, batch: int) -> int:
    """How many examples come before a batch."""
    return min(batch * self._batch_size, self._num_rows)

  def _next_rows(self, most: int) -> "_Rows":
    if not len(self._rest.label):
      self._rest = next(self._pieces)
    rows = self._rest
    self._rest = _Rows(*(part[most:] for part in rows))
    return _Rows(*(part[:most] for part in rows))


class _Rows(NamedTuple):
  image: np.ndarray | tuple
  label: np.ndarray | tuple
  task_id: np.ndarray | tuple


class _Reader:
  """Reads rows of the examples."""

  def __init__(self, examples):
    self._examples = examples

  def __call__(self, rows: np.ndarray) -> _Rows:
    return _Rows(*(getattr(self._examples, name)[rows] for name in _Rows._fields))
