"""Records of several files, in the order asked for."""

import numpy as np
import pytest
from array_record.python import array_record_module

from tagjax.datasets.shards import Shards

SIZES = (3, 1, 5)


@pytest.fixture
def files(tmp_path):
  """Files whose records are their numbers in the whole."""
  number, files = 0, []
  for place, size in enumerate(SIZES):
    path = str(tmp_path / f"{place}.array_record")
    writer = array_record_module.ArrayRecordWriter(path, "group_size:1")
    for _ in range(size):
      writer.write(b"%d" % number)
      number += 1
    writer.close()
    files.append((path, size))
  return files


@pytest.mark.parametrize("rows", [range(9), [8, 0, 3, 3, 2, 4], [5], []])
def test_records_come_as_they_are_asked_for(files, rows):
  shards = Shards(files)
  assert len(shards) == 9
  assert shards.read(np.array(rows, int)) == [b"%d" % row for row in rows]


@pytest.mark.parametrize("row", [-1, 9])
def test_rows_that_are_not_there(files, row):
  with pytest.raises(IndexError, match="9 records"):
    Shards(files).read(np.array([0, row]))


def test_a_file_with_fewer_records_is_an_error(files):
  path, size = files[-1]
  with pytest.raises(Exception, match=r"(?i)range|index|invalid"):
    Shards([*files[:-1], (path, size + 1)]).read(np.array([9]))
