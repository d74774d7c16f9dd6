"""ImageNet: 1,331,167 photographs in the 1,000 classes of its 2012 challenge.

References:
  O. Russakovsky et al., ImageNet large scale visual recognition challenge, International Journal of
  Computer Vision 115, 2015, https://arxiv.org/abs/1409.0575

Differs from the reference code:
  iTAML trains on random crops of 112 x 112 and tests on the centre, 112 x 112 of an image whose
  shorter side was brought to 115. The arrays here have the centre in both splits, 112 x 112 of an
  image whose shorter side was brought to 112.
"""

import io

import scipy.io
import tensorflow_datasets as tfds

from tagjax.datasets import archives, members, pictures, synsets

_PAGE = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
_HOW = "after registration"
_TRAIN = archives.ByHand(
  names=("ILSVRC2012_img_train.tar",),
  page=_PAGE,
  how=_HOW,
  size=147_897_477_120,
  sha256="b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb",
)
_TEST = archives.ByHand(
  names=("ILSVRC2012_img_val.tar",),
  page=_PAGE,
  how=_HOW,
  size=6_744_924_160,
  sha256="c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0",
)
_DEVKIT = archives.ByHand(
  names=("ILSVRC2012_devkit_t12.tar.gz",),
  page=_PAGE,
  how=_HOW,
  sha256="b59243268c0d266621fd587d2018f69e906fb22875aca0e295b48cafaa927953",
)
_SYNSETS = "ILSVRC2012_devkit_t12/data/meta.mat"
_TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
_MAX_BYTES = 2**38
_NUM_CLASSES = 1000


class Imagenet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares ImageNet: 1,281,167 photographs to train on and 50,000 to test on.

  The test examples are the validation set of its authors, who keep the labels of their test set.
  The label is the place of the class among the sorted WordNet numbers, as everywhere, not the
  number that the development kit gives it. A few files are PNG or have four colours (CMYK), though
  all are called JPEG.
  """

  name = "imagenet"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_TRAIN, _TEST, _DEVKIT)

  def _info(self):
    return pictures.info(
      self,
      description="Photographs in the 1,000 classes of the ImageNet challenge of 2012.",
      num_classes=_NUM_CLASSES,
      homepage="https://image-net.org/",
      citation="""@article{russakovsky2015imagenet,
  title = {{ImageNet} large scale visual recognition challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev
            and Ma, Sean and Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein,
            Michael and Berg, Alexander C. and Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume = {115},
  year = {2015},
}""",
    )

  def _split_generators(self, dl_manager):
    train, test, devkit = (archives.locate(file, dl_manager.manual_dir) for file in self.BY_HAND)
    kit = members.read(devkit, [_SYNSETS, _TRUTH], max_bytes=2**30)
    words = _read_synsets(kit[_SYNSETS])
    pictures.expect(f"classes in {devkit}", len(words), _NUM_CLASSES)
    wnids = [wnid for wnid, _ in words.values()]
    self.info.features["label"].names = synsets.class_names(sorted(wnids), dict(words.values()))
    label_of = {wnid: label for label, wnid in enumerate(sorted(wnids))}
    truth = kit[_TRUTH].decode().split()
    unknown = sorted(set(truth) - set(map(str, words)))
    if unknown:
      raise ValueError(f"{_TRUTH}: {unknown[0]} is not the number of a class")
    test_labels = {
      f"ILSVRC2012_val_{image:08d}.JPEG": label_of[words[int(number)][0]]
      for image, number in enumerate(truth, 1)
    }
    return {
      "train": self._generate_train(train, label_of),
      "test": self._generate_examples(test, test_labels),
    }

  def _generate_train(self, path, label_of):
    """The pictures of a tar that holds a tar for each class; each is read where it lies."""
    missing = set(label_of)
    for inner in members.members(path, max_bytes=_MAX_BYTES):
      wnid = inner.name.removesuffix(".tar")
      if wnid in missing:
        missing.remove(wnid)
        with inner.open() as file:
          for picture in members.members(file, max_bytes=inner.size):
            yield pictures.example(picture, label_of[wnid], vouched=True)
    if missing:
      raise ValueError(f"{path} lacks {len(missing)} of its classes, as {min(missing)}.tar")

  def _generate_examples(self, path, labels):
    return pictures.examples(members.members(path, max_bytes=_MAX_BYTES), labels, vouched=True)


def _read_synsets(meta: bytes) -> dict[int, tuple[str, str]]:
  """WordNet number and synonyms of each class, under the number that the kit gives it.

  The table also has the 860 synsets above the classes; these have children.
  """
  table = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
  return {
    int(row["ILSVRC2012_ID"]): (str(row["WNID"]), str(row["words"]))
    for row in table
    if int(row["num_children"]) == 0
  }
