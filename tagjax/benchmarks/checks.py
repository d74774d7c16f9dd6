"""Checks of the arguments of a benchmark, and its seeded draws.

Every check raises a ValueError of one line that names the argument, its value and the way out.
"""

import numbers
from collections.abc import Sequence

import numpy as np

from tagjax.core.errors import nearest

MOST_TASKS = 100_000
MOST_INTEGERS = 1_000_000

# Only ever add at the end: the place of a purpose is part of its seed.
_PURPOSES = (
  "class order",
  "validation",
  "train subset",
  "test subset",
  "permutation",
  "rotation",
  "train fraction",
  "label noise",
  "leaving examples",
  "exchange",
  "classes of a task",
  "pixel noise",
  "channel order",
  "order of a run",
)


def generator(data_seed: int, purpose: str, task_id: int = 0, *details: int) -> np.random.Generator:
  """Random numbers for one purpose of one task, or of `details` of it such as a class.

  Each draw has a generator of its own, so that asking for a validation split, say, does not change
  the permutations. They depend on `data_seed` only: the seeds of a run vary the initialisation and
  the order of the batches, never the data.
  """
  return np.random.default_rng([data_seed, _PURPOSES.index(purpose), task_id, *details])


def check_integer(argument: str, value: object, minimum: int, maximum: int = 2**63 - 1) -> int:
  """`value` as an int of at least `minimum` and at most `maximum`."""
  is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not is_integer or value < minimum:
    raise ValueError(f"{argument} is {value!r}, must be an integer of at least {minimum}")
  if value > maximum:
    raise ValueError(f"{argument} is {value!r}, must be an integer of at most {maximum}")
  return int(value)


def check_fraction(argument: str, value: object) -> float:
  """`value` as a float in [0, 1)."""
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not 0 <= value < 1:
    raise ValueError(f"{argument} is {value!r}, must be a fraction in [0, 1), such as 0.1 for 10 %")
  return float(value)


def check_share(argument: str, value: object) -> float:
  """`value` as a float in (0, 1]."""
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not 0 < value <= 1:
    raise ValueError(f"{argument} is {value!r}, must be a fraction in (0, 1], 1 for everything")
  return float(value)


def check_integers(argument: str, value: object) -> tuple[int, ...]:
  """`value` as a tuple of integers from 0: a sequence, or a text of numbers and ranges.

  >>> check_integers("classes", "0-4, 7")
  (0, 1, 2, 3, 4, 7)
  >>> check_integers("classes", (3, 1, 2))
  (3, 1, 2)
  """
  try:
    found = _read_ranges(value) if isinstance(value, str) else tuple(value)
  except OverflowError:
    raise ValueError(
      f"{argument} is {value!r}, must have at most {MOST_INTEGERS} integers"
    ) from None
  except (TypeError, ValueError):
    found = ()
  is_integer = [isinstance(one, numbers.Integral) and not isinstance(one, bool) for one in found]
  if not found or not all(is_integer) or min(found) < 0:
    raise ValueError(
      f"{argument} is {value!r}, must be a sequence of integers from 0, or such a text as '0-4, 7'"
    )
  return tuple(int(one) for one in found)


def _read_ranges(text: str) -> tuple[int, ...]:
  found = []
  for piece in text.split(","):
    first, dash, last = piece.partition("-")
    numbers_of_piece = range(int(first), int(last if dash else first) + 1)
    if numbers_of_piece.stop - numbers_of_piece.start > MOST_INTEGERS - len(found):
      raise OverflowError("counted before they are made")
    found.extend(numbers_of_piece)
  return tuple(found)


def check_choice(argument: str, value: object, choices: Sequence[str]) -> str:
  """`value` if it is one of `choices`; the error names the nearest ones."""
  if isinstance(value, str) and value in choices:
    return value
  raise ValueError(
    f"{argument}={value!r} is unknown{nearest(value, choices)}. There are: {', '.join(choices)}"
  )


def check_pool(where: str, image: np.ndarray, label: np.ndarray, num_classes: int) -> None:
  """Images and labels of one split of a data set fit each other and its number of classes."""
  if len(image) != len(label):
    raise ValueError(f"{where}: {len(image)} images, but {len(label)} labels")
  if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
    raise ValueError(f"{where}: labels are {label.dtype} {label.shape}, must be integers [N]")
  if len(label) == 0:
    raise ValueError(f"{where}: there are none, a task needs at least one")
  outside = label[(label < 0) | (label >= num_classes)]
  if outside.size:
    raise ValueError(
      f"{where}: label {outside[0]} lies outside the {num_classes} classes, 0 to {num_classes - 1}"
    )
