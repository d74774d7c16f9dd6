"""What the builders of photographs share: their features, and examples made of picture files.

The files are stored as they came, so nothing is lost; a size is chosen when they are read.
"""

from collections.abc import Iterable, Iterator, Mapping

import tensorflow_datasets as tfds

from tagjax.datasets import decode, members

ANY_SIZE = (None, None, 3)

Example = tuple[str, dict]
"""A key and the features of one example, as TFDS wants them from a builder."""


def info(
  builder: tfds.core.DatasetBuilder,
  *,
  description: str,
  num_classes: int,
  homepage: str,
  citation: str,
  shape: tuple[int | None, int | None, int] = ANY_SIZE,
) -> tfds.core.DatasetInfo:
  """Describes a set of pictures: `file` (its name in the archive), `image` and `label`."""
  return tfds.core.DatasetInfo(
    builder=builder,
    description=description,
    features=tfds.features.FeaturesDict(
      {
        "file": tfds.features.Text(),
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(num_classes=num_classes),
      }
    ),
    supervised_keys=("image", "label"),
    homepage=homepage,
    citation=citation,
    metadata=tfds.core.MetadataDict(),
  )


def examples(
  files: Iterable[members.Member], labels: Mapping[str, int], *, vouched: bool
) -> Iterator[Example]:
  """The pictures among `files` that have a label, as examples.

  Args:
    files: the files of the data set.
    labels: the class of each picture, under the name of its file.
    vouched: whether a checksum vouches for the files; if none does, each is decoded to see that it
      is whole.

  Yields:
    One example after another, in the files' order.

  Raises:
    ValueError: if a picture is missing, is there twice, or cannot be decoded.
  """
  missing = set(labels)
  for file in files:
    if file.name in labels:
      if file.name not in missing:
        raise ValueError(f"{file.name} is there twice")
      missing.remove(file.name)
      yield example(file, labels[file.name], vouched=vouched)
  if missing:
    raise ValueError(f"{len(missing)} of {len(labels)} pictures are missing, as {min(missing)}")


def example(file: members.Member, label: int, *, vouched: bool) -> Example:
  """One picture as an example, see `examples`."""
  content = file.read()
  if not vouched:
    try:
      decode.decode(content, channels=3)
    except Exception as error:  # each format has errors of its own
      raise ValueError(f"{file.name} is damaged or no picture: {error}") from error
  return file.name, {"file": file.name, "image": content, "label": label}


def expect(what: str, found: int, expected: int) -> None:
  """Compares a number of pictures with the published one.

  Raises:
    ValueError: if they differ.
  """
  if found != expected:
    raise ValueError(f"{what}: found {found}, but the published set has {expected}")
