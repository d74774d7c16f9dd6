"""Office-Home: 15,588 pictures of 65 everyday things, each in four domains.

References:
  H. Venkateswara, J. Eusebio, S. Chakraborty and S. Panchanathan, Deep hashing network for
  unsupervised domain adaptation, CVPR 2017, https://arxiv.org/abs/1706.07522

Differs from the reference code:
  LASEM splits each class 60/10/30 into training, validation and test. Its lists are not public;
  here 30 % are chosen by `splits.in_proportion`, and a stream takes its validation examples from
  the others.
"""

import tensorflow_datasets as tfds

from tagjax.datasets import archives, catalog, pictures, sources, splits

_ARCHIVE = archives.ByHand(
  names=("OfficeHomeDataset_10072016.zip", "OfficeHomeDataset_10072016"),
  page="https://www.hemanthdv.org/officeHomeDataset.html",
  how="(1 GB, from the Google Drive that the page links to)",
)
_MAX_BYTES = 8 * 2**30
_DOMAINS = ("Art", "Clipart", "Product", "RealWorld")
_NUM_THINGS = 65
_SUFFIXES = (".jpg", ".jpeg", ".png")


class OfficeHome(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Prepares Office-Home: of each thing in each domain 70 % to train on and 30 % to test on.

  A class is a thing in a domain: `65 domain + thing`, both sorted by name, capitals before small
  letters: `Art/Alarm_Clock` is 0, `RealWorld/Webcam` is 259.
  """

  name = "office_home"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()
  BY_HAND = (_ARCHIVE,)

  def _info(self):
    return pictures.info(
      self,
      description="Pictures of 65 everyday things: art, clip art, products, the real world.",
      num_classes=len(_DOMAINS) * _NUM_THINGS,
      homepage="https://www.hemanthdv.org/officeHomeDataset.html",
      citation="""@inproceedings{venkateswara2017deep,
  title = {Deep hashing network for unsupervised domain adaptation},
  author = {Venkateswara, Hemanth and Eusebio, Jose and Chakraborty, Shayok and Panchanathan,
            Sethuraman},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2017},
}""",
    )

  def _split_generators(self, dl_manager):
    path = archives.locate(_ARCHIVE, dl_manager.manual_dir)
    class_of = {}
    for file in sources.files(path, max_bytes=_MAX_BYTES):
      name = _class_name(file.name)
      if name is not None:
        class_of[file.name] = name
    names = sorted(set(class_of.values()))
    _check(names)
    self.info.features["label"].names = names
    num_train, num_test = catalog.entry(self.name).sizes
    pictures.expect(f"pictures in {path}", len(class_of), num_train + num_test)
    labels = {file: names.index(name) for file, name in class_of.items()}
    train, test = splits.divided(labels, num_test)
    return {
      "train": self._generate_examples(path, train),
      "test": self._generate_examples(path, test),
    }

  def _generate_examples(self, path, labels):
    files = sources.files(path, max_bytes=_MAX_BYTES)
    return pictures.examples(files, labels, vouched=False)


def _class_name(file: str) -> str | None:
  """`Domain/Thing` of a picture in `.../Domain/Thing/file`, or None where a file is no picture."""
  *_, domain, thing, _ = ["", "", *file.split("/")]
  domain = domain.replace(" ", "")  # "Real World" in the original, "RealWorld" in some copies
  is_picture = domain in _DOMAINS and file.lower().endswith(_SUFFIXES)
  return f"{domain}/{thing}" if is_picture else None


def _check(names: list[str]) -> None:
  """Fails unless every domain shows the same 65 things."""
  things = {
    domain: {name.partition("/")[2] for name in names if name.startswith(f"{domain}/")}
    for domain in _DOMAINS
  }
  every = set.union(*things.values())
  for domain in _DOMAINS:
    missing = sorted(every - things[domain])
    if missing:
      raise ValueError(f"the domain {domain} has no pictures of {', '.join(missing)}")
  pictures.expect("things in each domain", len(every), _NUM_THINGS)
