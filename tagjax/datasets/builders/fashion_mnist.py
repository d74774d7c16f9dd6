"""Fashion-MNIST: 70,000 grey pictures of clothes, 28 x 28, from its four IDX files.

References:
  H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
  learning algorithms, 2017, https://arxiv.org/abs/1708.07747
"""

import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import readers

_FOLDER = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CLASSES = (
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
)


class FashionMnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares Fashion-MNIST as TFDS's stock builder does, and with the names of the classes."""

  name = "fashion_mnist"
  VERSION = tfds.core.Version("3.0.1")
  URLS = tuple(_FOLDER + file for files in readers.IDX_FILES.values() for file in files)
  ELSEWHERE = (
    "On Debian and Ubuntu `apt-get install dataset-fashion-mnist` brings them to "
    "/usr/share/datasets/fashion-mnist; copy them from there"
  )

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Zalando's article images: ten classes of clothes, in grey.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(28, 28, 1)),
          "label": tfds.features.ClassLabel(names=_CLASSES),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://github.com/zalandoresearch/fashion-mnist",
    )

  def _split_generators(self, dl_manager):
    return {
      split: self._generate_examples(*dl_manager.download([_FOLDER + file for file in files]))
      for split, files in readers.IDX_FILES.items()
    }

  def _generate_examples(self, images, labels):
    for index, (image, label) in enumerate(readers.read_idx_pair(images, labels)):
      yield index, {"image": Image.fromarray(image), "label": label}
