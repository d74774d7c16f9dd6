"""MNIST: 70,000 handwritten digits of 28 x 28, from the four official IDX files.

References:
  Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.
"""

import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import readers

_FOLDER = "https://storage.googleapis.com/cvdf-datasets/mnist/"


class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares MNIST with the features and the version of TFDS's stock builder."""

  name = "mnist"
  VERSION = tfds.core.Version("3.0.1")
  URLS = tuple(_FOLDER + file for files in readers.IDX_FILES.values() for file in files)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="The MNIST database of handwritten digits.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(28, 28, 1)),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="http://yann.lecun.com/exdb/mnist/",
    )

  def _split_generators(self, dl_manager):
    return {
      split: self._generate_examples(*dl_manager.download([_FOLDER + file for file in files]))
      for split, files in readers.IDX_FILES.items()
    }

  def _generate_examples(self, images, labels):
    for index, (image, label) in enumerate(readers.read_idx_pair(images, labels)):
      yield index, {"image": Image.fromarray(image), "label": label}
