"""The table of the data sets: from a name to its builder and its shapes.

The builders themselves are imported only when a set must be prepared, because that imports TFDS.
"""

from typing import NamedTuple

from tagjax.errors import nearest


class Entry(NamedTuple):
  """What is known of a data set without opening it.

  Attributes:
    module: the module that holds its builder.
    builder: name of the builder class in it.
    version: the version that this builder prepares.
    image_shape: `(height, width, channels)`.
    num_classes: number of classes.
    max_value: the largest value that a stored pixel can have.
    embedded: True if the images come with an installed package, so nothing is downloaded.
  """

  module: str
  builder: str
  version: str
  image_shape: tuple[int, int, int]
  num_classes: int
  max_value: int
  embedded: bool = False


_ENTRIES = {
  "digits": Entry("digits", "Digits", "1.0.0", (8, 8, 1), 10, 16, embedded=True),
  "mnist": Entry("mnist", "Mnist", "3.0.1", (28, 28, 1), 10, 255),
  "fashion_mnist": Entry("fashion_mnist", "FashionMnist", "3.0.1", (28, 28, 1), 10, 255),
  "cifar10": Entry("cifar10", "Cifar10", "3.0.2", (32, 32, 3), 10, 255),
  "cifar100": Entry("cifar100", "Cifar100", "3.0.2", (32, 32, 3), 100, 255),
}


def names() -> list[str]:
  """The names that `load` accepts.

  >>> names()
  ['digits', 'mnist', 'fashion_mnist', 'cifar10', 'cifar100']
  """
  return list(_ENTRIES)


def entry(name: str) -> Entry:
  """The entry of the data set `name`.

  Raises:
    ValueError: if there is none; the text gives the nearest names.
  """
  if name in _ENTRIES:
    return _ENTRIES[name]
  raise ValueError(
    f"unknown data set {name!r}{nearest(name, _ENTRIES)}. There are: {', '.join(_ENTRIES)}"
  )
