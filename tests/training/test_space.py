"""The notation of ranges, what is refused, and which values lie at an end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.core.errors import ConfigError
from tagjax.training.space import Range, at_edge, describe_space, parse_space

numbers = st.one_of(st.integers(-999, 999), st.floats(1e-9, 1e9))


@pytest.mark.parametrize(
  ("text", "kind", "wanted"),
  [
    ("1e-4..1e-1,log", None, Range(1e-4, 0.1, log=True)),
    (" 0.001 .. 0.1 , log ", float, Range(0.001, 0.1, log=True)),
    ("1..8", None, Range(1, 8)),
    ("1..8", float, Range(1.0, 8.0)),
    ("1..8.0", None, Range(1.0, 8.0)),
    ("-2..3", int, Range(-2, 3)),
    ("1e2..1e4,log", int, Range(100, 10_000, log=True)),
    ([1, 2], int, [1, 2]),
    (("tag", "er+tag"), str, ["tag", "er+tag"]),
    ([None, [8, 8]], object, [None, [8, 8]]),
  ],
)
def test_notation(text, kind, wanted):
  (found,) = parse_space({"key": text}, {"key": kind}).values()
  assert found == wanted
  if isinstance(found, Range):
    assert (type(found.low), type(found.high)) == (type(wanted.low), type(wanted.high))


@given(st.tuples(numbers, numbers), st.booleans())
def test_what_is_described_is_read_again(ends, log):
  low, high = sorted(map(type(ends[0]), ends))
  if low < high and (low > 0 or not log):
    space = {"key": Range(low, high, log=log)}
    assert parse_space(describe_space(space)) == space


@pytest.mark.parametrize(
  ("value", "kind", "message"),
  [
    ("1e-4", float, "must be such as '1e-4..1e-1,log'"),
    ("1e-4..", float, "must be such as"),
    ("1..2,lin", float, "must be such as"),
    ("a..b", None, "must be such as"),
    (0.1, float, "must be such as"),
    ({"low": 1}, float, "must be such as"),
    ("1..1", None, "must go from a finite number to a greater one"),
    ("2..1", float, "must go from a finite number to a greater one"),
    ("1..inf", float, "must go from a finite number to a greater one"),
    ("nan..1", float, "must go from a finite number to a greater one"),
    ("0..1,log", float, "must begin above 0"),
    ("0.5..3", int, "must be whole numbers"),
    ("1..3", object, "has no numbers between two others: give a list of choices"),
    ([], None, "must have choices, at least one"),
    ([1, 2, 1], None, "names a choice twice"),
  ],
)
def test_what_is_no_range(value, kind, message):
  with pytest.raises(ConfigError, match=message) as error:
    parse_space({"key": value}, {"key": kind}, "config.search")
  assert str(error.value).startswith(f"config.search: key={value!r} ")
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("space", [{}, ["learning_rate"], None, "1..2"])
def test_what_is_no_space(space):
  with pytest.raises(ConfigError, match=r"^space=.* must name keys and their ranges"):
    parse_space(space)


@pytest.mark.parametrize(
  ("own", "inside", "outside"),
  [
    (Range(0.0, 1.0), (0.06, 0.5, 0.94), (0.0, 0.05, 0.95, 1.0)),
    (Range(1e-4, 1.0, log=True), (2e-4, 0.01, 0.5), (1e-4, 1.5e-4, 0.7, 1.0)),
    (Range(1, 40), (2, 39), (1, 40)),
    ([1.0, 3.0, 2.0], (2.0,), (1.0, 3.0)),
    ([5], (5,), ()),
    (["a", "b"], ("a", "b"), ()),
    ([True, False], (True, False), ()),
  ],
)
def test_ends(own, inside, outside):
  assert all(at_edge({"key": own}, {"key": value}) == [] for value in inside)
  assert all(at_edge({"key": own}, {"key": value}) == ["key"] for value in outside)
  assert at_edge({"key": own}, None) == []


@given(st.floats(0, 1))
def test_a_position_is_the_share_of_the_way(share):
  assert Range(2.0, 10.0).position(2 + 8 * share) == pytest.approx(share, abs=1e-8)
  logarithmic = Range(1e-3, 10.0, log=True).position(np.exp(np.log(1e-3) + share * np.log(1e4)))
  assert logarithmic == pytest.approx(share, abs=1e-8)
