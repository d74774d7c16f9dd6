"""Attributes of the classes of the user's own images, from a CSV file."""

import csv
import os
from collections.abc import Mapping, Sequence

import numpy as np

from tagjax.core import untrusted
from tagjax.datasets import types

FILE = "attributes.csv"
"""The name of the file, beside the folders of the tasks."""

_MAX_BYTES = 2**26
_LARGEST = float(np.finfo(np.float32).max)


def read_attributes(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The attributes of each class, float32 `[a]`, by the class's name.

  The file has a heading (the word for a class, then the names of the attributes), and a line for
  each class: its name, then a number for each attribute.

  Args:
    path: the file.

  Raises:
    DatasetUnavailableError: if it cannot be read, or a line is not so; the text names the line.
  """
  try:
    lines = list(csv.reader(untrusted.read_text(path, _MAX_BYTES).splitlines()))
  except (OSError, ValueError, csv.Error) as error:
    reason = getattr(error, "strerror", None) or error
    raise types.DatasetUnavailableError(
      f"cannot read the attributes in {path}: {reason}"
    ) from error
  if not lines or len(lines[0]) < 2:
    raise types.DatasetUnavailableError(
      f"{path} must begin with a line 'class,NAME,...' that names the attributes, at least one"
    )
  found: dict[str, np.ndarray] = {}
  for number, line in enumerate(lines[1:], 2):
    if line:
      name, values = _read_line(f"{path}, line {number}", line, len(lines[0]) - 1)
      if name in found:
        raise types.DatasetUnavailableError(f"{path}, line {number}: class {name!r} comes twice")
      found[name] = np.array(values, np.float32)
  return found


def of_classes(
  known: Mapping[str, np.ndarray], names: Sequence[str], path: str | os.PathLike[str]
) -> np.ndarray:
  """float32 `[len(names), a]`, the rows of the classes with these names.

  Args:
    known: see `read_attributes`.
    names: of the classes, in order.
    path: the file, for the message.

  Raises:
    DatasetUnavailableError: if a class is missing.
  """
  missing = [name for name in names if name not in known]
  if missing:
    more = f" and of {len(missing) - 1} more" if len(missing) > 1 else ""
    raise types.DatasetUnavailableError(
      f"{path} has no line of class {missing[0]!r}{more}: add it, or move the file away"
    )
  return np.stack([known[name] for name in names])


def _read_line(where: str, line: list[str], count: int) -> tuple[str, list[float]]:
  name, *cells = (cell.strip() for cell in line)
  if len(cells) != count:
    raise types.DatasetUnavailableError(
      f"{where}: {len(cells)} attributes, the heading has {count}"
    )
  try:
    values = [float(cell) for cell in cells]
  except ValueError as error:
    raise types.DatasetUnavailableError(f"{where}: {error}") from error
  if not all(abs(value) <= _LARGEST for value in values):  # NaN is not
    raise types.DatasetUnavailableError(
      f"{where}: attributes must be finite, got {', '.join(cells)}"
    )
  return name, values
