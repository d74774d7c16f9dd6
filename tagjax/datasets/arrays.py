"""The cache of decoded splits: `.npy` files, written once, memory-mapped ever after.

Reading CIFAR-10 through its files takes 8 s, from here a few milliseconds.
"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from tagjax.datasets import folders, types

PARTIAL, SUMS = "image.partial", "image.sums"
"""What `kept_images` writes until all images of a split are there."""


def read(
  folder: pathlib.Path, num_examples: int, image_shape: tuple[int, ...], num_classes: int
) -> types.Examples | None:
  """The cached split in `folder`, or None where there is none that is whole.

  A file that is cut off, too long, of another shape or dtype, or holds labels that are no class
  counts as absent, so that it is written again.
  """
  label = read_labels(folder, num_examples, num_classes)
  image = read_images(folder, num_examples, image_shape)
  return None if label is None or image is None else types.Examples(image, label)


def read_images(
  folder: pathlib.Path, num_examples: int, image_shape: tuple[int, ...]
) -> np.memmap | None:
  """The images of `read` alone."""
  try:
    return _open(folder / "image.npy", (num_examples, *image_shape), np.uint8)
  except (OSError, ValueError, EOFError):
    return None


def read_labels(folder: pathlib.Path, num_examples: int, num_classes: int) -> np.ndarray | None:
  """The labels of `read` alone; a set that is larger than memory keeps nothing else there."""
  try:
    label = _open(folder / "label.npy", (num_examples,), np.int32)
  except (OSError, ValueError, EOFError):
    return None
  is_right = not num_examples or 0 <= label.min() <= label.max() < num_classes
  return label if is_right else None


def _open(path: pathlib.Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
  array = np.load(path, mmap_mode="r", allow_pickle=False)
  whole = array.shape == shape and array.dtype == dtype and array.flags.c_contiguous
  if not whole or path.stat().st_size != array.offset + array.nbytes:
    raise ValueError(f"{path} is damaged")
  return array


def write(
  folder: pathlib.Path,
  num_examples: int,
  image_shape: tuple[int, ...],
  examples: Iterable[tuple[np.ndarray, int]],
) -> None:
  """Writes a split to `folder`; whoever else writes the same split at once does no harm.

  Each file is written under another name and then renamed, so nobody reads half of one.

  Args:
    folder: made if absent.
    num_examples: the number of examples that `examples` yields.
    image_shape: shape of one image.
    examples: pairs of image and label.

  Raises:
    DatasetUnavailableError: if the cache cannot be written.
  """
  with _staged(folder) as staged:
    image = np.lib.format.open_memmap(
      staged / "image.npy", mode="w+", dtype=np.uint8, shape=(num_examples, *image_shape)
    )
    label = np.zeros(num_examples, np.int32)
    for index, (one_image, one_label) in enumerate(examples):
      image[index], label[index] = one_image, one_label
    image.flush()
    del image  # closes the file, without which it cannot be renamed everywhere
    np.save(staged / "label.npy", label)
  for name in (PARTIAL, SUMS):  # nobody needs them now
    with contextlib.suppress(OSError):
      (folder / name).unlink()


def write_labels(folder: pathlib.Path, num_examples: int, labels: Iterable[int]) -> None:
  """Writes the labels of a split to `folder`, as `write` does."""
  with _staged(folder) as staged:
    np.save(staged / "label.npy", np.fromiter(labels, np.int32, num_examples))


@contextlib.contextmanager
def _staged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary folder, whose files are moved to `folder` at the end."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    folders.remove_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder) as temporary:
      staged = pathlib.Path(temporary)
      yield staged
      for path in sorted(staged.iterdir(), reverse=True):  # the labels first
        os.replace(path, folder / path.name)
  except types.DatasetUnavailableError:
    raise  # about the data set being read, not about the cache
  except OSError as error:
    raise unwritable(folder, error) from error


def unwritable(folder: pathlib.Path, reason: object) -> types.DatasetUnavailableError:
  """The error for a cache folder that cannot be written."""
  return types.DatasetUnavailableError(
    f"cannot write the cache folder {folder} ({reason}): set TAGJAX_CACHE_DIR to a folder that "
    "you may write to and that has room"
  )
