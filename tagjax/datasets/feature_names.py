"""Which features a prepared data set may have.

TFDS imports whatever module `features.json` names, and modules are found in the current folder
first: a data set of a stranger could bring one along. So the names are read before TFDS reads them.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from tagjax.core import untrusted

_PACKAGE = "tensorflow_datasets.core.features"
ALLOWED = frozenset(
  f"{_PACKAGE}.{name}"
  for name in (
    "bounding_boxes.BBoxFeature",
    "class_label_feature.ClassLabel",
    "features_dict.FeaturesDict",
    "image_feature.Image",
    "labeled_image.LabeledImage",
    "scalar.Scalar",
    "sequence_feature.Sequence",
    "tensor_feature.Tensor",
    "text_feature.Text",
  )
)
"""Classes of features: numbers, texts and pictures, none of which imports anything further."""

_KEYS = ("pythonClassName", "python_class_name", "type")  # JSON has two spellings, old sets a third


def check(folder: pathlib.Path) -> None:
  """Looks at the features of a prepared set, before TFDS does.

  Args:
    folder: of a version of the set.

  Raises:
    OSError: if there is no `features.json`.
    ValueError: if it is damaged, names a class that is not in `ALLOWED`, or compressed numbers.
  """
  for key, value in _entries(untrusted.read_json(folder / "features.json")):
    if key in _KEYS and value not in ALLOWED:
      raise ValueError(
        f"features.json names the class {untrusted.plain_text(value):.200}, which would be "
        "imported and run; only TFDS's own numbers, texts and pictures are read"
      )
    if key == "encoding" and value not in ("", "none", "bytes"):
      raise ValueError("features.json says that numbers are compressed, to whatever size")


def _entries(value: Any) -> Iterator[tuple[str, str]]:
  """Keys with their texts, at any depth, in texts that are JSON themselves too."""
  if isinstance(value, dict):
    for key, item in value.items():
      if isinstance(item, str):
        yield key, item
      yield from _entries(item)
  elif isinstance(value, list):
    for item in value:
      yield from _entries(item)
  elif isinstance(value, str) and "{" in value:
    try:
      inner = untrusted.parse_json(value.encode())
    except ValueError:
      return
    yield from _entries(inner)
