import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.datasets.builders import omniglot_by_drawer

BACKGROUND = {"Latin": 2, "Greek": 1}
EVALUATION = {"Angelic": 2}
CLASSES = (
  "Angelic/character01",
  "Angelic/character02",
  "Greek/character01",
  "Latin/character01",
  "Latin/character02",
)


def _png(ink) -> bytes:
  """One bit a pixel: 0 where ink is, 1 on the paper."""
  buffer = io.BytesIO()
  Image.fromarray(~ink).save(buffer, "png")
  return buffer.getvalue()


@pytest.fixture
def archives(monkeypatch):
  """The two archives of five characters, and for each name and drawer where its ink is."""
  monkeypatch.setattr(omniglot_by_drawer, "_NUM_CLASSES", len(CLASSES))
  rng = np.random.default_rng(0)
  drawings, files, number = {}, {}, 700
  for folder, alphabets in (("images_background", BACKGROUND), ("images_evaluation", EVALUATION)):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
      archive.writestr(f"{folder}/", b"")
      for alphabet, count in alphabets.items():
        for character in range(1, count + 1):
          number += 1
          for drawer in range(20, 0, -1):  # in an order of its own
            ink = rng.random((105, 105)) < 0.1
            name = f"{alphabet}/character{character:02d}"
            drawings[name, drawer] = ink
            archive.writestr(f"{folder}/{name}/{number:04d}_{drawer:02d}.png", _png(ink))
    files[f"{folder}.zip"] = buffer.getvalue()
  return files, drawings


def _expected(drawings, drawers):
  chosen = {key: ink for key, ink in drawings.items() if key[1] in drawers}
  image = np.where(np.array(list(chosen.values())), 0, 255).astype(np.uint8)
  label = np.array([CLASSES.index(name) for name, _ in chosen])
  return image, label


def test_the_first_fifteen_drawers_train_and_the_others_test(archives, offer, same_examples):
  files, drawings = archives
  offer(omniglot_by_drawer.OmniglotByDrawer, files)
  loaded = datasets.load("omniglot_by_drawer")
  same_examples(loaded.train, *_expected(drawings, range(1, 16)))
  same_examples(loaded.test, *_expected(drawings, range(16, 21)))
  assert loaded.train.image.shape == (75, 105, 105, 1)
  assert loaded.class_names == CLASSES


def test_ink_is_0_and_paper_255(archives, offer):
  files, _ = archives
  offer(omniglot_by_drawer.OmniglotByDrawer, files)
  image = datasets.load("omniglot_by_drawer").test.image
  values, counts = np.unique(image, return_counts=True)
  assert values.tolist() == [0, 255]
  assert counts[0] < counts[1] / 5


def test_a_missing_drawing_is_reported(archives, offer):
  files, _ = archives
  shorter = io.BytesIO()
  with (
    zipfile.ZipFile(io.BytesIO(files["images_evaluation.zip"])) as whole,
    zipfile.ZipFile(shorter, "w") as archive,
  ):
    for name in whole.namelist()[:-1]:
      archive.writestr(name, whole.read(name))
  offer(omniglot_by_drawer.OmniglotByDrawer, files | {"images_evaluation.zip": shorter.getvalue()})
  with pytest.raises(datasets.DatasetUnavailableError, match="do not hold 20 drawings a character"):
    datasets.load("omniglot_by_drawer")


def test_fewer_characters_than_there_should_be_are_reported(archives, offer, monkeypatch):
  files, _ = archives
  monkeypatch.setattr(omniglot_by_drawer, "_NUM_CLASSES", len(CLASSES) + 1)
  offer(omniglot_by_drawer.OmniglotByDrawer, files)
  with pytest.raises(datasets.DatasetUnavailableError, match="5 names VS 6"):
    datasets.load("omniglot_by_drawer")
