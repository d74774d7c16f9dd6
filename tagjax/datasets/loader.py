"""`load`: from a name to arrays, by the shortest way that there is."""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from tagjax.core import untrusted
from tagjax.datasets import arrays, catalog, folders, kept_images, types
from tagjax.datasets import prepared as prepared_lib

_SPLITS = ("train", "test")
_CACHE_LAYOUT = "1"  # part of the key: raise it when the cached arrays change

Input = Literal["auto", "memory", "stream", "files"]
"""Where images are read from, see `load`."""

INPUTS: tuple[Input, ...] = get_args(Input)

LARGE_BYTES = 2 * 2**30
"""Sets of more decoded bytes than this are not decoded at once, unless that is asked for."""


def load(
  name: str, data_dir: folders.PathLike | None = None, *, input: Input = "auto"
) -> types.Dataset:
  """Loads a data set: uint8 images and int32 labels of its training and its test examples.

  What was loaded before is memory-mapped from the cache. Otherwise a prepared array_record set in
  `data_dir` is decoded into the cache, and where there is none it is prepared first, from archives
  in `<data_dir>/downloads/manual/<name>` or from the net. A read-only `data_dir` is left alone.

  Args:
    name: one of `names()`.
    data_dir: folder of prepared TFDS data sets; None means `$TFDS_DATA_DIR`, else
      `~/tensorflow_datasets`. The cache is in `$TAGJAX_CACHE_DIR`, else in `~/.cache/tagjax`.
    input: `"memory"`: images are arrays, decoded once into the cache. `"stream"`: they are lazy,
      read and decoded when asked for, and from then on read from the cache, if the disk has room
      (`kept_images.may_keep`). `"files"`: the same, and nothing is kept. `"auto"`: `"stream"` for
      sets of more than `LARGE_BYTES`, else `"memory"`.

  Returns:
    The data set.

  Raises:
    ValueError: if there is no data set of that name.
    DatasetUnavailableError: if it is not here and cannot be made here; says what to do.

  >>> digits = load("digits")
  >>> digits.train.image.shape, digits.test.image.shape, digits.max_value
  ((1437, 8, 8, 1), (360, 8, 8, 1), 16)
  """
  entry = catalog.entry(name)
  prepared = prepared_lib.find(name, data_dir)
  if prepared is None:
    from tagjax.datasets import prepare  # imports TFDS

    prepare.prepare(name, data_dir)
    prepared = prepared_lib.find(name, data_dir)
    if prepared is None:  # a folder without its JSON files, which TFDS takes for a prepared set
      folder = prepared_lib.roots(name, data_dir)[0] / name / entry.version
      raise prepared_lib.damaged(folder, "dataset_info.json or features.json is missing")
  prepared_lib.check_sizes(name, prepared)
  load_split = _reader(name, prepared, input)
  return types.Dataset(
    name=name,
    version=prepared.version,
    train=load_split("train"),
    test=load_split("test"),
    num_classes=entry.num_classes,
    max_value=entry.max_value,
    class_names=prepared_lib.class_names(prepared),
    attributes=_attributes(name, prepared) if entry.num_attributes else None,
    digest=prepared_lib.content_digest(prepared.folder),
  )


def is_streamed(input: str, num_bytes: int) -> bool:
  """Whether images are lazy.

  Args:
    input: see `load`.
    num_bytes: of all images, decoded.

  Raises:
    ValueError: if there is no such input.
  """
  if input not in INPUTS:
    raise ValueError(f"input={input!r} is unknown. There are: {', '.join(INPUTS)}")
  return input in ("stream", "files") or (input == "auto" and num_bytes > LARGE_BYTES)


def _reader(name: str, prepared: prepared_lib.Prepared, input: str) -> Callable:
  """What gives the examples of a split."""
  shapes = {_folder(name, prepared, split): _shape(name, prepared, split) for split in _SPLITS}
  if not is_streamed(input, sum(map(math.prod, shapes.values()))):
    return functools.partial(_load_split, name, prepared)
  keep = input != "files" and kept_images.may_keep(name, shapes)
  return functools.partial(_stream_split, name, prepared, keep=keep)


def _load_split(name: str, prepared: prepared_lib.Prepared, split: str) -> types.Examples:
  num_classes = catalog.entry(name).num_classes
  folder, (count, *image_shape) = _folder(name, prepared, split), _shape(name, prepared, split)

  def cached():
    return arrays.read(folder, count, tuple(image_shape), num_classes)

  found = cached()
  if found is None:
    records = _open(name, prepared, split)
    arrays.write(folder, count, tuple(image_shape), records.examples())
    found = cached()
  if found is None:
    raise _wrong_labels(name, prepared)
  return found


def _stream_split(
  name: str, prepared: prepared_lib.Prepared, split: str, *, keep: bool
) -> types.Examples:
  num_classes = catalog.entry(name).num_classes
  folder, shape = _folder(name, prepared, split), _shape(name, prepared, split)
  records = functools.cache(functools.partial(_open, name, prepared, split))
  label = arrays.read_labels(folder, shape[0], num_classes)
  if label is None:
    arrays.write_labels(folder, shape[0], records().labels())
    label = arrays.read_labels(folder, shape[0], num_classes)
  if label is None:
    raise _wrong_labels(name, prepared)
  if not (keep and kept_images.is_whole(folder, shape)):
    records()  # what is wrong with the files is told now
  return types.Examples(
    kept_images.KeptImages(shape, records, folder) if keep else records(), label
  )


def _folder(name: str, prepared: prepared_lib.Prepared, split: str) -> pathlib.Path:
  key = f"{split}-{_CACHE_LAYOUT}-{prepared.digest}"
  return folders.cache_dir() / "arrays" / name / prepared.version / key


def _shape(name: str, prepared: prepared_lib.Prepared, split: str) -> tuple[int, ...]:
  return (prepared.num_examples[split], *catalog.entry(name).image_shape)


def _open(name: str, prepared: prepared_lib.Prepared, split: str):
  from tagjax.datasets import decode  # imports TFDS

  entry = catalog.entry(name)
  return decode.Records(prepared, split, entry.image_shape, entry.resize)


def _wrong_labels(name: str, prepared: prepared_lib.Prepared) -> types.DatasetUnavailableError:
  reason = f"labels are not 0 to {catalog.entry(name).num_classes - 1}"
  return prepared_lib.damaged(prepared.folder, reason)


def _attributes(name: str, prepared: prepared_lib.Prepared) -> np.ndarray:
  """float32 `[num_classes, num_attributes]`, from the metadata that the builder has left."""
  entry = catalog.entry(name)
  expected = (entry.num_classes, entry.num_attributes)
  try:
    metadata = untrusted.read_json(prepared.folder / "metadata.json")
    found = np.asarray(metadata["attributes"], np.float32)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise prepared_lib.damaged(prepared.folder, f"attributes: {error}") from error
  if found.shape != expected or not np.isfinite(found).all():
    reason = f"attributes are {found.shape}, not {expected} and finite"
    raise prepared_lib.damaged(prepared.folder, reason)
  return found
