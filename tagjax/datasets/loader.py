"""`load`: from a name to arrays, by the shortest way that there is."""

import json
from typing import Literal, get_args

import numpy as np

from tagjax.datasets import arrays, catalog, folders, types
from tagjax.datasets import prepared as prepared_lib

_CACHE_LAYOUT = "1"  # part of the key: raise it when the cached arrays change

Input = Literal["auto", "memory", "stream"]
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
    input: `"memory"`: images are arrays, decoded once into the cache. `"stream"`: they are
      `decode.Records`, read from the prepared files and decoded whenever asked for. `"auto"`: the
      latter for sets of more than `LARGE_BYTES`.

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
  streamed = _is_streamed(entry, prepared, input)
  return types.Dataset(
    name=name,
    version=prepared.version,
    train=_split(name, prepared, "train", streamed),
    test=_split(name, prepared, "test", streamed),
    num_classes=entry.num_classes,
    max_value=entry.max_value,
    class_names=_class_names(prepared),
    attributes=_attributes(prepared) if entry.num_attributes else None,
  )


def _is_streamed(entry: catalog.Entry, prepared: prepared_lib.Prepared, input: str) -> bool:
  if input not in INPUTS:
    raise ValueError(f"input={input!r} is unknown. There are: {', '.join(INPUTS)}")
  size = sum(prepared.num_examples.values()) * int(np.prod(entry.image_shape))
  return input == "stream" or (input == "auto" and size > LARGE_BYTES)


def _split(
  name: str, prepared: prepared_lib.Prepared, split: str, streamed: bool
) -> types.Examples:
  entry, num_examples = catalog.entry(name), prepared.num_examples[split]
  key = f"{split}-{_CACHE_LAYOUT}-{prepared.digest}"
  folder = folders.cache_dir() / "arrays" / name / prepared.version / key

  def cached():
    if streamed:
      return arrays.read_labels(folder, num_examples, entry.num_classes)
    return arrays.read(folder, num_examples, entry.image_shape, entry.num_classes)

  found = cached()
  if found is not None and not streamed:
    return found
  from tagjax.datasets import decode  # imports TFDS

  records = decode.Records(prepared, split, entry.image_shape, entry.resize)
  if found is None:
    if streamed:
      arrays.write_labels(folder, num_examples, records.labels())
    else:
      arrays.write(folder, num_examples, entry.image_shape, records.examples())
    found = cached()
    if found is None:
      raise prepared_lib.damaged(prepared.folder, f"labels are not 0 to {entry.num_classes - 1}")
  return types.Examples(records, found) if streamed else found


def _class_names(prepared: prepared_lib.Prepared) -> tuple[str, ...]:
  """What TFDS has noted down; nothing, where the builder knew no names."""
  path = prepared.folder / "label.labels.txt"
  return tuple(path.read_text().splitlines()) if path.is_file() else ()


def _attributes(prepared: prepared_lib.Prepared) -> np.ndarray:
  """float32 `[num_classes, num_attributes]`, from the metadata that the builder has left."""
  try:
    metadata = json.loads((prepared.folder / "metadata.json").read_text())
    return np.asarray(metadata["attributes"], np.float32)
  except (OSError, ValueError, KeyError) as error:
    raise prepared_lib.damaged(prepared.folder, f"attributes: {error}") from error
