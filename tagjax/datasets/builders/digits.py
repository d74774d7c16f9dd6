"""scikit-learn's digits: 1,797 images of 8 x 8, the data set that needs no download.

References:
  E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
  Repository, 1998 (scikit-learn carries its test part).
"""

import numpy as np
import tensorflow_datasets as tfds

_TEST_EVERY = 5  # of the examples sorted by class: 360 of 1,797


class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares the digits: raw values 0 to 16, 1,437 images to train on and 360 to test on.

  The set has no split of its own. Ours shuffles with a fixed seed, sorts by class and takes every
  fifth example for the test, so each class is there in proportion and the split never changes.
  """

  name = "digits"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Handwritten digits, 8 x 8, values 0 to 16, from scikit-learn.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    from sklearn import datasets  # a second to import, needed once

    bunch = datasets.load_digits()
    # RandomState and not Generator: NumPy promises that its stream stays the same for ever.
    shuffled = np.random.RandomState(0).permutation(len(bunch.target))
    by_class = shuffled[np.argsort(bunch.target[shuffled], kind="stable")]
    is_test = np.zeros(len(by_class), bool)
    is_test[by_class[::_TEST_EVERY]] = True
    image = bunch.images.astype(np.uint8)[..., np.newaxis]
    return {
      "train": self._generate_examples(image, bunch.target, np.flatnonzero(~is_test)),
      "test": self._generate_examples(image, bunch.target, np.flatnonzero(is_test)),
    }

  def _generate_examples(self, image, label, indices):
    for index in indices.tolist():
      yield index, {"image": image[index], "label": int(label[index])}
