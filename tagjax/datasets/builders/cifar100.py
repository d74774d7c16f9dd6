"""CIFAR-100: 60,000 colour images of 32 x 32 in 100 classes, from its binary archive.

References:
  A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import readers

_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
_FOLDER = "cifar-100-binary"


class Cifar100(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares CIFAR-100 with the features and the version of TFDS's stock builder.

  The class is the fine label; the 20 coarse ones are kept beside it.
  """

  name = "cifar100"
  VERSION = tfds.core.Version("3.0.2")
  URLS = (_URL,)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Colour images of 32 x 32 in 100 classes and 20 superclasses.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=readers.CIFAR_SHAPE),
          "label": tfds.features.ClassLabel(num_classes=100),
          "coarse_label": tfds.features.ClassLabel(num_classes=20),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    )

  def _split_generators(self, dl_manager):
    archive = dl_manager.download(_URL)
    for feature, kind in (("label", "fine"), ("coarse_label", "coarse")):
      names = readers.read_lines(archive, f"{_FOLDER}/{kind}_label_names.txt")
      self.info.features[feature].names = names
    return {split: self._generate_examples(archive, split) for split in ("train", "test")}

  def _generate_examples(self, archive, split):
    members = [f"{_FOLDER}/{split}.bin"]
    for index, record in enumerate(readers.read_cifar(archive, members, num_labels=2)):
      coarse, fine = record.labels
      yield (
        index,
        {
          "id": f"{split}_{index:05d}",
          "image": Image.fromarray(record.image),
          "label": fine,
          "coarse_label": coarse,
        },
      )
