"""MS-Celeb: 450,000 photographs of the faces of 10,000 people, from files that the user holds.

References:
  Y. Guo, L. Zhang, Y. Hu, X. He and J. Gao, MS-Celeb-1M: a dataset and benchmark for large-scale
  face recognition, ECCV 2016, https://arxiv.org/abs/1607.08221
  J. Rajasegaran et al., iTAML: an incremental task-agnostic meta-learning approach, CVPR 2020.

Differs from the reference code:
  iTAML draws 10,000 people with the seed 3, from another copy of the set and with another
  generator: the people and the photographs here are others.
"""

import collections

import numpy as np
import tensorflow_datasets as tfds

from tagjax.datasets import archives, catalog, pictures, sources

_FILES = archives.ByHand(
  names=("ms_celeb.zip", "ms_celeb"),
  page="https://arxiv.org/abs/1607.08221",
  how="(its publisher withdrew it in 2019; of a copy that you may use make a zip or a folder, in it"
  " a folder of photographs for each person)",
)
_MAX_BYTES = 2**42
_MAX_MEMBERS = 12_000_000  # the whole set has 10 million photographs
_SUFFIXES = (".jpg", ".jpeg", ".png")
_MORE_THAN = 45
_NUM_TRAIN, _NUM_TEST = 30, 15
_SEED = 3


class MsCeleb(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares MS-Celeb as iTAML uses it: 30 photographs of each person to train on, 15 to test on.

  People with 45 photographs or fewer are left out, and of the others 10,000 are drawn with a fixed
  seed. Fewer would be another benchmark, so a copy that has fewer is refused. Labels are the drawn
  people's places in alphabetical order of their folders.
  """

  name = "ms_celeb"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_FILES,)

  def _info(self):
    return pictures.info(
      self,
      description="Photographs of the faces of 10,000 people.",
      num_classes=catalog.entry(self.name).num_classes,
      homepage="https://arxiv.org/abs/1607.08221",
      citation="""@inproceedings{guo2016msceleb,
  title = {{MS-Celeb-1M}: a dataset and benchmark for large-scale face recognition},
  author = {Guo, Yandong and Zhang, Lei and Hu, Yuxiao and He, Xiaodong and Gao, Jianfeng},
  booktitle = {European Conference on Computer Vision},
  year = {2016},
}""",
    )

  def _split_generators(self, dl_manager):
    path = archives.locate(_FILES, dl_manager.manual_dir)
    of_person = collections.defaultdict(list)
    for file in _files(path):
      *_, person, picture = file.name.split("/")
      if picture.lower().endswith(_SUFFIXES):
        of_person[person].append(file.name)
    people, train, test = _draw(of_person, catalog.entry(self.name).num_classes)
    self.info.features["label"].names = people
    return {
      "train": self._generate_examples(path, train),
      "test": self._generate_examples(path, test),
    }

  def _generate_examples(self, path, labels):
    return pictures.examples(_files(path), labels, vouched=False)


def _files(path):
  return sources.files(path, max_bytes=_MAX_BYTES, max_members=_MAX_MEMBERS)


def _draw(
  of_person: dict[str, list[str]], num_people: int
) -> tuple[list[str], dict[str, int], dict[str, int]]:
  """Draws people, and training and test photographs of each.

  Args:
    of_person: the names of the files of each person.
    num_people: how many to draw.

  Returns:
    The people, and the class of each training and of each test photograph.

  Raises:
    ValueError: if too few people have enough photographs.
  """
  eligible = sorted(person for person, files in of_person.items() if len(files) > _MORE_THAN)
  if len(eligible) < num_people:
    raise ValueError(
      f"{len(eligible)} people have more than {_MORE_THAN} photographs, but {num_people} are wanted"
    )
  # RandomState and not Generator: NumPy promises that its stream stays the same for ever.
  random = np.random.RandomState(_SEED)
  people = sorted(random.permutation(eligible)[:num_people].tolist())
  train, test = {}, {}
  for label, person in enumerate(people):
    files = random.permutation(sorted(of_person[person])).tolist()
    train |= dict.fromkeys(files[:_NUM_TRAIN], label)
    test |= dict.fromkeys(files[_NUM_TRAIN : _NUM_TRAIN + _NUM_TEST], label)
  return people, train, test
