"""One task of a stream: how to make its examples, and the examples once they are made."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import holdout, lazy


class TaskExamples:
  """Examples of one task, or of several together.

  Attributes:
    image: `[N, ...]`, as stored (uint8); lazy (`tagjax.benchmarks.lazy`) where the data set is not
      in memory.
    label: int32 `[N]`, the output of the head that should be largest.
    task_id: int32 `[N]`, the task that each example belongs to.
  """

  def __init__(self, image: np.ndarray, label: np.ndarray, task_id: int | np.ndarray):
    self.image = image
    self.label = label
    self.task_id = np.broadcast_to(np.asarray(task_id, np.int32), label.shape)

  @classmethod
  def together(cls, parts: Sequence["TaskExamples"]) -> "TaskExamples":
    """The examples of several tasks, one task after another."""
    return cls(
      lazy.join([part.image for part in parts]),
      np.concatenate([part.label for part in parts]),
      np.concatenate([part.task_id for part in parts]),
    )

  def __len__(self) -> int:
    return len(self.label)

  def __repr__(self) -> str:
    return f"TaskExamples({len(self)} of {self.image.dtype} {self.image.shape[1:]})"


class TaskPlan(NamedTuple):
  """How to make the examples of one task.

  Attributes:
    name: what distinguishes the task.
    train: the examples that training and validation draw from; may be mapped from a file, or
      lazy (`tagjax.benchmarks.lazy`).
    test: the examples that the test draws from; the same.
    rows: the rows of both that belong to the task.
    outputs: int32 `[C]`, the output of the head for each stored label; -1 if not of this task.
    transform: images -> images, row by row; None to leave them as they are.
    noisy_label: int `[n_train]`, what `rows.train` are taught instead of their stored labels; None:
      those.
    class_names: the name of each stored label; empty where they have none.
    attributes: float32 `[C, a]`, what distinguishes the classes; None: unknown.
  """

  name: str
  train: datasets.Examples
  test: datasets.Examples
  rows: holdout.Rows
  outputs: np.ndarray
  transform: Callable[[np.ndarray], np.ndarray] | None = None
  noisy_label: np.ndarray | None = None
  class_names: tuple[str, ...] = ()
  attributes: np.ndarray | None = None

  def train_label(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Stored labels that the training examples are taught, or those `chosen` of them."""
    if self.noisy_label is not None:
      return self.noisy_label[chosen]
    return self.train.label[self.rows.train[chosen]]

  def names_of_outputs(self) -> dict[int, str]:
    """The name of the class that each output of the task stands for, by ascending outputs."""
    return {
      int(self.outputs[stored]): self.class_names[stored] if self.class_names else str(stored)
      for stored in np.argsort(self.outputs)
      if self.outputs[stored] >= 0
    }


class Visit(NamedTuple):
  """Training examples of one task that an experience shows.

  Attributes:
    plan: the task that they are of; it says how they look and which outputs they are taught.
    task_id: the task that they count to.
    chosen: which of the task's training examples; all by default.
  """

  plan: TaskPlan
  task_id: int
  chosen: np.ndarray | slice = slice(None)

  @property
  def label(self) -> np.ndarray:
    """int32 `[N]`, the outputs that the examples are taught."""
    return self.plan.outputs[self.plan.train_label(self.chosen)]

  def only(self, place: int) -> "Visit":
    """One of the examples alone."""
    chosen = np.arange(len(self.plan.rows.train))[self.chosen]
    return self._replace(chosen=chosen[place : place + 1])

  def make(self) -> TaskExamples:
    """The examples."""
    pool, rows = self.plan.train, self.plan.rows.train[self.chosen]
    label = self.plan.train_label(self.chosen)
    return _make_examples(self.plan, pool, rows, label, self.task_id)


class Experience:
  """One task: its training, validation and test examples.

  Each part is made when first looked at, and lives as long as the experience: who only evaluates
  never makes training images.

  Attributes:
    task_id: place of the task in the stream, from 0.
    name: what distinguishes the task.
  """

  def __init__(self, task_id: int, plan: TaskPlan, visits: Sequence[Visit] | None = None):
    """Made by a stream; `visits`: where the training examples come from, None: all from `plan`."""
    self.task_id = task_id
    self.name = plan.name
    self._plan = plan
    self._visits = [Visit(plan, task_id)] if visits is None else list(visits)

  @functools.cached_property
  def train(self) -> TaskExamples:
    """Examples to learn from."""
    parts = [visit.make() for visit in self._visits]
    return parts[0] if len(parts) == 1 else TaskExamples.together(parts)

  def some_of_train(self, choose: Callable[[np.ndarray], np.ndarray]) -> TaskExamples:
    """Some of the examples to learn from, without making the others.

    Args:
      choose: int32 `[N]`, the labels of all of them -> the rows that are wanted.
    """
    labels = [visit.label for visit in self._visits]
    ends = np.cumsum([len(label) for label in labels])
    wanted = []
    for row in choose(np.concatenate(labels)):
      number = int(np.searchsorted(ends, row, side="right"))
      place = row - ends[number] + len(labels[number])
      wanted.append(self._visits[number].only(place))
    return TaskExamples.together([visit.make() for visit in wanted])

  @functools.cached_property
  def validation(self) -> TaskExamples:
    """Examples for choosing hyper-parameters; none unless a fraction was asked for."""
    return self._make(self._plan.train, self._plan.rows.validation)

  @functools.cached_property
  def test(self) -> TaskExamples:
    """Examples for reporting, and for nothing else."""
    return self._make(self._plan.test, self._plan.rows.test)

  def _make(self, pool: datasets.Examples, rows: np.ndarray) -> TaskExamples:
    return _make_examples(self._plan, pool, rows, pool.label[rows], self.task_id)

  def __repr__(self) -> str:
    sizes = ", ".join(str(len(rows)) for rows in self._plan.rows)
    return f"Experience({self.task_id}, {self.name!r}, train, validation, test = {sizes})"


def _make_examples(
  plan: TaskPlan, pool: datasets.Examples, rows: np.ndarray, label: np.ndarray, task_id: int
) -> TaskExamples:
  image = lazy.choose(pool, rows, plan.transform)
  return TaskExamples(image, plan.outputs[label], task_id)
