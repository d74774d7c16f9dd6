"""Readers of the small text tables that come with data sets: numbered lists and matrices."""


def numbered(text: str, where: str) -> list[str]:
  r"""The values of a table of lines `NUMBER VALUE`, in the order of the numbers 1, 2, 3, ...

  Args:
    text: the table; empty lines are passed over.
    where: the file it is from, for the error.

  Raises:
    ValueError: if a line has another form, or the numbers are not 1 to the number of lines.

  >>> numbered("2 sea horse\n1 cat\n", "classes.txt")
  ['cat', 'sea horse']
  """
  rows = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
  for row in rows:
    if len(row) != 2 or not row[0].isdecimal():
      raise ValueError(f"{where}: {' '.join(row)!r} is not a number and a value")
  values = {int(number): value.strip() for number, value in rows}
  if sorted(values) != list(range(1, len(rows) + 1)):
    raise ValueError(f"{where}: its numbers are not 1 to {len(rows)}, each once")
  return [values[number] for number in sorted(values)]


def integers(text: str, where: str, low: int, high: int) -> list[int]:
  r"""The values of a numbered table as integers.

  Args:
    text: see `numbered`.
    where: see `numbered`.
    low: the smallest that a value may be.
    high: the largest.

  Raises:
    ValueError: as `numbered` does, and if a value is no integer from `low` to `high`.

  >>> integers("1 0\n2 1\n", "train_test_split.txt", 0, 1)
  [0, 1]
  """
  values = numbered(text, where)
  for value in values:
    if not value.isdecimal() or not low <= int(value) <= high:
      raise ValueError(f"{where}: {value!r} is not a number from {low} to {high}")
  return [int(value) for value in values]


def matrix(text: str, where: str, num_rows: int, num_columns: int) -> list[list[float]]:
  r"""The numbers of a table, a line for each row, as lists of floats.

  Args:
    text: the table; any white space separates the numbers.
    where: the file it is from, for the error.
    num_rows: the number of rows that it must have.
    num_columns: the number of numbers that each of them must have.

  Raises:
    ValueError: if it has another shape or holds anything else.

  >>> matrix("1 2.5\n-1  100\n", "attributes.txt", 2, 2)
  [[1.0, 2.5], [-1.0, 100.0]]
  """
  try:
    rows = [[float(number) for number in line.split()] for line in text.splitlines()]
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error
  rows = [row for row in rows if row]
  lengths = {len(row) for row in rows}
  if len(rows) != num_rows or lengths != {num_columns}:
    raise ValueError(
      f"{where} has {len(rows)} rows of {sorted(lengths)} numbers, not {num_rows} of {num_columns}"
    )
  return rows
