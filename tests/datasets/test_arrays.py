import numpy as np
import pytest

from tagjax import datasets
from tagjax.datasets import arrays

SHAPE = (4, 4, 1)


@pytest.fixture
def folder(tmp_path):
  """A cached split of six examples."""
  folder = tmp_path / "split"
  arrays.write(folder, 6, SHAPE, _examples(6))
  return folder


def _examples(count):
  return ((np.full(SHAPE, number, np.uint8), number % 3) for number in range(count))


def test_what_is_written_is_read_back_memory_mapped(folder):
  cached = arrays.read(folder, 6, SHAPE, num_classes=3)
  assert isinstance(cached.image, np.memmap)
  np.testing.assert_array_equal(cached.image[:, 0, 0, 0], np.arange(6))
  np.testing.assert_array_equal(cached.label, [0, 1, 2, 0, 1, 2])
  assert sorted(path.name for path in folder.iterdir()) == ["image.npy", "label.npy"]


def test_absent_is_not_an_error(tmp_path):
  assert arrays.read(tmp_path / "none", 6, SHAPE, 3) is None


@pytest.mark.parametrize("name", ["image.npy", "label.npy"])
@pytest.mark.parametrize(
  "damage",
  [
    lambda content: b"",
    lambda content: content[:50],
    lambda content: content[:-1],
    lambda content: content + b"\0",
    lambda content: bytes(len(content)),
    lambda content: content.replace(b"(6,", b"(5,"),
  ],
  ids=["empty", "cut in the header", "cut", "too long", "zeros", "other shape"],
)
def test_damaged_files_count_as_absent(folder, name, damage):
  content = (folder / name).read_bytes()
  assert damage(content) != content
  (folder / name).write_bytes(damage(content))
  assert arrays.read(folder, 6, SHAPE, 3) is None


def test_other_dtypes_and_labels_that_are_no_class_count_as_absent(folder):
  np.save(folder / "label.npy", np.array([0, 1, 2, 0, 1, 3], np.int32))
  assert arrays.read(folder, 6, SHAPE, 3) is None
  assert arrays.read(folder, 6, SHAPE, 4) is not None
  np.save(folder / "label.npy", np.array([0, 1, 2, 0, 1, 2], np.int64))
  assert arrays.read(folder, 6, SHAPE, 3) is None


def test_a_failure_while_writing_leaves_nothing(tmp_path):
  def broken():
    yield from _examples(3)
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    arrays.write(tmp_path / "split", 6, SHAPE, broken())
  assert list((tmp_path / "split").iterdir()) == []


def test_unwritable_cache_names_the_variable(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(datasets.DatasetUnavailableError, match="TAGJAX_CACHE_DIR"):
    arrays.write(tmp_path / "file" / "split", 6, SHAPE, _examples(6))
