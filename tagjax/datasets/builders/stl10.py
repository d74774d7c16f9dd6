"""STL-10: 13,000 colour images of 96 x 96 in 10 classes, from its binary archive.

References:
  A. Coates, H. Lee and A. Y. Ng, An analysis of single-layer networks in unsupervised feature
  learning, AISTATS, 2011.
"""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import members

_URL = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
_FOLDER = "stl10_binary"
_SHAPE = (96, 96, 3)
_MAX_BYTES = 3_200_000_000  # 2.8 GB of them are the images without labels
_CITATION = """\
@inproceedings{coates2011analysis,
  title={An analysis of single-layer networks in unsupervised feature learning},
  author={Coates, Adam and Lee, Honglak and Ng, Andrew Y.},
  booktitle={International Conference on Artificial Intelligence and Statistics},
  year={2011}
}"""


class Stl10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares STL-10 with the features and the version of TFDS's stock builder.

  Without the 100,000 images that have no label.
  """

  name = "stl10"
  VERSION = tfds.core.Version("1.0.0")
  URLS = (_URL,)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Colour images of 96 x 96 in 10 classes, taken from ImageNet.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=_SHAPE),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://cs.stanford.edu/~acoates/stl10/",
      citation=_CITATION,
    )

  def _split_generators(self, dl_manager):
    archive = dl_manager.download(_URL)
    (names,) = _read(archive, "class_names.txt")
    self.info.features["label"].names = names.decode().split()
    return {split: self._generate_examples(archive, split) for split in ("train", "test")}

  def _generate_examples(self, archive, split):
    for index, (image, label) in enumerate(_read_split(archive, split)):
      yield index, {"image": Image.fromarray(image), "label": label}


def _read_split(archive: str | os.PathLike[str], split: str) -> Iterator[tuple[np.ndarray, int]]:
  """Pairs of image `[96, 96, 3]` and class, which the file counts from 1.

  An image is its red, its green and its blue plane, each column by column.

  Raises:
    ValueError: if the archive is of another layout.
  """
  images, labels = _read(archive, f"{split}_X.bin", f"{split}_y.bin")
  if len(images) != len(labels) * int(np.prod(_SHAPE)):
    raise ValueError(
      f"{split}_X.bin in {archive} holds {len(images)} bytes, which are not {len(labels)} images"
    )
  if not set(labels) <= set(range(1, 11)):
    raise ValueError(
      f"{split}_y.bin in {archive} holds labels from {min(labels)} to {max(labels)}, not from 1 "
      "to 10"
    )
  image = np.frombuffer(images, np.uint8).reshape(-1, *reversed(_SHAPE)).transpose(0, 3, 2, 1)
  for one_image, label in zip(image, labels, strict=True):
    yield one_image, label - 1


def _read(archive: str | os.PathLike[str], *names: str) -> list[bytes]:
  paths = [f"{_FOLDER}/{name}" for name in names]
  return list(members.read(archive, paths, max_bytes=_MAX_BYTES).values())
