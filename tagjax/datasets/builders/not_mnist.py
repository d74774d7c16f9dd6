"""notMNIST, the small and clean part: 18,724 letters A to J of many typefaces, 28 x 28.

References:
  Y. Bulatov, notMNIST dataset, 2011,
  http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html
  P. Malviya, B. Ravindran and S. Chandar, TAG: task-based accumulated gradients for lifelong
  learning, CoLLAs, 2022 (the random tenth that tests).
"""

import os
import re
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from tagjax.datasets import archives, decode, members

_SHAPE = (28, 28, 1)
_CLASSES = "ABCDEFGHIJ"
_NUM_IMAGES = 18724
_NUM_UNREADABLE = 2
_MAX_BYTES = 100_000_000
_MEMBER = re.compile(r"notMNIST_small/([A-J]/[^/.][^/]*\.png)")
_CITATION = """\
@misc{bulatov2011notmnist,
  title={notMNIST dataset},
  author={Bulatov, Yaroslav},
  howpublished={http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html},
  year={2011}
}"""


class NotMnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares notMNIST: 16,852 images to train on and 1,872 to test on.

  Two files of the archive are no images and are left out. The set has no split of its own: ours
  sorts the files by letter and name, shuffles them with a fixed seed, and tests on the first tenth.

  Nobody publishes a SHA-256 of the archive, so it is fetched by hand. Its size and the number of
  images in it are checked.

  Differs from the reference code of TAG, which shuffles what the file system lists, in whatever
  order: the test images are as many, but others.
  """

  name = "not_mnist"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (
    archives.ByHand(
      names=("notMNIST_small.tar.gz",),
      page="https://commondatastorage.googleapis.com/books1000/notMNIST_small.tar.gz",
      how="or http://yaroslavvb.com/upload/notMNIST/notMNIST_small.tar.gz",
      size=8458043,
    ),
  )

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Letters A to J of many typefaces, 28 x 28, in grey.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=_SHAPE),
          "label": tfds.features.ClassLabel(names=list(_CLASSES)),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html",
      citation=_CITATION,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager):
    images = _read(archives.locate(self.BY_HAND[0], dl_manager.manual_dir))
    # RandomState and not Generator: NumPy promises that its stream stays the same for ever.
    order = np.random.RandomState(0).permutation(len(images)).tolist()
    num_tested = len(images) // 10
    return {
      "train": self._generate_examples(images[index] for index in order[num_tested:]),
      "test": self._generate_examples(images[index] for index in order[:num_tested]),
    }

  def _generate_examples(self, images):
    for image in images:
      yield image.name, {"id": image.name, "image": image.content, "label": image.name[0]}


class _Image(NamedTuple):
  """A file's name from the letter on, such as `A/some.png`, and its content."""

  name: str
  content: bytes


def _read(archive: str | os.PathLike[str]) -> list[_Image]:
  """The images, sorted by name.

  Raises:
    ValueError: if they are not as many as they should be, or of another size.
  """
  readable, unreadable = [], 0
  for member in members.members(archive, max_bytes=_MAX_BYTES):
    match = _MEMBER.fullmatch(member.name)
    if match:
      image = _Image(match[1], member.read())
      if _is_readable(image):
        readable.append(image)
      else:
        unreadable += 1
  if len(readable) != _NUM_IMAGES or unreadable > _NUM_UNREADABLE:
    raise ValueError(
      f"{archive} holds {len(readable)} images and {unreadable} unreadable ones, where "
      f"{_NUM_IMAGES} and {_NUM_UNREADABLE} are right: delete it and fetch it again"
    )
  return sorted(readable)


def _is_readable(image: _Image) -> bool:
  try:
    shape = decode.decode(image.content, channels=1).shape
  except OSError:  # how Pillow says that this is no image
    return False
  if shape != _SHAPE:
    raise ValueError(f"{image.name} has shape {shape}, not {_SHAPE}")
  return True
