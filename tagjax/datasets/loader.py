"""`load`: from a name to arrays, by the shortest way that there is."""

from tagjax.datasets import arrays, catalog, folders, types
from tagjax.datasets import prepared as prepared_lib

_CACHE_LAYOUT = "1"  # part of the key: raise it when the cached arrays change


def load(name: str, data_dir: folders.PathLike | None = None) -> types.Dataset:
  """Loads a data set: uint8 images and int32 labels of its training and its test examples.

  What was loaded before is memory-mapped from the cache. Otherwise a prepared array_record set in
  `data_dir` is decoded into the cache, and where there is none it is prepared first, from archives
  in `<data_dir>/downloads/manual/<name>` or from the net. A read-only `data_dir` is left alone.

  Args:
    name: one of `names()`.
    data_dir: folder of prepared TFDS data sets; None means `$TFDS_DATA_DIR`, else
      `~/tensorflow_datasets`. The cache is in `$TAGJAX_CACHE_DIR`, else in `~/.cache/tagjax`.

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
  return types.Dataset(
    name=name,
    version=prepared.version,
    train=_split(name, prepared, "train"),
    test=_split(name, prepared, "test"),
    num_classes=entry.num_classes,
    max_value=entry.max_value,
  )


def _split(name: str, prepared: prepared_lib.Prepared, split: str) -> types.Examples:
  entry = catalog.entry(name)
  key = f"{split}-{_CACHE_LAYOUT}-{prepared.digest}"
  folder = folders.cache_dir() / "arrays" / name / prepared.version / key
  num_examples = prepared.num_examples[split]
  cached = arrays.read(folder, num_examples, entry.image_shape, entry.num_classes)
  if cached is not None:
    return cached
  from tagjax.datasets import decode  # imports TFDS

  examples = decode.examples(prepared, split, entry.image_shape)
  arrays.write(folder, num_examples, entry.image_shape, examples)
  written = arrays.read(folder, num_examples, entry.image_shape, entry.num_classes)
  if written is None:
    raise prepared_lib.damaged(prepared.folder, f"labels are not 0 to {entry.num_classes - 1}")
  return written
