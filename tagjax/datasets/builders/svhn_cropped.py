"""SVHN: 99,289 digits of house numbers, cut out to 32 x 32, from the two official MATLAB files.

References:
  Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng, Reading digits in natural images
  with unsupervised feature learning, NIPS Workshop on Deep Learning, 2011.
"""

import os

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image

_FOLDER = "http://ufldl.stanford.edu/housenumbers/"
_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_SHAPE = (32, 32, 3)
_CITATION = """\
@inproceedings{netzer2011reading,
  title={Reading digits in natural images with unsupervised feature learning},
  author={Netzer, Yuval and Wang, Tao and Coates, Adam and Bissacco, Alessandro and Wu, Bo
    and Ng, Andrew Y.},
  booktitle={NIPS Workshop on Deep Learning and Unsupervised Feature Learning},
  year={2011}
}"""


class SvhnCropped(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares SVHN with the features and the version of TFDS's stock builder.

  Without the 531,131 easier images of the split `extra`, which none of the streams uses.
  """

  name = "svhn_cropped"
  VERSION = tfds.core.Version("3.1.0")
  URLS = tuple(_FOLDER + file for file in _FILES.values())

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Digits of house numbers in street views, 32 x 32, in colour.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=_SHAPE),
          "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
        }
      ),
      supervised_keys=("image", "label"),
      homepage=_FOLDER,
      citation=_CITATION,
    )

  def _split_generators(self, dl_manager):
    return {
      split: self._generate_examples(dl_manager.download(_FOLDER + file), split)
      for split, file in _FILES.items()
    }

  def _generate_examples(self, path, split):
    image, label = _read(path)
    for index in range(len(label)):
      yield (
        index,
        {
          "id": f"{split}_{index:06d}",
          "image": Image.fromarray(image[index]),
          "label": int(label[index]),
        },
      )


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
  """Images uint8 `[N, 32, 32, 3]` and digits `[N]`; in the file the label of the digit 0 is 10.

  Raises:
    ValueError: if the file holds something else.
  """
  content = scipy.io.loadmat(path, variable_names=("X", "y"))
  image, label = content.get("X", np.zeros(0)), content.get("y", np.zeros(0))
  if image.dtype != np.uint8 or image.shape[:-1] != _SHAPE or label.shape != (image.shape[-1], 1):
    raise ValueError(
      f"{path} holds X {image.dtype} {image.shape} and y {label.shape}, not X uint8 "
      f"{(*_SHAPE, 'N')} and y ('N', 1)"
    )
  if not np.isin(label, np.arange(1, 11)).all():
    raise ValueError(f"{path} holds labels from {label.min()} to {label.max()}, not from 1 to 10")
  return np.moveaxis(image, -1, 0), label[:, 0] % 10
