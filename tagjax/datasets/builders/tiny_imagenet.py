"""Tiny ImageNet: 110,000 labelled pictures of 64 x 64 in 200 classes of ImageNet.

References:
  Y. Le and X. Yang, Tiny ImageNet visual recognition challenge, Stanford CS 231N, 2015.
  J. Deng, W. Dong, R. Socher, L.-J. Li, K. Li and L. Fei-Fei, ImageNet: a large-scale hierarchical
  image database, CVPR 2009.

Differs from the reference code:
  The MAS repository in PyTorch magnifies the pictures to crops of 224 x 224, and may pair the
  training pictures of some classes with the test pictures of others. Here they keep their size, and
  a label means the same class in both splits.
"""

import pathlib

import tensorflow_datasets as tfds

from tagjax.datasets import pictures, sources, synsets

_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_MAX_BYTES = 2 * 2**30
_FOLDER = "tiny-imagenet-200"
_WNIDS = f"{_FOLDER}/wnids.txt"
_WORDS = f"{_FOLDER}/words.txt"
_TEST = f"{_FOLDER}/val/val_annotations.txt"
_NUM_CLASSES = 200


class TinyImagenet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares Tiny ImageNet: 500 pictures of each class to train on, 50 to test on.

  The test examples are the validation set of its authors, whose test set has no labels. The label
  is the place of the class among the sorted WordNet numbers, as in ImageNet, not in `wnids.txt`. A
  few of the pictures are grey; they are read as coloured ones.
  """

  name = "tiny_imagenet"
  VERSION = tfds.core.Version("1.0.0")
  URLS = (_URL,)

  def _info(self):
    return pictures.info(
      self,
      description="Pictures of 64 x 64 in 200 classes of ImageNet.",
      num_classes=_NUM_CLASSES,
      homepage="http://cs231n.stanford.edu/",
      citation="""@techreport{le2015tiny,
  title = {Tiny {ImageNet} visual recognition challenge},
  author = {Le, Ya and Yang, Xuan},
  institution = {Stanford CS 231N},
  year = {2015},
}""",
      shape=(64, 64, 3),
    )

  def _split_generators(self, dl_manager):
    archive = pathlib.Path(dl_manager.download(_URL))
    texts = sources.texts(archive, [_WNIDS, _WORDS, _TEST], max_bytes=_MAX_BYTES)
    wnids = sorted(texts[_WNIDS].split())
    words = dict(line.split("\t", 1) for line in texts[_WORDS].splitlines())
    self.info.features["label"].names = synsets.class_names(wnids, words)
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    return {
      "train": self._generate_examples(archive, self._train(archive, label_of)),
      "test": self._generate_examples(archive, _test(texts[_TEST], label_of)),
    }

  def _train(self, archive, label_of):
    """The class of each training picture: the folder that its file lies in."""
    labels = {}
    for file in sources.files(archive, max_bytes=_MAX_BYTES):
      parts = file.name.split("/")
      if parts[1] == "train" and file.name.endswith(".JPEG"):
        labels[file.name] = label_of[parts[2]]
    return labels

  def _generate_examples(self, archive, labels):
    files = sources.files(archive, max_bytes=_MAX_BYTES)
    return pictures.examples(files, labels, vouched=True)


def _test(annotations: str, label_of: dict[str, int]) -> dict[str, int]:
  """The class of each test picture: the second column of the table, beside the name of its file."""
  wnid_of = dict(line.split("\t")[:2] for line in annotations.splitlines())
  unknown = sorted(set(wnid_of.values()) - set(label_of))
  if unknown:
    raise ValueError(f"{_TEST} names {unknown[0]}, which is no class in {_WNIDS}")
  return {f"{_FOLDER}/val/images/{file}": label_of[wnid] for file, wnid in wnid_of.items()}
