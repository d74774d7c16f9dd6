"""Configurations of shared layers by name."""

import pytest

from tagjax.core.sharing import resolve_sharing


@pytest.mark.parametrize(
  ("sharing", "row"),
  [
    ("all", "TTTT"),
    ("none", "FFFF"),
    ("top-1", "FFFT"),
    ("top-4", "TTTT"),
    ("bottom-3", "TTTF"),
    ("bottom-0", "FFFF"),
    ("alternating", "FTFT"),
    ("alternating-2", "TFTF"),
    ("ffTt", "FFTT"),
    ((True, False, False, True), "TFFT"),
  ],
)
def test_names_are_those_of_the_paper(sharing, row):
  assert resolve_sharing(sharing, 4) == tuple(letter == "T" for letter in row)


@pytest.mark.parametrize(
  ("sharing", "message"),
  [
    ("tpo-2", r"sharing='tpo-2' is unknown \(did you mean top-2"),
    ("alternate", "did you mean alternating"),
    ("top-5", "more layers than the 4 convolutions"),
    ("TTF", "has 3 values: give one for each of the 4"),
    ((True,), "has 1 values"),
  ],
)
def test_what_is_no_configuration_is_one_line(sharing, message):
  with pytest.raises(ValueError, match=message) as error:
    resolve_sharing(sharing, 4)
  assert "\n" not in str(error.value)
