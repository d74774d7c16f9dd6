"""Which examples of a task train, validate and test: drawn once, the same in every run."""

from typing import NamedTuple

import numpy as np

from tagjax.benchmarks import checks


class Selection(NamedTuple):
  """What is asked for of the examples of each task.

  Attributes:
    validation_fraction: fraction f of each task's training examples that is held out.
    train_examples_per_task: training examples that a task has, those held out included; None for
      all.
    test_examples_per_task: test examples that a task has; None for all.
    data_seed: seed of the draws.
  """

  validation_fraction: float = 0.0
  train_examples_per_task: int | None = None
  test_examples_per_task: int | None = None
  data_seed: int = 0


EVERYTHING = Selection()
"""All examples, none of them held out."""


class Rows(NamedTuple):
  """Ascending row numbers of a task's examples; train and validation index the same arrays.

  Attributes:
    train: int64 `[n_train]`.
    validation: int64 `[n_validation]`, disjoint from `train`.
    test: int64 `[n_test]`, rows of the test arrays.
  """

  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray


def check_selection(selection: Selection) -> Selection:
  """The selection in plain Python numbers.

  Raises:
    ValueError: if a size is not positive, the fraction outside [0, 1), or the seed negative.
  """
  sizes = {}
  for argument in ("train_examples_per_task", "test_examples_per_task"):
    size = getattr(selection, argument)
    sizes[argument] = None if size is None else checks.check_integer(argument, size, 1)
  return Selection(
    validation_fraction=checks.check_fraction("validation_fraction", selection.validation_fraction),
    data_seed=checks.check_integer("data_seed", selection.data_seed, 0),
    **sizes,
  )


def select(
  selection: Selection, train: np.ndarray, test: np.ndarray, *, task_id: int, pool_id: int
) -> Rows:
  """Draws the rows of one task.

  Of n training examples, `round(f n)` (halves upwards) are held out for validation, drawn without
  regard to their class. `train_examples_per_task = m` draws `round(f m)` of those held out and
  `m - round(f m)` of the others; a larger m adds to the examples of a smaller one.

  Args:
    selection: what is asked for, checked.
    train: rows of the training arrays that belong to the task.
    test: rows of the test arrays that belong to the task.
    task_id: the task, for the draws of subsets and for errors.
    pool_id: tasks that share a pool hold out the same examples: an image that validates one of
      them trains none of the others, permuted or rotated.

  Raises:
    ValueError: if more examples are asked for than there are, or a part that is asked for would be
      empty.
  """
  fraction, seed = selection.validation_fraction, selection.data_seed
  total = _limit("train_examples_per_task", selection.train_examples_per_task, train, task_id)
  num_test = _limit("test_examples_per_task", selection.test_examples_per_task, test, task_id)
  num_held_out = _round(fraction * total)
  if total == num_held_out or (fraction > 0 and num_held_out == 0):
    part = "training" if total == num_held_out else "validation"
    raise ValueError(
      f"validation_fraction={fraction} of the {total} training examples of task {task_id} leaves "
      f"no {part} examples: choose another fraction, or more training examples"
    )
  held_out, others = train[:0], train
  if fraction > 0:
    shuffled = checks.generator(seed, "validation", pool_id).permutation(train)
    held_out, others = np.split(shuffled, [_round(fraction * len(train))])
  draw_train = checks.generator(seed, "train subset", task_id)
  draw_test = checks.generator(seed, "test subset", task_id)
  return Rows(
    train=_subset(others, total - num_held_out, draw_train),
    validation=_subset(held_out, num_held_out, draw_train),
    test=_subset(test, num_test, draw_test),
  )


def _limit(argument: str, asked: int | None, rows: np.ndarray, task_id: int) -> int:
  if asked is not None and asked > len(rows):
    raise ValueError(
      f"{argument} is {asked}, but task {task_id} has {len(rows)}: ask for at most {len(rows)}"
    )
  return len(rows) if asked is None else asked


def _round(size: float) -> int:
  return int(np.floor(size + 0.5))


def _subset(rows: np.ndarray, size: int, draw: np.random.Generator) -> np.ndarray:
  chosen = rows if size == len(rows) else draw.permutation(rows)[:size]
  return np.sort(chosen)
