import io
import tracemalloc

import numpy as np
import pytest
import scipy.io
from picture_files import encoded, pixels, tarred

from tagjax import datasets
from tagjax.datasets import decode
from tagjax.datasets.builders import imagenet

WNIDS = [f"n{number:08d}" for number in range(1000)]
IDS = np.random.default_rng(0).permutation(1000) + 1
"""What the development kit calls each of them: another order."""
KIT = "ILSVRC2012_devkit_t12/data"


def _meta(num_leaves: int = 1000) -> bytes:
  """The kit's table: the classes and, behind them, the synsets above them."""
  fields = ("ILSVRC2012_ID", "WNID", "words", "num_children", "children")
  table = np.zeros((1002, 1), [(field, object) for field in fields])
  for wnid, number in zip(WNIDS, IDS.tolist(), strict=True):
    words = "crane" if wnid in WNIDS[:2] else f"thing {wnid}"
    is_leaf = number <= num_leaves
    table[number - 1, 0] = (number, wnid, words, 0 if is_leaf else 1, np.zeros((1, 0)))
  table[1000, 0] = (1001, "n99999998", "entity", 2, np.array([[1.0, 2.0]]))
  table[1001, 0] = (1002, "n99999999", "animal", 1, np.array([[1.0]]))
  buffer = io.BytesIO()
  scipy.io.savemat(buffer, {"synsets": table})
  return buffer.getvalue()


@pytest.fixture(scope="module")
def whole():
  """A training picture of each class and two of class 3; a test picture of the first 50 classes.

  The pictures are PNG, whatever their names say, so that they can be compared exactly.
  """
  classes = {
    f"{wnid}.tar": {f"{wnid}_7.JPEG": encoded(pixels(label))} for label, wnid in enumerate(WNIDS)
  }
  classes[f"{WNIDS[3]}.tar"][f"{WNIDS[3]}_12.JPEG"] = encoded(pixels(5000), "JPEG", "CMYK")
  return {
    "classes": {name: tarred(files) for name, files in classes.items()},
    "test": {
      f"ILSVRC2012_val_{number:08d}.JPEG": encoded(pixels(2000 + number)) for number in range(1, 51)
    },
    "kit": {
      f"{KIT}/meta.mat": _meta(),
      f"{KIT}/ILSVRC2012_validation_ground_truth.txt": "\n".join(map(str, IDS[:50])).encode(),
    },
  }


@pytest.fixture
def files(whole):
  return {name: dict(part) for name, part in whole.items()}


@pytest.fixture
def load(offer, tar_gz, monkeypatch):
  def load(files):
    unknown = tuple(file._replace(size=None, sha256=None) for file in imagenet.Imagenet.BY_HAND)
    monkeypatch.setattr(imagenet.Imagenet, "BY_HAND", unknown)
    offer(
      imagenet.Imagenet,
      {
        "ILSVRC2012_img_train.tar": tarred(files["classes"]),
        "ILSVRC2012_img_val.tar": tarred(files["test"]),
        "ILSVRC2012_devkit_t12.tar.gz": tar_gz(files["kit"]),
      },
    )
    return datasets.load("imagenet")

  return load


def _cropped(contents) -> np.ndarray:
  return np.stack([decode.decode(content, 3, (112, 112), "crop") for content in contents])


def test_labels_are_the_places_of_the_sorted_wordnet_numbers(load, files, same_examples):
  loaded = load(files)
  contents = [encoded(pixels(label)) for label in range(1000)]
  contents.append(encoded(pixels(5000), "JPEG", "CMYK"))
  same_examples(loaded.train, _cropped(contents), np.array([*range(1000), 3]))
  same_examples(loaded.test, _cropped(files["test"].values()), np.arange(50))
  assert loaded.class_names[1:3] == ("crane (n00000001)", "thing n00000002")


@pytest.mark.parametrize(
  ("part", "name", "content", "message"),
  [
    ("classes", "n00000123.tar", None, "lacks 1 of its classes, as n00000123.tar"),
    ("classes", "n00000123.tar", b"no tar at all" * 100, "is damaged or no tar or zip archive"),
    ("test", "ILSVRC2012_val_00000007.JPEG", None, "1 of 50 pictures are missing.*00007"),
    ("kit", f"{KIT}/meta.mat", None, "has no file .*meta.mat"),
    ("kit", f"{KIT}/meta.mat", _meta(999), "found 999, but the published set has 1000"),
    ("kit", f"{KIT}/ILSVRC2012_validation_ground_truth.txt", b"1\n1001", "1001 is not"),
  ],
)
def test_what_does_not_fit_is_refused(load, files, part, name, content, message):
  del files[part][name]
  if content is not None:
    files[part][name] = content
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    load(files)


def test_a_class_is_never_held_in_memory_as_a_whole(tmp_path):
  megabytes = 2**20
  picture = encoded(pixels(0)) + bytes(2 * megabytes)  # what follows a PNG does not matter
  inner = tarred({f"{WNIDS[0]}_{number}.JPEG": picture for number in range(16)})
  path = tmp_path / "train.tar"
  path.write_bytes(tarred({f"{WNIDS[0]}.tar": inner}))
  del inner
  builder = imagenet.Imagenet(data_dir=tmp_path)
  tracemalloc.start()
  try:
    count = sum(1 for _ in builder._generate_train(path, {WNIDS[0]: 0}))
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert count == 16
  assert peak < 10 * megabytes  # of 32


def test_says_what_to_fetch_and_what_is_known_of_it(offline):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("imagenet")
  for file in imagenet.Imagenet.BY_HAND:
    for part in (file.names[0], file.sha256, file.page, "registration"):
      assert part in str(error.value)
