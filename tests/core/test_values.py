"""Texts and numbers become what an annotation asks for, or are refused with what it asks for."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.core.values import coerce, describe

SHADE = Literal["light", "dark"]


@pytest.mark.parametrize(
  ("value", "annotation", "wanted"),
  [
    ("3", int, 3),
    ("-3", int, -3),
    ("1e3", float, 1000.0),
    (2, float, 2.0),
    ("true", bool, True),
    ("0", bool, False),
    ("none", str, "none"),
    ("None", int | None, None),
    ("none", SHADE | None, None),
    ("none", str | None, None),
    ("light", SHADE | None, "light"),
    ("7", int | str, "7"),  # a text stays one where texts are allowed
    ("7", int | Literal["auto"], 7),
    ("auto", float | Literal["auto"] | None, "auto"),
    (3, float | int, 3),
    ("(1, 2)", tuple[int, ...], (1, 2)),
    ("1, 2", tuple[int, ...], (1, 2)),
    ([], tuple[int, ...], ()),
    ((1, 2), Sequence[float], (1.0, 2.0)),
    ((1, 0.5), tuple[int, float], (1, 0.5)),
    (["a", 3], tuple, ("a", 3)),
    ({"a": 1}, dict, {"a": 1}),
    ("anything", Any, "anything"),
  ],
)
def test_values_become_what_is_asked_for(value, annotation, wanted):
  found = coerce(value, annotation)
  assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
  ("value", "annotation", "message"),
  [
    ("3.0", int, "must be a whole number"),
    (3.0, int, "must be a whole number"),
    (True, int, "must be a whole number"),
    (True, float, "must be a number"),
    ("", float, "must be a number"),
    ([1], float, "must be a number"),
    ("yes", bool, "must be True or False"),
    (1, bool, "must be True or False"),
    (1, str, "must be a text"),
    ("x", int | None, "must be a whole number, or none"),
    ("lihgt", SHADE, r"is unknown .did you mean light... There are: light, dark"),
    ("lihgt", SHADE | None, r"is unknown .did you mean light... There are: light, dark"),
    (1, SHADE, "is unknown. There are: light, dark"),
    ("1, 2", tuple[int, int, int], "must have 3 values, and has 2"),
    ("1, x", tuple[int, ...], "must be whole numbers in brackets"),
    ("3", tuple[int, ...], "must be whole numbers in brackets"),
    ((1, 0.5), tuple[int, ...], "must be whole numbers in brackets"),
    ("(1, 2)", int | Literal["auto"], "must be a whole number, or one of auto"),
  ],
)
def test_others_are_refused(value, annotation, message):
  with pytest.raises(ValueError, match=f"^{message}$"):
    coerce(value, annotation)


INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.one_of(INTEGERS, FLOATS, st.booleans(), st.text()))
def test_what_has_the_type_already_stays_as_it_is(value):
  assert coerce(value, type(value)) == value
  if value not in ("none", "None"):
    assert coerce(value, type(value) | None) == value


@given(st.lists(INTEGERS))
def test_a_list_and_its_text_are_the_same(values):
  assert coerce(str(values), tuple[int, ...]) == coerce(values, tuple[int, ...]) == tuple(values)


@pytest.mark.parametrize(
  ("annotation", "text"),
  [
    (int, "a whole number"),
    (float | int | None, "a number, a whole number, or none"),
    (SHADE, "one of light, dark"),
    (tuple[str, ...], "texts in brackets"),
    (tuple[int, float], "numbers and whole numbers in brackets"),
    (tuple, "values in brackets"),
    (Any, "a value"),
    (str | bytes | None, "a text, or none"),
  ],
)
def test_annotations_in_words(annotation, text):
  assert describe(annotation) == text
