"""MIT Indoor 67: photographs of 67 kinds of rooms.

References:
  A. Quattoni and A. Torralba, Recognizing indoor scenes, CVPR 2009.
"""

import pathlib

import tensorflow_datasets as tfds

from tagjax.datasets import archives, catalog, pictures, sources

_PAGE = "https://web.mit.edu/torralba/www/indoor.html"
_ARCHIVE = archives.ByHand(
  names=("indoorCVPR_09.tar", "indoorCVPR_09", "Images"),
  page=_PAGE,
  how="(2.4 GB; its publisher gives no checksum, and the link may be dead)",
)
_LISTS = {
  "train": archives.ByHand(names=("TrainImages.txt",), page=_PAGE),
  "test": archives.ByHand(names=("TestImages.txt",), page=_PAGE),
}
_MAX_BYTES = 8 * 2**30
_NUM_CLASSES = 67


class MitIndoor67(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares MIT Indoor 67 with the lists of its authors: 5,360 to train on, 1,340 to test on.

  That is 80 and 20 of each class, within three. The archive has 15,620 photographs; those in
  neither list are left out. Some are no JPEG, whatever their name says. Labels are the classes'
  places in alphabetical order.
  """

  name = "mit_indoor67"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_ARCHIVE, *_LISTS.values())

  def _info(self):
    return pictures.info(
      self,
      description="Photographs of 67 kinds of rooms.",
      num_classes=_NUM_CLASSES,
      homepage=_PAGE,
      citation="""@inproceedings{quattoni2009recognizing,
  title = {Recognizing indoor scenes},
  author = {Quattoni, Ariadna and Torralba, Antonio},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2009},
}""",
    )

  def _split_generators(self, dl_manager):
    manual = dl_manager.manual_dir
    path = archives.locate(_ARCHIVE, manual)
    files = {split: _read(archives.locate(_LISTS[split], manual)) for split in _LISTS}
    for split, expected in zip(("train", "test"), catalog.entry(self.name).sizes, strict=True):
      pictures.expect(f"photographs in the {split} list", len(files[split]), expected)
    if files["train"] & files["test"]:
      raise ValueError(f"{min(files['train'] & files['test'])} is in both lists")
    classes = sorted({_class(file) for file in files["train"] | files["test"]})
    self.info.features["label"].names = [name.replace("_", " ") for name in classes]
    return {
      split: self._generate_examples(path, {file: classes.index(_class(file)) for file in listed})
      for split, listed in files.items()
    }

  def _generate_examples(self, path, labels):
    files = sources.files(path, max_bytes=_MAX_BYTES)
    named_as_listed = (file._replace(name="/".join(file.name.split("/")[-2:])) for file in files)
    return pictures.examples(named_as_listed, labels, vouched=False)


def _read(path: pathlib.Path) -> set[str]:
  """The files of a list, `class/file` each."""
  return {line.strip() for line in path.read_text().splitlines() if line.strip()}


def _class(file: str) -> str:
  return file.partition("/")[0]
