"""The table of the data sets: from a name to its builder and its shapes.

The builders themselves are imported only when a set must be prepared, because that imports TFDS.
"""

import importlib
from typing import NamedTuple

from tagjax.core.errors import nearest


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
  "glyphs": Entry(
    module="glyphs",
    builder="Glyphs",
    version="1.0.0",
    image_shape=(28, 28, 1),
    num_classes=62,
    sizes=(9920, 3720),
    title="letters and digits in 21 fonts, with attributes",
    licence="those of the fonts, free",
    homepage="https://matplotlib.org/",
    num_attributes=27,
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
  "svhn_cropped": Entry(
    module="svhn_cropped",
    builder="SvhnCropped",
    version="3.1.0",
    image_shape=(32, 32, 3),
    num_classes=10,
    sizes=(73257, 26032),
    title="digits of house numbers",
    licence="non-commercial use",
    homepage="http://ufldl.stanford.edu/housenumbers/",
  ),
  "stl10": Entry(
    module="stl10",
    builder="Stl10",
    version="1.0.0",
    image_shape=(96, 96, 3),
    num_classes=10,
    sizes=(5000, 8000),
    title="animals and vehicles, from ImageNet",
    licence="not stated",
    homepage="https://cs.stanford.edu/~acoates/stl10/",
  ),
  "not_mnist": Entry(
    module="not_mnist",
    builder="NotMnist",
    version="1.0.0",
    image_shape=(28, 28, 1),
    num_classes=10,
    sizes=(16852, 1872),
    title="letters A to J of many typefaces, grey",
    licence="not stated",
    homepage="http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html",
  ),
  "omniglot_by_drawer": Entry(
    module="omniglot_by_drawer",
    builder="OmniglotByDrawer",
    version="1.0.0",
    image_shape=(105, 105, 1),
    num_classes=1623,
    sizes=(24345, 8115),
    title="handwritten characters of 50 alphabets, black on white",
    licence="MIT",
    homepage="https://github.com/brendenlake/omniglot",
  ),
  "mini_imagenet": Entry(
    module="mini_imagenet",
    builder="MiniImagenet",
    version="1.0.0",
    image_shape=(84, 84, 3),
    num_classes=100,
    sizes=(48000, 12000),
    title="photographs of 100 classes of ImageNet",
    licence="ImageNet's: non-commercial research and education",
    homepage="https://www.kaggle.com/datasets/whitemoon/miniimagenet",
  ),
  "cub200": Entry(
    module="cub200",
    builder="Cub200",
    version="1.0.0",
    image_shape=(224, 224, 3),
    num_classes=200,
    sizes=(5994, 5794),
    title="birds, with attributes (CUB-200-2011)",
    licence="non-commercial research and education",
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    resize="stretch",
    num_attributes=312,
  ),
  "flowers102": Entry(
    module="flowers102",
    builder="Flowers102",
    version="1.0.0",
    image_shape=(224, 224, 3),
    num_classes=102,
    sizes=(2040, 6149),
    title="flowers",
    licence="not stated",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    resize="crop",
  ),
  "awa2": Entry(
    module="awa2",
    builder="Awa2",
    version="1.0.0",
    image_shape=(224, 224, 3),
    num_classes=50,
    sizes=(31722, 5600),
    title="animals, with attributes (AWA2)",
    licence="free ones, image by image; listed in the archive",
    homepage="https://cvml.ista.ac.at/AwA2/",
    resize="stretch",
    num_attributes=85,
  ),
  "tiny_imagenet": Entry(
    module="tiny_imagenet",
    builder="TinyImagenet",
    version="1.0.0",
    image_shape=(64, 64, 3),
    num_classes=200,
    sizes=(100000, 10000),
    title="200 classes of ImageNet, small",
    licence="ImageNet's: non-commercial research and education",
    homepage="http://cs231n.stanford.edu/",
  ),
  "office_home": Entry(
    module="office_home",
    builder="OfficeHome",
    version="1.0.0",
    image_shape=(128, 128, 3),
    num_classes=260,
    sizes=(10912, 4676),
    title="65 everyday things in each of four domains",
    licence="non-commercial research and education",
    homepage="https://www.hemanthdv.org/officeHomeDataset.html",
    resize="stretch",
  ),
  "mit_indoor67": Entry(
    module="mit_indoor67",
    builder="MitIndoor67",
    version="1.0.0",
    image_shape=(224, 224, 3),
    num_classes=67,
    sizes=(5360, 1340),
    title="rooms",
    licence="research only",
    homepage="https://web.mit.edu/torralba/www/indoor.html",
    resize="crop",
  ),
  "imagenet": Entry(
    module="imagenet",
    builder="Imagenet",
    version="1.0.0",
    image_shape=(112, 112, 3),
    num_classes=1000,
    sizes=(1281167, 50000),
    title="ImageNet's challenge of 2012",
    licence="non-commercial research and education, after registration",
    homepage="https://image-net.org/",
    resize="crop",
  ),
  "ms_celeb": Entry(
    module="ms_celeb",
    builder="MsCeleb",
    version="1.0.0",
    image_shape=(112, 112, 3),
    num_classes=10000,
    sizes=(300000, 150000),
    title="faces of 10,000 people",
    licence="withdrawn by its publisher; was for non-commercial research",
    homepage="https://arxiv.org/abs/1607.08221",
    resize="crop",
  ),
}


def names() -> list[str]:
  """The names that `load` accepts.

  >>> names()[:3]
  ['digits', 'glyphs', 'mnist']
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


def builder(name: str) -> type:
  """The builder class of the data set `name`; imports TFDS.

  Raises:
    ValueError: see `entry`.
  """
  found = entry(name)
  return getattr(importlib.import_module(f"tagjax.datasets.builders.{found.module}"), found.builder)
