"""Flowers-102: 8,189 photographs of 102 kinds of flowers.

References:
  M.-E. Nilsback and A. Zisserman, Automated flower classification over a large number of classes,
  Indian Conference on Computer Vision, Graphics and Image Processing, 2008.
"""

import pathlib

import numpy as np
import scipy.io
import tensorflow_datasets as tfds

from tagjax.datasets import pictures, sources

_FOLDER = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_FILES = ("102flowers.tgz", "imagelabels.mat", "setid.mat")
_MAX_BYTES = 2**30
_NUM_CLASSES = 102
_SETS = {"train": ("trnid", "valid"), "test": ("tstid",)}


class Flowers102(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares Flowers-102: 2,040 photographs to train on and 6,149 to test on.

  Its authors have three sets: 1,020 to train on, 1,020 for validation, 6,149 for the test. A stream
  takes its validation examples from the training set itself, so the first two are one here. Which
  of them the object sequence of MAS was trained on is not known to us.

  The archive has no names of its classes: they are the ones in TFDS's stock builder.
  """

  name = "flowers102"
  VERSION = tfds.core.Version("1.0.0")
  URLS = tuple(_FOLDER + file for file in _FILES)

  def _info(self):
    return pictures.info(
      self,
      description="Photographs of 102 kinds of flowers that are common in the United Kingdom.",
      num_classes=_NUM_CLASSES,
      homepage=_FOLDER,
      citation="""@inproceedings{nilsback2008automated,
  title = {Automated flower classification over a large number of classes},
  author = {Nilsback, Maria-Elena and Zisserman, Andrew},
  booktitle = {Indian Conference on Computer Vision, Graphics and Image Processing},
  year = {2008},
}""",
    )

  def _split_generators(self, dl_manager):
    archive, labels, sets = map(pathlib.Path, dl_manager.download(list(self.URLS)))
    label = _read_mat(labels, ["labels"])["labels"]
    numbers = _read_mat(sets, [key for keys in _SETS.values() for key in keys])
    if not 1 <= label.min() <= label.max() <= _NUM_CLASSES:
      raise ValueError(f"{labels}: labels are not 1 to {_NUM_CLASSES}")
    stock = tfds.builder_cls("oxford_flowers102")(data_dir=self.data_dir)
    self.info.features["label"].names = stock.info.features["label"].names
    return {
      split: self._generate_examples(
        archive,
        {
          f"jpg/image_{number:05d}.jpg": int(label[number - 1]) - 1
          for key in keys
          for number in numbers[key].tolist()
        },
      )
      for split, keys in _SETS.items()
    }

  def _generate_examples(self, archive, labels):
    files = sources.files(archive, max_bytes=_MAX_BYTES)
    return pictures.examples(files, labels, vouched=True)


def _read_mat(path: pathlib.Path, keys: list[str]) -> dict[str, np.ndarray]:
  """Some arrays of a MATLAB file, as vectors of integers."""
  found = scipy.io.loadmat(path)
  missing = sorted(set(keys) - set(found))
  if missing:
    raise ValueError(f"{path} has no array {', '.join(missing)}")
  return {key: found[key].ravel().astype(int) for key in keys}
