"""A stream of experiences: the tasks of a benchmark, one after another, made when asked for."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tagjax import base, datasets
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
  """

  name: str
  train: datasets.Examples
  test: datasets.Examples
  rows: holdout.Rows
  outputs: np.ndarray
  transform: Callable[[np.ndarray], np.ndarray] | None = None


class Experience:
  """One task: its training, validation and test examples.

  Each part is made when first looked at, and lives as long as the experience: who only evaluates
  never makes training images.

  Attributes:
    task_id: place of the task in the stream, from 0.
    name: what distinguishes the task.
  """

  def __init__(self, task_id: int, plan: TaskPlan):
    self.task_id = task_id
    self.name = plan.name
    self._plan = plan

  @functools.cached_property
  def train(self) -> TaskExamples:
    """Examples to learn from."""
    return self._make(self._plan.train, self._plan.rows.train)

  @functools.cached_property
  def validation(self) -> TaskExamples:
    """Examples for choosing hyper-parameters; none unless a fraction was asked for."""
    return self._make(self._plan.train, self._plan.rows.validation)

  @functools.cached_property
  def test(self) -> TaskExamples:
    """Examples for reporting, and for nothing else."""
    return self._make(self._plan.test, self._plan.rows.test)

  def _make(self, pool: datasets.Examples, rows: np.ndarray) -> TaskExamples:
    image = lazy.choose(pool, rows, self._plan.transform)
    label = self._plan.outputs[pool.label[rows]]
    return TaskExamples(image, label, self.task_id)

  def __repr__(self) -> str:
    sizes = ", ".join(str(len(rows)) for rows in self._plan.rows)
    return f"Experience({self.task_id}, {self.name!r}, train, validation, test = {sizes})"


class Stream:
  """The tasks of a benchmark in the order of learning.

  `len(stream)` tasks, `stream[t]` makes experience t anew each time, and iterating makes one after
  another: a stream of 20 permutations never holds 20 copies of its data set. Usually made by
  `tagjax.load_benchmark`, or of one's own arrays by `Stream.from_arrays`.

  Attributes:
    name: name of the benchmark.
    spec: shapes, head and scenario, see `tagjax.base.StreamSpec`.
    max_value: largest value that a stored pixel can have; the model divides by it.
    task_names: list of the tasks' names.
    sizes: list of `(n_train, n_validation, n_test)`, known without making any images.

  Raises:
    ValueError: if a task has no training or no test examples, or a label outside its outputs.
  """

  def __init__(
    self, name: str, spec: base.StreamSpec, plans: Sequence[TaskPlan], max_value: float = 255
  ):
    if len(plans) != spec.num_tasks:
      raise ValueError(f"{name}: {len(plans)} tasks, but the spec has {spec.num_tasks}")
    for task_id, plan in enumerate(plans):
      _check_plan(f"{name}, task {task_id} ({plan.name})", plan, spec.classes[task_id])
    self.name = name
    self.spec = spec
    self.max_value = max_value
    self.task_names = [plan.name for plan in plans]
    self.sizes = [tuple(len(rows) for rows in plan.rows) for plan in plans]
    self._plans = tuple(plans)

  @classmethod
  def from_arrays(cls, name: str, tasks: Sequence[tuple], **options) -> "Stream":
    """A stream of one's own arrays; see `tagjax.benchmarks.arrays.stream_from_arrays`."""
    # The module builds on this one.
    from tagjax.benchmarks import arrays

    return arrays.stream_from_arrays(name, tasks, **options)

  def part(self, first_task: int, end_task: int | None = None) -> "Stream":
    """The stream of tasks `first_task` to `end_task` (exclusive; None: to the last) alone.

    The head keeps its outputs; the tasks count from 0 again.

    Raises:
      ValueError: if no task is left, or there are not so many.
    """
    end = len(self) if end_task is None else end_task
    if not 0 <= first_task < end <= len(self):
      raise ValueError(
        f"first_task={first_task}, end_task={end_task}: choose 0 <= first_task < end_task <= "
        f"{len(self)}, the number of tasks"
      )
    spec = self.spec._replace(num_tasks=end - first_task, classes=self.spec.classes[first_task:end])
    return Stream(self.name, spec, self._plans[first_task:end], self.max_value)

  def is_streamed(self, part: str) -> bool:
    """Whether images of a part of some task are read when they are needed.

    Args:
      part: `"train"`, `"validation"` or `"test"`.
    """
    pool = "test" if part == "test" else "train"
    return any(lazy.is_lazy(getattr(plan, pool).image) for plan in self._plans)

  def __len__(self) -> int:
    return len(self._plans)

  def __getitem__(self, task_id: int) -> Experience:
    index = operator.index(task_id)
    if not -len(self) <= index < len(self):
      raise IndexError(f"task {index} of {self.name}, which has tasks 0 to {len(self) - 1}")
    index %= len(self)
    return Experience(index, self._plans[index])

  def __iter__(self) -> Iterator[Experience]:
    return (self[task_id] for task_id in range(len(self)))

  def __repr__(self) -> str:
    return (
      f"Stream({self.name!r}, {len(self)} tasks, {self.spec.scenario}-incremental, "
      f"{self.spec.num_outputs} outputs)"
    )


def _check_plan(where: str, plan: TaskPlan, allowed: np.ndarray) -> None:
  for part, pool, rows in (
    ("training", plan.train, plan.rows.train),
    ("validation", plan.train, plan.rows.validation),
    ("test", plan.test, plan.rows.test),
  ):
    if len(rows) == 0 and part != "validation":
      raise ValueError(f"{where} has no {part} examples: a task needs at least one")
    present = np.unique(pool.label[rows])
    is_known = (present >= 0) & (present < len(plan.outputs))
    output = np.full(len(present), -1)
    output[is_known] = plan.outputs[present[is_known]]
    is_allowed = np.isin(output, np.flatnonzero(allowed))
    if not is_allowed.all():
      raise ValueError(
        f"{where} has the {part} label {present[~is_allowed][0]}, which is none of its "
        f"{int(allowed.sum())} classes"
      )
