import pytest

from tagjax.datasets import tables


def test_numbered_tables_come_with_tabs_blanks_and_windows_line_ends():
  text = "     1\tantelope\r\n     2\tgrizzly bear \r\n\r\n"
  assert tables.numbered(text, "classes.txt") == ["antelope", "grizzly bear"]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("1 a\nb\n", "classes.txt: 'b' is not a number and a value"),
    ("1 a\nb c\n", "'b c' is not a number and a value"),
    ("1 a\n3 c\n", "not 1 to 2, each once"),
    ("1 a\n1 b\n", "not 1 to 2, each once"),
    ("0 a\n1 b\n", "not 1 to 2, each once"),
  ],
)
def test_other_numberings_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    tables.numbered(text, "classes.txt")


@pytest.mark.parametrize("value", ["-1", "6", "1.5", "x"])
def test_integers_have_bounds(value):
  assert tables.integers("1 5\n2 0\n", "labels.txt", 0, 5) == [5, 0]
  with pytest.raises(ValueError, match=rf"labels.txt: '{value}' is not a number from 0 to 5"):
    tables.integers(f"1 {value}\n", "labels.txt", 0, 5)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("1 2\n", r"1 rows of \[2\] numbers, not 2 of 2"),
    ("1 2\n3\n", r"2 rows of \[1, 2\] numbers"),
    ("1 2\n3 x\n", "could not convert string to float: 'x'"),
    ("", r"0 rows of \[\] numbers"),
  ],
)
def test_a_matrix_has_its_shape(text, message):
  assert tables.matrix("\n 1  2\n-1\t1e2\n", "m.txt", 2, 2) == [[1, 2], [-1, 100]]
  with pytest.raises(ValueError, match=message):
    tables.matrix(text, "m.txt", 2, 2)
