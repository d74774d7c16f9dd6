import numpy as np
import pytest
from picture_files import encoded, pixels, zipped

from tagjax import datasets
from tagjax.datasets.builders import tiny_imagenet

FOLDER = "tiny-imagenet-200"
WNIDS = [f"n{number:08d}" for number in range(200)]


@pytest.fixture
def members():
  """The archive with a training and a test picture of each class; classes out of order.

  The pictures are PNG, whatever their names say, so that they can be compared exactly.
  """
  shuffled = np.random.default_rng(0).permutation(WNIDS).tolist()
  found = {
    f"{FOLDER}/wnids.txt": "\n".join(shuffled).encode(),
    f"{FOLDER}/words.txt": "".join(
      f"{wnid}\t{'crane' if wnid in WNIDS[:2] else f'thing {wnid}, Res {wnid}'}\n"
      for wnid in [*WNIDS, "n99999999"]
    ).encode(),
    f"{FOLDER}/test/images/test_0.JPEG": b"without a label",
  }
  for label, wnid in enumerate(WNIDS):
    found[f"{FOLDER}/train/{wnid}/images/{wnid}_0.JPEG"] = encoded(pixels(label, 64, 64))
    found[f"{FOLDER}/train/{wnid}/{wnid}_boxes.txt"] = b""
    found[f"{FOLDER}/val/images/val_{label}.JPEG"] = encoded(pixels(1000 + label, 64, 64))
  found[f"{FOLDER}/val/val_annotations.txt"] = "".join(
    f"val_{label}.JPEG\t{wnid}\t0\t32\t44\t62\n" for label, wnid in enumerate(WNIDS)
  ).encode()
  return found


@pytest.fixture
def load(offer):
  def load(members):
    offer(tiny_imagenet.TinyImagenet, {"tiny-imagenet-200.zip": zipped(members)})
    return datasets.load("tiny_imagenet")

  return load


def test_prepares_both_splits_with_sorted_classes(load, members, same_examples):
  loaded = load(members)
  label = np.arange(200)
  same_examples(loaded.train, np.stack([pixels(seed, 64, 64) for seed in label]), label)
  same_examples(loaded.test, np.stack([pixels(1000 + seed, 64, 64) for seed in label]), label)
  assert loaded.class_names[1] == "crane (n00000001)"
  assert loaded.class_names[2] == "thing n00000002, Res n00000002"


def test_grey_pictures_are_read_as_coloured_ones(load, members):
  name = f"{FOLDER}/train/{WNIDS[5]}/images/{WNIDS[5]}_0.JPEG"
  members[name] = encoded(pixels(5, 64, 64), "JPEG", mode="L")
  loaded = load(members)
  image = loaded.train.image[int(np.flatnonzero(loaded.train.label == 5)[0])].astype(int)
  assert (image == image[..., :1]).all()
  luminance = pixels(5, 64, 64) @ [0.299, 0.587, 0.114]
  assert np.abs(image[..., 0] - luminance).max() < 8


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("val/images/val_3.JPEG", None, r"1 of 200 pictures are missing.*val_3\.JPEG"),
    ("val/val_annotations.txt", None, r"has no file .*val_annotations\.txt"),
    ("words.txt", lambda text: text[: text.index(b"n00000199")], "1 classes have no name, as n0"),
    ("wnids.txt", lambda text: text[:-10], "do not match"),
    (
      "val/val_annotations.txt",
      lambda text: text.replace(b"n00000007", b"n12345678"),
      "names n12345678, which is no class",
    ),
  ],
)
def test_an_archive_of_another_layout_is_refused(load, members, name, change, message):
  content = members.pop(f"{FOLDER}/{name}")
  if change is not None:
    assert change(content) != content
    members[f"{FOLDER}/{name}"] = change(content)
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    load(members)


def test_a_picture_of_another_size_is_not_resized(load, members):
  members[f"{FOLDER}/val/images/val_3.JPEG"] = encoded(pixels(0, 63, 64))
  with pytest.raises(datasets.DatasetUnavailableError, match=r"has shape \(63, 64, 3\)"):
    load(members)
