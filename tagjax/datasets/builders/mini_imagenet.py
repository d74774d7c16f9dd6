"""miniImageNet: 60,000 photographs of 84 x 84 in 100 classes of ImageNet, from three pickles.

References:
  O. Vinyals, C. Blundell, T. Lillicrap, K. Kavukcuoglu and D. Wierstra, Matching networks for one
  shot learning, NIPS, 2016.
  S. Ravi and H. Larochelle, Optimization as a model for few-shot learning, ICLR, 2017 (which 100
  classes, and their division into 64, 16 and 20).
  P. Malviya, B. Ravindran and S. Chandar, TAG: task-based accumulated gradients for lifelong
  learning, CoLLAs, 2022 (all 100 classes, 480 images each to train on, 120 to test on).
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tagjax.datasets import archives, pickles

_SHAPE = (84, 84, 3)
_PER_CLASS = 600
_NUM_TRAINED = 480
_PAGE = "https://www.kaggle.com/datasets/whitemoon/miniimagenet"
_HOW = "with an account, or without one https://zenodo.org/records/7978538"
_NUM_CLASSES = {"train": 64, "test": 20, "val": 16}
"""The pickles in the order in which they number the classes."""

_CITATION = """\
@inproceedings{vinyals2016matching,
  title={Matching networks for one shot learning},
  author={Vinyals, Oriol and Blundell, Charles and Lillicrap, Timothy and Kavukcuoglu, Koray
    and Wierstra, Daan},
  booktitle={Advances in Neural Information Processing Systems},
  year={2016}
}"""


def _by_hand(part: str, *other_names: str) -> archives.ByHand:
  names = (f"mini-imagenet-cache-{part}.pkl", *other_names)
  return archives.ByHand(names=names, page=_PAGE, how=_HOW)


class MiniImagenet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares miniImageNet: of each class the first 480 images to train on, the last 120 to test on.

  The three pickles divide the classes for few-shot learning. Here all of them are learned: first
  the 64 of `train`, then the 20 of `test`, then the 16 of `val`, in the order of the pickles.

  The files are fetched by hand, and nobody publishes a SHA-256 of them. Their structure is checked:
  classes, images a class, shape. What they may do is bounded, see `tagjax.datasets.pickles`.
  """

  name = "mini_imagenet"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (
    _by_hand("train"),
    _by_hand("test"),
    _by_hand("val", "mini-imagenet-cache-validation.pkl"),
  )

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Photographs of 84 x 84 in 100 classes of ImageNet.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=_SHAPE),
          "label": tfds.features.ClassLabel(num_classes=sum(_NUM_CLASSES.values())),
        }
      ),
      supervised_keys=("image", "label"),
      homepage=_PAGE,
      citation=_CITATION,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager):
    paths = [archives.locate(file, dl_manager.manual_dir) for file in self.BY_HAND]
    parts = [
      _read(path, num_classes)
      for path, num_classes in zip(paths, _NUM_CLASSES.values(), strict=True)
    ]
    self.info.features["label"].names = [name for part in parts for name in part.indices]
    return {
      "train": self._generate_examples(parts, slice(None, _NUM_TRAINED)),
      "test": self._generate_examples(parts, slice(_NUM_TRAINED, None)),
    }

  def _generate_examples(self, parts, which):
    for part in parts:
      for name, indices in part.indices.items():
        for index in indices[which].tolist():
          key = f"{name}_{index:05d}"
          yield key, {"id": key, "image": Image.fromarray(part.image[index]), "label": name}


class _Part(NamedTuple):
  """What a pickle holds.

  Attributes:
    image: uint8 `[N, 84, 84, 3]`.
    indices: for each class, where its images are.
  """

  image: np.ndarray
  indices: dict[str, np.ndarray]


def _read(path: str | os.PathLike[str], num_classes: int) -> _Part:
  """Reads a pickle of the "cache" version: `{"image_data": array, "class_dict": {name: indices}}`.

  Raises:
    ValueError: if it holds anything else.
  """
  content = pickles.load(path)
  try:
    image = np.asarray(content["image_data"])
    indices = {name: np.asarray(rows) for name, rows in content["class_dict"].items()}
  except (TypeError, KeyError, AttributeError) as error:
    raise ValueError(f"{path} holds no image_data and class_dict: {error!r}") from error
  if not all(isinstance(name, str) for name in indices):
    raise ValueError(f"{path} names its classes {list(indices)[:2]}, which are no texts")
  expected = (num_classes * _PER_CLASS, *_SHAPE)
  if image.dtype != np.uint8 or image.shape != expected:
    raise ValueError(f"{path} holds images {image.dtype} {image.shape}, not uint8 {expected}")
  sizes = {len(rows) for rows in indices.values()}
  rows = np.sort(np.concatenate([*indices.values(), np.zeros(0, int)]))
  if len(indices) != num_classes or sizes != {_PER_CLASS} or (rows != np.arange(len(image))).any():
    raise ValueError(f"{path} does not hold {num_classes} classes of {_PER_CLASS} images each")
  return _Part(image, indices)
