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
    train_fraction: fraction of each class's training examples that there are at all, in (0, 1].
    label_noise: fraction of the training labels that are wrong, see `tagjax.benchmarks.noise`.
  """

  validation_fraction: float = 0.0
  train_examples_per_task: int | None = None
  test_examples_per_task: int | None = None
  data_seed: int = 0
  train_fraction: float = 1.0
  label_noise: float = 0.0


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
    ValueError: if a size is not positive, a fraction out of its range, or the seed negative.
  """
  sizes = {}
  for argument in ("train_examples_per_task", "test_examples_per_task"):
    size = getattr(selection, argument)
    sizes[argument] = None if size is None else checks.check_integer(argument, size, 1)
  return Selection(
    validation_fraction=checks.check_fraction("validation_fraction", selection.validation_fraction),
    data_seed=checks.check_integer("data_seed", selection.data_seed, 0),
    train_fraction=checks.check_share("train_fraction", selection.train_fraction),
    label_noise=checks.check_fraction("label_noise", selection.label_noise),
    **sizes,
  )


def select(
  selection: Selection,
  train: np.ndarray,
  test: np.ndarray,
  *,
  task_id: int,
  pool_id: int,
  label: np.ndarray | None = None,
  by_class: bool = False,
) -> Rows:
  """Draws the rows of one task.

  First of all `train_fraction` leaves `round(fraction n)` (halves upwards, at least one) of the n
  training examples of each class; there are no others then.

  Of n training examples, `round(f n)` are held out for validation, drawn without regard to their
  class. `train_examples_per_task = m` draws `round(f m)` of those held out and `m - round(f m)` of
  the others; a larger m adds to the examples of a smaller one.

  Args:
    selection: what is asked for, checked.
    train: rows of the training arrays that belong to the task.
    test: rows of the test arrays that belong to the task.
    task_id: the task, for the draws of subsets and for errors.
    pool_id: tasks that share a pool hold out the same examples: an image that validates one of
      them trains none of the others, permuted or rotated.
    label: int `[n]`, the classes of `train`; needed for what goes by class.
    by_class: hold out `round(f n)` of the n examples of each class. Tasks that share a pool but
      not all of their classes then hold out the same examples of the classes that they share.

  Raises:
    ValueError: if more examples are asked for than there are, or a part that is asked for would be
      empty.
  """
  fraction, seed = selection.validation_fraction, selection.data_seed
  if selection.train_fraction < 1:
    kept = _thin(selection, label, pool_id)
    train, label = train[kept], label[kept]
  total = _limit("train_examples_per_task", selection.train_examples_per_task, train, task_id)
  num_test = _limit("test_examples_per_task", selection.test_examples_per_task, test, task_id)
  held_out, others = _hold_out(selection, train, label if by_class else None, pool_id)
  # Where each class is rounded by itself, the whole may be more or less than `round(f n)`.
  num_held_out = int(np.clip(_round(fraction * total), total - len(others), len(held_out)))
  if total == num_held_out or (fraction > 0 and num_held_out == 0):
    part = "training" if total == num_held_out else "validation"
    raise ValueError(
      f"validation_fraction={fraction} of the {total} training examples of task {task_id} leaves "
      f"no {part} examples: choose another fraction, or more training examples"
    )
  draw_train = checks.generator(seed, "train subset", task_id)
  draw_test = checks.generator(seed, "test subset", task_id)
  return Rows(
    train=_subset(others, total - num_held_out, draw_train),
    validation=_subset(held_out, num_held_out, draw_train),
    test=_subset(test, num_test, draw_test),
  )


def _thin(selection: Selection, label: np.ndarray, pool_id: int) -> np.ndarray:
  """Ascending places of the examples that `train_fraction` leaves of each class."""
  kept = []
  for one_class in np.unique(label):
    places = np.flatnonzero(label == one_class)
    draw = checks.generator(selection.data_seed, "train fraction", pool_id, int(one_class))
    kept.append(draw.permutation(places)[: max(1, _round(selection.train_fraction * len(places)))])
  return np.sort(np.concatenate(kept))


def _hold_out(
  selection: Selection, train: np.ndarray, label: np.ndarray | None, pool_id: int
) -> tuple[np.ndarray, np.ndarray]:
  """The examples held out of `train`, and the others; class by class if `label` is given."""
  fraction, seed = selection.validation_fraction, selection.data_seed
  if fraction == 0:
    return train[:0], train
  if label is None:
    shuffled = checks.generator(seed, "validation", pool_id).permutation(train)
    return tuple(np.split(shuffled, [_round(fraction * len(train))]))
  parts = []
  for one_class in np.unique(label):
    draw = checks.generator(seed, "validation", pool_id, int(one_class))
    shuffled = draw.permutation(train[label == one_class])
    parts.append(np.split(shuffled, [_round(fraction * len(shuffled))]))
  held_out, others = (np.concatenate(part) for part in zip(*parts, strict=True))
  return held_out, others


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
