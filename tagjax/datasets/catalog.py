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
    image_shape: `(height, width, channels)` of the arrays.
    num_classes: number of classes.
    sizes: number of training and of test examples of the whole set.
    title: what it shows, in a few words.
    licence: what its publisher allows, in a few words.
    homepage: where its publisher describes it.
    max_value: the largest value that a stored pixel can have.
    resize: how images of other sizes are brought to `image_shape`, see `decode.resize`; None: they
      all have it.
    num_attributes: numbers that describe each class; 0: there are none.
    embedded: True if the images come with an installed package, so nothing is downloaded.
  """

  module: str
  builder: str
  version: str
  image_shape: tuple[int, int, int]
  num_classes: int
  sizes: tuple[int, int]
  title: str
  licence: str
  homepage: str
  max_value: int = 255
  resize: str | None = None
  num_attributes: int = 0
  embedded: bool = False


_ENTRIES = {
  "digits": Entry(
    module="digits",
    builder="Digits",
    version="1.0.0",
    image_shape=(8, 8, 1),
    num_classes=10,
    sizes=(1437, 360),
    title="handwritten digits, grey, from scikit-learn",
    licence="CC BY 4.0",
    homepage="https://archive.ics.uci.edu/dataset/80",
    max_value=16,
    embedded=True,
  ),
  "mnist": Entry(
    module="mnist",
    builder="Mnist",
    version="3.0.1",
    image_shape=(28, 28, 1),
    num_classes=10,
    sizes=(60000, 10000),
    title="handwritten digits, grey",
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
  ),
  "fashion_mnist": Entry(
    module="fashion_mnist",
    builder="FashionMnist",
    version="3.0.1",
    image_shape=(28, 28, 1),
    num_classes=10,
    sizes=(60000, 10000),
    title="clothes, grey",
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
  ),
  "cifar10": Entry(
    module="cifar10",
    builder="Cifar10",
    version="3.0.2",
    image_shape=(32, 32, 3),
    num_classes=10,
    sizes=(50000, 10000),
    title="animals and vehicles",
    licence="not stated",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
  ),
  "cifar100": Entry(
    module="cifar100",
    builder="Cifar100",
    version="3.0.2",
    image_shape=(32, 32, 3),
    num_classes=100,
    sizes=(50000, 10000),
    title="things and beings of 20 superclasses",
    licence="not stated",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
  ),
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
