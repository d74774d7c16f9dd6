"""CIFAR-10: 60,000 colour images of 32 x 32 in 10 classes, from its binary archive.

References:
  A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import readers

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_FOLDER = "cifar-10-batches-bin"
_MEMBERS = {
  "train": [f"{_FOLDER}/data_batch_{number}.bin" for number in range(1, 6)],
  "test": [f"{_FOLDER}/test_batch.bin"],
}


class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares CIFAR-10 with the features and the version of TFDS's stock builder."""

  name = "cifar10"
  VERSION = tfds.core.Version("3.0.2")
  URLS = (_URL,)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Colour images of 32 x 32 in 10 classes.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=readers.CIFAR_SHAPE),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    )

  def _split_generators(self, dl_manager):
    archive = dl_manager.download(_URL)
    names = readers.read_lines(archive, f"{_FOLDER}/batches.meta.txt")
    self.info.features["label"].names = names
    return {split: self._generate_examples(archive, split) for split in _MEMBERS}

  def _generate_examples(self, archive, split):
    for index, record in enumerate(readers.read_cifar(archive, _MEMBERS[split], num_labels=1)):
      yield (
        index,
        {
          "id": f"{split}_{index:05d}",
          "image": Image.fromarray(record.image),
          "label": record.labels[0],
        },
      )
