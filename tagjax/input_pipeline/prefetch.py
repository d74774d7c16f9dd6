"""Batches of a task that is larger than memory, read by threads while the device computes.

Grain reads ahead of what is asked for, always in the given order: which batches come does not
depend on the threads, nor on where the reading began.
"""

from typing import NamedTuple

import numpy as np

from tagjax.input_pipeline.device_examples import DeviceExamples, to_device

MOST_THREADS = 8
"""Threads that read and decode; more than the cores of a laptop, since some wait for the disk."""


class Feed:
  """The batches of one epoch, from some batch on.

  Attributes:
    position: the batch that comes next.
  """

  def __init__(self, examples, order: np.ndarray, start: int = 0, *, ahead: int = 1):
    """Begins to read.

    Args:
      examples: of a `benchmarks.Experience`.
      order: int `[N, B]`, the rows of each batch; those beyond the number of examples are padding,
        which stands at the end of the order.
      start: the first batch that is read.
      ahead: batches that are read before they are asked for.
    """
    import grain  # a quarter of a second, which examples in memory have no use for

    self.position = start
    dataset = grain.MapDataset.source(_Batches(examples, order)).slice(slice(start, None))
    options = grain.ReadOptions(num_threads=min(MOST_THREADS, ahead), prefetch_buffer_size=ahead)
    self._batches = iter(dataset.to_iter_dataset(options))

  def window(self, stop: int, capacity: int) -> DeviceExamples:
    """The examples of the batches from `position` to `stop` (exclusive), on the device.

    Args:
      stop: at least `position + 1`.
      capacity: rows of the result; those that the batches leave over are padding.
    """
    batches = [next(self._batches) for _ in range(self.position, stop)]
    self.position = stop
    return to_device(_Rows(*map(np.concatenate, zip(*batches, strict=True))), capacity)


class _Rows(NamedTuple):
  image: np.ndarray
  label: np.ndarray
  task_id: np.ndarray


class _Batches:
  """Batches by their number, as Grain asks for them; without padding."""

  def __init__(self, examples, order: np.ndarray):
    self._examples, self._order = examples, order

  def __len__(self) -> int:
    return len(self._order)

  def __getitem__(self, number: int) -> _Rows:
    rows = self._order[number]
    rows = rows[rows < len(self._examples)]
    return _Rows(*(getattr(self._examples, name)[rows] for name in _Rows._fields))
