"""AWA2, Animals with Attributes 2: 37,322 photographs of 50 animals, 85 attributes of each animal.

References:
  Y. Xian, C. H. Lampert, B. Schiele and Z. Akata, Zero-shot learning: a comprehensive evaluation of
  the good, the bad and the ugly, IEEE Transactions on Pattern Analysis and Machine Intelligence,
  2018, https://arxiv.org/abs/1707.00600

Differs from the reference code:
  A-GEM's repository has lists of 26,102 training, 5,620 validation and 5,600 test images, which are
  not the data set's own. Here are as many test images, chosen by `splits.in_proportion`; a stream
  takes its validation examples from the other 31,722. A-GEM stretches photographs with OpenCV,
  which drops pixels; Pillow, here, averages them.
"""

import tensorflow_datasets as tfds

from tagjax.datasets import archives, catalog, pictures, sources, splits, tables

_ARCHIVE = archives.ByHand(
  names=("AwA2-data.zip", "Animals_with_Attributes2"),
  page="https://cvml.ista.ac.at/AwA2/AwA2-data.zip",
  how="(13 GB; its publisher gives no checksum)",
)
_MAX_BYTES = 32 * 2**30
_FOLDER = "Animals_with_Attributes2"
_CLASSES = f"{_FOLDER}/classes.txt"
_ATTRIBUTES = f"{_FOLDER}/predicate-matrix-continuous.txt"
_ATTRIBUTE_NAMES = f"{_FOLDER}/predicates.txt"
_NUM_CLASSES = 50
_NUM_ATTRIBUTES = 85


class Awa2(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares AWA2: 31,722 photographs to train on and 5,600 to test on.

  The label is the number of the class in `classes.txt`, from 0: no alphabetical order. An attribute
  is the strength of its link with the animal in people's judgement, from 0 to 100; -1 marks a
  missing value.
  """

  name = "awa2"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_ARCHIVE,)

  def _info(self):
    return pictures.info(
      self,
      description="Photographs of 50 animals, with 85 attributes of each animal.",
      num_classes=_NUM_CLASSES,
      homepage="https://cvml.ista.ac.at/AwA2/",
      citation="""@article{xian2018zero,
  title = {Zero-shot learning: a comprehensive evaluation of the good, the bad and the ugly},
  author = {Xian, Yongqin and Lampert, Christoph H. and Schiele, Bernt and Akata, Zeynep},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year = {2018},
}""",
    )

  def _split_generators(self, dl_manager):
    path = archives.locate(_ARCHIVE, dl_manager.manual_dir)
    texts = sources.texts(path, [_CLASSES, _ATTRIBUTES, _ATTRIBUTE_NAMES], max_bytes=_MAX_BYTES)
    classes = tables.numbered(texts[_CLASSES], _CLASSES)
    self.info.features["label"].names = [name.replace("+", " ") for name in classes]
    self.info.metadata["attributes"] = tables.matrix(
      texts[_ATTRIBUTES], _ATTRIBUTES, _NUM_CLASSES, _NUM_ATTRIBUTES
    )
    self.info.metadata["attribute_names"] = tables.numbered(
      texts[_ATTRIBUTE_NAMES], _ATTRIBUTE_NAMES
    )
    train, test = self._split(path, classes)
    return {
      "train": self._generate_examples(path, train),
      "test": self._generate_examples(path, test),
    }

  def _split(self, path, classes):
    """The class of each training and of each test picture, under the name of its file."""
    label = {}
    for file in sources.files(path, max_bytes=_MAX_BYTES):
      folder, _, _ = file.name.rpartition("/")
      name = folder.removeprefix(f"{_FOLDER}/JPEGImages/")
      if name in classes:
        label[file.name] = classes.index(name)
    num_train, num_test = catalog.entry(self.name).sizes
    pictures.expect(f"pictures in {path}", len(label), num_train + num_test)
    return splits.divided(label, num_test)

  def _generate_examples(self, path, labels):
    files = sources.files(path, max_bytes=_MAX_BYTES)
    return pictures.examples(files, labels, vouched=False)
