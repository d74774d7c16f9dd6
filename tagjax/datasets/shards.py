"""Records of array_record files by their number."""

import threading
from collections.abc import Iterable

import numpy as np
from array_record.python import array_record_module

# Whole buffers read in advance would be of no use: records are read in random order.
_OPTIONS, _BUFFER_BYTES = "readahead_buffer_size:0", 32768


class Shards:
  """The records of some files, one file after another. Threads may share it.

  `array_record.ArrayRecordDataSource` starts threads of its own for every call, one a file, which
  takes longer than reading a batch does. Here a call reads the records of each file at once, in
  C++, without the interpreter's lock.
  """

  def __init__(self, files: Iterable[tuple[str, int]]):
    """Nothing is opened yet.

    Args:
      files: path of each, and how many records it holds.
    """
    self._paths, sizes = zip(*files, strict=True)
    self._ends = np.cumsum(sizes)
    self._readers: list[array_record_module.ArrayRecordReader | None] = [None] * len(self._paths)
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return int(self._ends[-1])

  def read(self, rows: np.ndarray) -> list[bytes]:
    """The records of the given rows, in their order.

    Args:
      rows: int `[n]`, from 0 on.

    Raises:
      IndexError: if there is no such row.
      Exception: whatever array_record raises where a file is damaged.
    """
    rows = np.asarray(rows)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
      raise IndexError(f"there are {len(self)} records, and row {rows.max()} is asked for")
    # Files and places in them in ascending order, so that a disk need not go back and forth.
    order = np.argsort(rows, kind="stable")
    of_file = np.searchsorted(self._ends, rows[order], side="right")
    records: list[bytes] = [b""] * len(rows)
    for number in np.unique(of_file).tolist():
      places = order[of_file == number]
      start = self._ends[number - 1] if number else 0
      found = self._reader(number).read((rows[places] - start).tolist())
      for place, record in zip(places.tolist(), found, strict=True):
        records[place] = record
    return records

  def _reader(self, number: int) -> array_record_module.ArrayRecordReader:
    with self._lock:
      if self._readers[number] is None:
        self._readers[number] = array_record_module.ArrayRecordReader(
          self._paths[number], options=_OPTIONS, file_reader_buffer_size=_BUFFER_BYTES
        )
      return self._readers[number]
