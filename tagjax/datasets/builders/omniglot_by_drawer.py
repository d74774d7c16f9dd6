"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people, from its two zip archives.

References:
  B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum, Human-level concept learning through
  probabilistic program induction, Science 350, 2015.
  J. Rajasegaran, S. Khan, M. Hayat, F. S. Khan and M. Shah, iTAML: an incremental task-agnostic
  meta-learning approach, CVPR, 2020 (15 drawings of each character to train on, 5 to test on).
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow_datasets as tfds

from tagjax.datasets import members

_FOLDER = "https://github.com/brendenlake/omniglot/raw/master/python/"
_FILES = ("images_background.zip", "images_evaluation.zip")
_MAX_BYTES = 100_000_000
_NUM_CLASSES = 1623
_NUM_DRAWERS = 20
_NUM_TRAINED = 15
_MEMBER = re.compile(r"images_\w+/([^/]+/character\d+)/\d+_(\d+)\.png")
_CITATION = """\
@article{lake2015human,
  title={Human-level concept learning through probabilistic program induction},
  author={Lake, Brenden M. and Salakhutdinov, Ruslan and Tenenbaum, Joshua B.},
  journal={Science},
  volume={350},
  number={6266},
  pages={1332--1338},
  year={2015}
}"""


class OmniglotByDrawer(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares Omniglot with the characters as classes, in training and test alike.

  Of each character's drawings the first 15 are to train on and the last 5 to test on. A class is
  called `Alphabet/character01`; the classes are sorted by name, so an alphabet is a run of labels.

  The images are 105 x 105, one bit a pixel: the ink is 0, the paper 255.

  Differs from TFDS's stock builder `omniglot`, whose test has other alphabets than its training.
  """

  name = "omniglot_by_drawer"
  VERSION = tfds.core.Version("1.0.0")
  URLS = tuple(_FOLDER + file for file in _FILES)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Handwritten characters of 50 alphabets, each drawn by 20 people.",
      features=tfds.features.FeaturesDict(
        {
          "id": tfds.features.Text(),
          "image": tfds.features.Image(shape=(105, 105, 1)),
          "label": tfds.features.ClassLabel(num_classes=_NUM_CLASSES),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://github.com/brendenlake/omniglot",
      citation=_CITATION,
    )

  def _split_generators(self, dl_manager):
    archives = dl_manager.download(list(self.URLS))
    drawings = sorted(drawing for archive in archives for drawing in _read(archive))
    _check(drawings)
    self.info.features["label"].names = sorted({drawing.character for drawing in drawings})
    return {
      "train": self._generate_examples(d for d in drawings if d.drawer <= _NUM_TRAINED),
      "test": self._generate_examples(d for d in drawings if d.drawer > _NUM_TRAINED),
    }

  def _generate_examples(self, drawings):
    for drawing in drawings:
      name = f"{drawing.character}/{drawing.drawer:02d}"
      yield name, {"id": name, "image": drawing.image, "label": drawing.character}


class _Drawing(NamedTuple):
  """A character, the number of who drew it, and the PNG file."""

  character: str
  drawer: int
  image: bytes


def _read(archive: str | os.PathLike[str]) -> Iterator[_Drawing]:
  for member in members.members(archive, max_bytes=_MAX_BYTES):
    match = _MEMBER.fullmatch(member.name)
    if match:
      yield _Drawing(match[1], int(match[2]), member.read())


def _check(drawings: list[_Drawing]) -> None:
  found = [(drawing.character, drawing.drawer) for drawing in drawings]
  characters = sorted({character for character, _ in found})
  drawers = range(1, _NUM_DRAWERS + 1)
  if found != [(character, drawer) for character in characters for drawer in drawers]:
    raise ValueError(f"{' and '.join(_FILES)} do not hold {_NUM_DRAWERS} drawings a character")
