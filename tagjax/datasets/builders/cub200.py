"""CUB-200-2011: 11,788 photographs of 200 kinds of birds, with 312 attributes of each kind.

References:
  C. Wah, S. Branson, P. Welinder, P. Perona and S. Belongie, The Caltech-UCSD Birds-200-2011
  dataset, technical report CNS-TR-2011-001, California Institute of Technology, 2011.

Differs from the reference code:
  A-GEM, and TAG after it, read lists of A-GEM's repository. They are as long as the two sets of the
  authors, which are used here; whether they name the same photographs has not been checked. Both
  stretch photographs with OpenCV, which drops pixels; Pillow, here, averages them.
"""

import pathlib

import tensorflow_datasets as tfds

from tagjax.datasets import pictures, sources, tables

_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1"
_MAX_BYTES = 4 * 2**30
_FOLDER = "CUB_200_2011"
_IMAGES = f"{_FOLDER}/images.txt"
_LABELS = f"{_FOLDER}/image_class_labels.txt"
_SPLIT = f"{_FOLDER}/train_test_split.txt"
_CLASSES = f"{_FOLDER}/classes.txt"
_ATTRIBUTES = f"{_FOLDER}/attributes/class_attribute_labels_continuous.txt"
# The set's README names the second place, the archive has the file in the first.
_ATTRIBUTE_NAMES = ("attributes.txt", f"{_FOLDER}/attributes/attributes.txt")
_NUM_CLASSES = 200
_NUM_ATTRIBUTES = 312


class Cub200(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares CUB-200-2011 with the split of its authors: 5,994 to train on, 5,794 to test on.

  The label is the number of the class in `classes.txt`, from 0, hence alphabetical. An attribute is
  a percentage, 0 to 100: how many of those who looked at pictures of the class saw it there.
  """

  name = "cub200"
  VERSION = tfds.core.Version("1.0.0")
  URLS = (_URL,)

  def _info(self):
    return pictures.info(
      self,
      description="Photographs of 200 kinds of birds, with 312 attributes of each kind.",
      num_classes=_NUM_CLASSES,
      homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
      citation="""@techreport{wah2011caltech,
  title = {The {Caltech-UCSD} {Birds-200-2011} dataset},
  author = {Wah, C. and Branson, S. and Welinder, P. and Perona, P. and Belongie, S.},
  institution = {California Institute of Technology},
  number = {CNS-TR-2011-001},
  year = {2011},
}""",
    )

  def _split_generators(self, dl_manager):
    archive = pathlib.Path(dl_manager.download(_URL))
    texts = sources.texts(
      archive,
      [_IMAGES, _LABELS, _SPLIT, _CLASSES, _ATTRIBUTES],
      max_bytes=_MAX_BYTES,
      optional=_ATTRIBUTE_NAMES,
    )
    self._describe_classes(texts)
    files = [f"{_FOLDER}/images/{file}" for file in tables.numbered(texts[_IMAGES], _IMAGES)]
    labels = tables.integers(texts[_LABELS], _LABELS, 1, _NUM_CLASSES)
    is_train = tables.integers(texts[_SPLIT], _SPLIT, 0, 1)
    rows = list(zip(files, labels, is_train, strict=True))
    return {
      split: self._generate_examples(
        archive, {file: label - 1 for file, label, of_train in rows if of_train == wanted}
      )
      for split, wanted in (("train", 1), ("test", 0))
    }

  def _describe_classes(self, texts):
    # "001.Black_footed_Albatross" is the Black footed Albatross.
    classes = tables.numbered(texts[_CLASSES], _CLASSES)
    names = [name.partition(".")[2].replace("_", " ") for name in classes]
    self.info.features["label"].names = names
    self.info.metadata["attributes"] = tables.matrix(
      texts[_ATTRIBUTES], _ATTRIBUTES, _NUM_CLASSES, _NUM_ATTRIBUTES
    )
    for file in _ATTRIBUTE_NAMES:
      if file in texts:
        self.info.metadata["attribute_names"] = tables.numbered(texts[file], file)

  def _generate_examples(self, archive, labels):
    files = sources.files(archive, max_bytes=_MAX_BYTES)
    return pictures.examples(files, labels, vouched=True)
