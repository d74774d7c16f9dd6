"""Glyphs: 62 characters in the fonts that come with matplotlib, and what they are made of.

Letters and digits are told apart by stems, bowls, bars and ends, which they share with each other:
a small world in which a class that was never seen can be known by its description. It takes the
place of CUB and AWA2 where these cannot be had.

The features of the characters, in glyph_attributes.tsv, were written down by hand, once.
"""

import importlib.resources
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFont

FONTS = {
  "train": (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic"),
    *("STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmtt10", "cmti10"),
  ),
  "test": ("DejaVuSansMono-Bold", "DejaVuSerif-Italic", "STIXGeneral", "cmss10", "cmb10"),
}
"""The fonts of each split: a test shows characters in fonts that no training example has."""

PER_FONT = {"train": 10, "test": 12}
"""Images of each character in each font, every one turned, sheared, scaled and shifted."""

SIZE = 28
_ZOOM = 3  # how much larger a character is drawn than it is shown
_EM, _BASELINE = 23, 21  # of the font, and where its letters stand, in pixels from the top
_MOST_TURN, _MOST_SHEAR, _MOST_SCALE, _MOST_SHIFT = 0.1, 0.05, 0.1, 1.0

FEATURES = (
  *("tall", "x_height", "descender", "loop_below", "loop_above"),
  *("stem_left", "stem_middle", "stem_right", "bar_top", "bar_middle", "bar_bottom"),
  *("diagonal_rising", "diagonal_falling", "bowl_on_the_left", "bowl_on_the_right"),
  *("arch", "cup", "dot", "wide", "narrow"),
  *("mirror_left_right", "mirror_top_bottom", "point_symmetric", "crossing", "hook"),
)
ATTRIBUTES = (*FEATURES, "free_ends", "few_ends")
"""What the 27 columns say: features that are there or not, and free ends / 4 and its complement."""


class Description(NamedTuple):
  """The characters and their attributes, float `[62, 27]`."""

  characters: tuple[str, ...]
  attributes: np.ndarray


def describe() -> Description:
  """Reads glyph_attributes.tsv.

  >>> described = describe()
  >>> row = described.attributes[described.characters.index("T")]
  >>> [(name, float(value)) for name, value in zip(ATTRIBUTES, row) if value]
  ... # doctest: +NORMALIZE_WHITESPACE
  [('tall', 1.0), ('stem_middle', 1.0), ('bar_top', 1.0), ('mirror_left_right', 1.0),
   ('free_ends', 0.75), ('few_ends', 0.25)]
  """
  text = (importlib.resources.files(__package__) / "glyph_attributes.tsv").read_text()
  lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
  rows = []
  for _, ends, features in lines:
    is_there = [float(name in features.split()) for name in FEATURES]
    rows.append([*is_there, int(ends) / 4, 1 - int(ends) / 4])
  return Description(tuple(character for character, *_ in lines), np.array(rows))


class Glyphs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Draws 9,920 images to train on, 160 of each character, and 3,720 for the test, 60 of each.

  Images are white on black, 28 x 28. The distortions are drawn with a fixed seed. The pixels depend
  on the version of FreeType inside Pillow, by a grey level or so.
  """

  name = "glyphs"
  VERSION = tfds.core.Version("1.0.0")
  URLS = ()

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description="Letters and digits in 21 fonts, with 27 attributes of each character.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Tensor(shape=(SIZE, SIZE, 1), dtype=np.uint8),
          "label": tfds.features.ClassLabel(names=list(describe().characters)),
        }
      ),
      metadata=tfds.core.MetadataDict(),
      supervised_keys=("image", "label"),
      homepage="https://matplotlib.org/",
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    self.info.metadata["attributes"] = describe().attributes.tolist()
    self.info.metadata["attribute_names"] = list(ATTRIBUTES)
    return {split: self._generate_examples(split) for split in FONTS}

  def _generate_examples(self, split):
    for number, (image, label) in enumerate(draw(split)):
      yield number, {"image": image[..., np.newaxis], "label": label}


def draw(split: str) -> Iterator[tuple[np.ndarray, int]]:
  """Images uint8 `[28, 28]` and labels of a split, class by class."""
  fonts = [_font(name) for name in FONTS[split]]
  # RandomState and not Generator: NumPy promises that its stream stays the same for ever.
  random = np.random.RandomState(list(FONTS).index(split))
  for label, character in enumerate(describe().characters):
    for font in fonts:
      drawn = _draw(character, font)
      for _ in range(PER_FONT[split]):
        yield _distort(drawn, random), label


def _font(name: str) -> ImageFont.FreeTypeFont:
  import matplotlib

  folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
  return ImageFont.truetype(folder / f"{name}.ttf", _EM * _ZOOM)


def _draw(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
  image = Image.new("L", (SIZE * _ZOOM, SIZE * _ZOOM))
  place = (SIZE * _ZOOM / 2, _BASELINE * _ZOOM)
  ImageDraw.Draw(image).text(place, character, fill=255, font=font, anchor="ms")
  return image


def _distort(image: Image.Image, random: np.random.RandomState) -> np.ndarray:
  """A random affine map around the middle, and the reduction to its size."""
  turn, shear, wider, taller, *shift = random.uniform(-1, 1, 6)
  cos, sin = np.cos(_MOST_TURN * turn), np.sin(_MOST_TURN * turn)
  matrix = np.array([[cos, -sin], [sin, cos]]) @ [[1, _MOST_SHEAR * shear], [0, 1]]
  matrix = matrix * (1 + _MOST_SCALE * np.array([wider, taller]))
  middle = np.full(2, SIZE * _ZOOM / 2)
  offset = middle - matrix @ (middle + _ZOOM * _MOST_SHIFT * np.array(shift))
  rows = np.column_stack([matrix, offset]).ravel().tolist()
  moved = image.transform(image.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
  return np.asarray(moved.reduce(_ZOOM))
