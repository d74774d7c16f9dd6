"""The drawn characters: their fonts, their pictures and what is said of them."""

import itertools
import pathlib
import string

import numpy as np
import pytest

from tagjax.datasets.builders import glyphs

SPEC = pathlib.Path(__file__).parents[4] / "shared" / "specs" / "glyph_attributes.tsv"
DESCRIBED = glyphs.describe()


def attributes(character):
  row = DESCRIBED.attributes[DESCRIBED.characters.index(character)]
  return dict(zip(glyphs.ATTRIBUTES, row.tolist(), strict=True))


def test_letters_and_digits_have_27_attributes_each():
  characters = string.ascii_lowercase + string.ascii_uppercase + string.digits
  assert "".join(DESCRIBED.characters) == characters
  assert DESCRIBED.attributes.shape == (62, 27)
  assert len({tuple(row) for row in DESCRIBED.attributes}) >= 60
  text = (pathlib.Path(glyphs.__file__).parent / "glyph_attributes.tsv").read_text()
  used = {
    name for line in text.splitlines() if line[0] != "#" for name in line.split("\t")[2].split()
  }
  assert used == set(glyphs.FEATURES)


def test_some_that_anybody_can_check():
  assert (
    attributes("p")["descender"] == attributes("b")["tall"] == attributes("b")["stem_left"] == 1
  )
  assert attributes("H")["bar_middle"] == attributes("H")["free_ends"] == 1
  assert attributes("O")["free_ends"] == 0
  assert attributes("O")["few_ends"] == attributes("O")["mirror_left_right"] == 1
  for character in string.ascii_uppercase + string.digits:
    assert attributes(character)["tall"] == 1
  height = DESCRIBED.attributes[:, :3].sum(axis=1)
  np.testing.assert_array_equal(height, np.ones(62))


@pytest.mark.skipif(not SPEC.exists(), reason="the specification is not here")
def test_all_are_those_of_the_specification():
  lines = [line.split("\t") for line in SPEC.read_text().splitlines() if line[0] != "#"]
  assert lines[0][1:] == list(glyphs.ATTRIBUTES)
  expected = {line[0]: [float(value) for value in line[1:]] for line in lines[1:]}
  found = dict(zip(DESCRIBED.characters, DESCRIBED.attributes.tolist(), strict=True))
  assert found == expected


def test_no_font_of_the_test_trains():
  assert (len(glyphs.FONTS["train"]), len(glyphs.FONTS["test"])) == (16, 5)
  assert not set(glyphs.FONTS["train"]) & set(glyphs.FONTS["test"])


def test_pictures_are_distorted_characters_on_their_base_line():
  first, again = (list(itertools.islice(glyphs.draw("test"), 60)) for _ in range(2))
  np.testing.assert_array_equal([image for image, _ in first], [image for image, _ in again])
  assert {label for _, label in first} == {0}
  images = np.stack([image for image, _ in first])
  assert images.dtype == np.uint8
  assert images.shape == (60, 28, 28)
  assert len({image.tobytes() for image in images}) == 60
  ink = images.astype(float).mean(axis=0)
  ink /= ink.sum()
  rows, columns = ink.sum(axis=1), ink.sum(axis=0)
  assert rows[23:].sum() < 0.02  # an "a" stands on its base line
  assert rows[:6].sum() < 0.02
  assert abs(columns @ np.arange(28) - 13.5) < 1
