"""Data sets of the user's own: a folder for each class, with an image file for each example."""

import hashlib
import itertools
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from tagjax.core import paths
from tagjax.datasets import arrays, folders, kept_images, loader, read_ahead, types

Resize = Literal["stretch", "crop"]
RESIZES: tuple[Resize, ...] = get_args(Resize)
"""How images of other shapes are brought to one: see `tagjax.datasets.decode.resize`."""

SUFFIXES = frozenset(
  {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
"""Files that are read as images, in capital letters too; what else lies there is passed over."""

_CACHE_LAYOUT = "1"  # part of the key: raise it when the cached arrays change


class ImageFiles:
  """The images of some files, decoded when asked for: `images[rows]`, uint8 `[n, H, W, C]`.

  Reads like an array of images and may be larger than memory. Threads may share it.

  Attributes:
    shape: `[N, H, W, C]`.
    dtype: uint8.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, files: list[pathlib.Path], image_shape: tuple[int, int, int], resize: str):
    """See `load_folder`; nothing is opened yet."""
    self.shape = (len(files), *image_shape)
    self._files, self._resize = files, resize

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    """The images of the given rows, in their order.

    Raises:
      DatasetUnavailableError: if a file cannot be read.
    """
    rows = np.asarray(rows)
    images = np.empty((len(rows), *self.shape[1:]), self.dtype)
    for place, row in enumerate(rows):
      images[place] = _decode(self._files[row], self.shape[1:], self._resize)
    return images


class _Split(NamedTuple):
  """The files of one split, in the order of their labels and names."""

  files: list[pathlib.Path]
  labels: list[int]


def load_folder(
  path: folders.PathLike,
  image_shape: tuple[int, int, int],
  *,
  resize: Resize = "stretch",
  test_fraction: float = 0.2,
  data_seed: int = 0,
  input: loader.Input = "auto",
) -> types.Dataset:
  """Loads the images of a folder, as uint8 arrays.

  The folder holds `train/CLASS/FILE` and `test/CLASS/FILE`; or `CLASS/FILE`, and then
  `test_fraction` of each class is drawn for the test, at least one image and never all. Classes are
  numbered in the order of their names. Hidden files, and files that are no images by their
  suffix, are passed over. Links are followed.

  Images are decoded once, into the cache of `tagjax.datasets.load`, and mapped from there as long
  as names, sizes and times of the files stay the same. Photographs are turned upright as their
  camera noted.

  Args:
    path: the folder; `~` is the home folder.
    image_shape: `(height, width, channels)` of the arrays; 1 channel is grey, 3 are colours.
    resize: `"stretch"` or `"crop"`, see `tagjax.datasets.decode.resize`.
    test_fraction: fraction of each class for the test, in (0, 1), where there is no folder `test`.
    data_seed: seed of that draw.
    input: `"memory"`: images are arrays, from the cache. `"stream"`: they are lazy, decoded when
      asked for and kept, `"files"`: lazy and not kept, see `tagjax.datasets.load`. `"auto"`:
      `"stream"` for folders of more than `loader.LARGE_BYTES`, else `"memory"`.

  Returns:
    The data set; its name is that of the folder, its version a digest of the files.

  Raises:
    ValueError: if an argument is wrong.
    DatasetUnavailableError: if there is no such folder, a class has no images or is in one of
      `train` and `test` only, or a file cannot be read; the text names it.
  """
  _check_arguments(image_shape, resize, test_fraction, input)
  root = paths.absolute(path)
  class_names, train, test = _list_splits(root, test_fraction, data_seed)
  all_files = train.files + test.files
  parts = [_as_part(root, split, image_shape, resize) for split in (train, test)]
  train_examples, test_examples = _load_parts(root.name, parts, input)
  return types.Dataset(
    name=root.name,
    version=_digest(root, all_files),
    train=train_examples,
    test=test_examples,
    num_classes=len(class_names),
    max_value=255,
    class_names=tuple(class_names),
    digest=_digest(root, all_files),
  )


def subfolders(path: pathlib.Path) -> list[pathlib.Path]:
  """The folders in a folder, by name, without hidden ones.

  Raises:
    DatasetUnavailableError: if the folder cannot be read.
  """
  return [entry for entry in _entries(path) if entry.is_dir()]


def _check_arguments(
  image_shape: tuple[int, int, int], resize: str, test_fraction: float, input: str
) -> None:
  if len(image_shape) != 3 or min(image_shape) < 1 or image_shape[2] not in (1, 3):
    raise ValueError(f"image_shape is {image_shape!r}, must be (height, width, 1 or 3)")
  for argument, value, options in (
    ("resize", resize, RESIZES),
    ("input", input, loader.INPUTS),
  ):
    if value not in options:
      raise ValueError(f"{argument}={value!r} is unknown. There are: {', '.join(options)}")
  if not 0 < test_fraction < 1:
    raise ValueError(f"test_fraction is {test_fraction!r}, must be a fraction in (0, 1)")


def _entries(path: pathlib.Path) -> list[pathlib.Path]:
  try:
    found = list(path.iterdir())
  except OSError as error:
    reason = error.strerror or error
    raise types.DatasetUnavailableError(f"cannot read the image folder {path}: {reason}") from error
  return sorted(entry for entry in found if not entry.name.startswith("."))


def _list_splits(
  root: pathlib.Path, test_fraction: float, data_seed: int
) -> tuple[list[str], _Split, _Split]:
  """The names of the classes, and the files of both splits."""
  parts = {folder.name: folder for folder in subfolders(root) if folder.name in ("train", "test")}
  if not parts:
    names, by_class = _list_classes(root)
    train, test = _draw_test(root, names, by_class, test_fraction, data_seed)
    return names, _as_split(train), _as_split(test)
  if len(parts) == 1:
    (there,) = parts
    missing = "test" if there == "train" else "train"
    raise types.DatasetUnavailableError(
      f"the image folder {root} has a folder {there!r} but no {missing!r}: add it, or put the "
      "classes right into the folder"
    )
  names, train = _list_classes(parts["train"])
  test_names, test = _list_classes(parts["test"])
  if one_sided := sorted(set(names) ^ set(test_names)):
    there, missing = ("train", "test") if one_sided[0] in names else ("test", "train")
    raise types.DatasetUnavailableError(
      f"the image folder {root}: class {one_sided[0]!r} is in {there!r} but not in {missing!r}, "
      "must be in both"
    )
  return names, _as_split(train), _as_split(test)


def _list_classes(folder: pathlib.Path) -> tuple[list[str], list[list[pathlib.Path]]]:
  """The names of the classes, and the image files of each."""
  classes = subfolders(folder)
  if not classes:
    raise types.DatasetUnavailableError(
      f"the image folder {folder} has no folders in it: it must hold one for each class"
    )
  return [path.name for path in classes], [_list_images(path) for path in classes]


def _list_images(folder: pathlib.Path) -> list[pathlib.Path]:
  entries = _entries(folder)
  images = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
  if images:
    return images
  others = sorted({path.suffix or path.name for path in entries})
  what = f"only {', '.join(others[:5])}" if others else "it is empty"
  raise types.DatasetUnavailableError(
    f"the class folder {folder} has no images ({what}): delete it, or add some of the kinds "
    f"{', '.join(sorted(SUFFIXES))}"
  )


def _draw_test(
  root: pathlib.Path,
  names: list[str],
  by_class: list[list[pathlib.Path]],
  fraction: float,
  data_seed: int,
) -> tuple[list[list[pathlib.Path]], list[list[pathlib.Path]]]:
  train, test = [], []
  for label, (name, files) in enumerate(zip(names, by_class, strict=True)):
    if len(files) < 2:
      raise types.DatasetUnavailableError(
        f"the class folder {root / name} has one image only: it takes one to train and one to test"
      )
    count = int(np.clip(np.floor(fraction * len(files) + 0.5), 1, len(files) - 1))
    chosen = set(np.random.default_rng([data_seed, label]).permutation(len(files))[:count].tolist())
    test.append([file for place, file in enumerate(files) if place in chosen])
    train.append([file for place, file in enumerate(files) if place not in chosen])
  return train, test


def _as_split(by_class: list[list[pathlib.Path]]) -> _Split:
  labels = [label for label, files in enumerate(by_class) for _ in files]
  return _Split([file for files in by_class for file in files], labels)


def _digest(root: pathlib.Path, files: list[pathlib.Path]) -> str:
  """Digest of the files' names below `root`, their sizes and times."""
  digest = hashlib.sha256(os.fsencode(root))
  for file in files:
    status = file.stat()
    name = os.fsencode(file.relative_to(root))
    digest.update(b"%s\0%d\0%d\0" % (name, status.st_size, status.st_mtime_ns))
  return digest.hexdigest()[:16]


class _Part(NamedTuple):
  """A split whose images can be read, and its folder in the cache."""

  images: ImageFiles
  labels: list[int]
  folder: pathlib.Path


def _as_part(
  root: pathlib.Path, split: _Split, image_shape: tuple[int, int, int], resize: str
) -> _Part:
  shape = "x".join(map(str, image_shape))
  key = f"{_CACHE_LAYOUT}-{shape}-{resize}-{_digest(root, split.files)}"
  folder = folders.cache_dir() / "arrays" / "image_folder" / key
  return _Part(ImageFiles(split.files, image_shape, resize), split.labels, folder)


def _load_parts(name: str, parts: list[_Part], input: str) -> list[types.Examples]:
  shapes = {part.folder: part.images.shape for part in parts}
  if not loader.is_streamed(input, sum(map(math.prod, shapes.values()))):
    return [_load_part(part) for part in parts]
  keep = input != "files" and kept_images.may_keep(name, shapes)
  return [_stream_part(part, keep) for part in parts]


def _stream_part(part: _Part, keep: bool) -> types.Examples:
  images: kept_images.LazyImages = part.images
  if keep:
    images = kept_images.KeptImages(images.shape, lambda: part.images, part.folder)
  return types.Examples(images, np.array(part.labels, np.int32))


def _load_part(part: _Part) -> types.Examples:
  images, labels, folder = part
  count, image_shape, num_classes = len(images), images.shape[1:], max(labels) + 1
  cached = arrays.read(folder, count, image_shape, num_classes)
  if cached is None:
    arrays.write(folder, count, image_shape, _examples(images, labels))
    cached = arrays.read(folder, count, image_shape, num_classes)
  if cached is None:
    raise arrays.unwritable(folder, "what was written there cannot be read back")
  return cached


def _examples(images: ImageFiles, labels: list[int]) -> Iterator[tuple[np.ndarray, int]]:
  """Image and label of every file, in order; threads decode ahead."""
  size = read_ahead.piece_size(math.prod(images.shape[1:]))
  rows = (np.arange(first, min(first + size, len(images))) for first in range(0, len(images), size))
  pieces = read_ahead.ReadAhead(images.__getitem__, rows, ahead=2 * read_ahead.num_threads())
  yield from zip(itertools.chain.from_iterable(pieces), labels, strict=True)


def _decode(file: pathlib.Path, image_shape: tuple[int, int, int], resize: str) -> np.ndarray:
  from PIL import ImageOps

  from tagjax.datasets import decode, picture_files  # imports TFDS

  height, width, channels = image_shape
  try:
    with picture_files.opened(file) as opened:
      image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
      if image.size != (width, height):
        image = decode.resize(image, (height, width), resize)
      return np.asarray(image).reshape(image_shape)
  except Exception as error:  # Pillow raises whatever its decoders do
    raise types.DatasetUnavailableError(
      f"the image {file} cannot be read ({error}): mend or delete it"
    ) from error
