import gzip

import numpy as np
import pytest

from tagjax.datasets import readers


def test_reads_an_idx_file_written_by_hand(tmp_path):
  content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
  path = tmp_path / "array.gz"
  path.write_bytes(gzip.compress(content))
  np.testing.assert_array_equal(readers.read_idx(path), [[1, 2, 3], [4, 5, 255]])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "not an IDX file"),
    (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "not an IDX file"),
    (bytes([0, 0, 8, 2, 0, 0]), "within its header"),
    (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]), r"shape \(3,\) but holds 2 bytes"),
  ],
)
def test_refuses_what_is_no_idx_file(tmp_path, content, message):
  path = tmp_path / "array.gz"
  path.write_bytes(gzip.compress(content))
  with pytest.raises(ValueError, match=message):
    readers.read_idx(path)


def test_refuses_images_and_labels_of_different_numbers(tmp_path, idx_files):
  files = idx_files(
    (np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8)),
    (np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.uint8)),
  )
  for name, content in files.items():
    (tmp_path / name).write_bytes(content)
  images, labels = (tmp_path / name for name in readers.IDX_FILES["train"])
  with pytest.raises(ValueError, match="do not belong together"):
    list(readers.read_idx_pair(images, labels))


def test_reads_cifar_records_channel_first(tmp_path, tar_gz):
  red = bytes([7]) * 1024 + bytes(2048)  # the red plane comes first
  first_pixel_green = bytes(1024) + bytes([9]) + bytes(2047)
  path = tmp_path / "cifar.tar.gz"
  path.write_bytes(tar_gz({"a.bin": b"\x03\x05" + red, "b.bin": b"\x01\x02" + first_pixel_green}))
  first, second = readers.read_cifar(path, ["a.bin", "b.bin"], num_labels=2)
  assert first.labels == (3, 5)
  assert second.labels == (1, 2)
  assert first.image.shape == readers.CIFAR_SHAPE
  assert (first.image == [7, 0, 0]).all()
  assert second.image[0, 0].tolist() == [0, 9, 0]
  assert second.image.sum() == 9


def test_refuses_an_archive_of_another_layout(tmp_path, tar_gz):
  path = tmp_path / "cifar.tar.gz"
  path.write_bytes(tar_gz({"a.bin": bytes(3072)}))
  with pytest.raises(ValueError, match="no multiple of 3073"):
    list(readers.read_cifar(path, ["a.bin"], num_labels=1))
  with pytest.raises(ValueError, match=r"has no file b\.bin"):
    list(readers.read_cifar(path, ["b.bin"], num_labels=1))


def test_reads_lines_without_the_empty_ones(tmp_path, tar_gz):
  path = tmp_path / "cifar.tar.gz"
  path.write_bytes(tar_gz({"names.txt": b"cat\nsea horse\n\n"}))
  assert readers.read_lines(path, "names.txt") == ["cat", "sea horse"]
