"""A stream of experiences: the tasks of a benchmark, one after another, made when asked for."""

import copy
import functools
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from tagjax.benchmarks import arrays, checks, description, digest, holdout, lazy, stages
from tagjax.benchmarks.blur import Blur, Share, exchange
from tagjax.benchmarks.experience import Experience, TaskPlan, Visit
from tagjax.core import types


class Stream:
  """The tasks of a benchmark in the order of learning.

  `len(stream)` tasks, `stream[t]` makes experience t anew each time, and iterating makes one after
  another: a stream of 20 permutations never holds 20 copies of its data set. Usually made by
  `tagjax.load_benchmark`, or of one's own arrays by `Stream.from_arrays`.

  Attributes:
    name: name of the benchmark.
    spec: shapes, head and scenario, see `tagjax.core.types.StreamSpec`; dtype of the images and
      attributes of the classes are those of the plans.
    max_value: largest value that a stored pixel can have; the model divides by it.
    task_names: list of the tasks' names.
    sizes: list of `(n_train, n_validation, n_test)`, known without making any images.
    task_order: for each place the task that it shows, numbered as the benchmark does.
    class_names: for each task a dict from output to the name of the class that it stands for.
    settings: what `load_benchmark` was asked for besides its defaults, for `describe`.

  Raises:
    ValueError: if a task has no training or no test examples, or a label outside its outputs.
  """

  def __init__(
    self,
    name: str,
    spec: types.StreamSpec,
    plans: Sequence[TaskPlan],
    max_value: float = 255,
    *,
    task_order: Sequence[int] | None = None,
    blur: Blur | None = None,
    settings: Mapping[str, Any] | None = None,
    is_dealt: bool = False,
    sources: Mapping[str, str] | None = None,
  ):
    """See `tagjax.load_benchmark`; `in_order` and `blurred` set the arguments after `max_value`.

    `is_dealt` says that which classes stand together in a task has no meaning.
    """
    if len(plans) != spec.num_tasks:
      raise ValueError(f"{name}: {len(plans)} tasks, but the spec has {spec.num_tasks}")
    for task_id, plan in enumerate(plans):
      _check_plan(f"{name}, task {task_id} ({plan.name})", plan, spec.classes[task_id])
    self.name = name
    self.max_value = max_value
    self.task_order = tuple(range(len(plans)) if task_order is None else task_order)
    self.task_names = [
      _name_visit(plan.name, self.task_order[:place].count(task))
      for place, (task, plan) in enumerate(zip(self.task_order, plans, strict=True))
    ]
    self.sizes = [tuple(len(rows) for rows in plan.rows) for plan in plans]
    self.settings = dict(settings or {})
    self._sources = dict(sources or {})
    self._plans = tuple(plans)
    self._is_dealt = is_dealt
    spec = spec._replace(
      image_dtype=_image_dtype(name, self._plans),
      attributes=_gather_attributes(self._plans, spec.num_outputs),
    )
    self._pure_spec, self._blur = spec, blur
    self._shares = None
    if blur is not None:
      self._shares = exchange([size[0] for size in self.sizes], self.task_order, blur)
    self.spec = spec if blur is None else _spec_with_guests(spec, self._plans, self._shares)

  @classmethod
  def from_arrays(
    cls,
    name: str,
    tasks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    *,
    scenario: types.Scenario = "task",
    num_outputs: int | None = None,
    classes: ArrayLike | None = None,
    task_names: Sequence[str] | None = None,
    max_value: float | None = None,
    attributes: ArrayLike | None = None,
    validation_fraction: float = 0.0,
    data_seed: int = 0,
  ) -> "Stream":
    """A stream of arrays in memory (or mapped from files), for data of one's own and for tests.

    Args:
      name: name of the stream.
      tasks: for each task `(train_image, train_label, test_image, test_label)`; images `[N, ...]`
        of any shape and dtype, all tasks alike: pixels (uint8 or floating), features `[N, D]`, or
        sequences of tokens `[N, L]` (integers that are not uint8), which the model gets as they
        are; labels int `[N]`, the outputs of the head.
      scenario: `"task"`, `"class"` or `"domain"`, see `tagjax.benchmarks.heads`.
      num_outputs: outputs of the head; one more than the largest training label by default.
      classes: bool `[T, num_outputs]`, the outputs that each task teaches. By default all of them
        for `"domain"`, else those among the task's training labels.
      task_names: a name for each task; `"task 0"`, ... by default.
      max_value: what pixels are divided by before the model; 255 for uint8, 1 for floating images
        by default, which floats that hold whole numbers up to 255 must say. Without a meaning for
        tokens.
      attributes: float `[num_outputs, a]`, what distinguishes the classes; None: unknown.
      validation_fraction: fraction of each task's training examples to hold out.
      data_seed: seed of that draw.

    Returns:
      The stream.

    Raises:
      ValueError: if an argument does not fit the others; the message says which and how.

    >>> image, label = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    >>> stream = Stream.from_arrays("mine", [(image, label, image, label)] * 2, scenario="domain")
    >>> stream
    Stream('mine', 2 tasks, domain-incremental, 2 outputs)
    >>> stream[1].train.label
    array([0, 1, 0, 1], dtype=int32)
    """
    spec, plans = arrays.plan_arrays(
      tasks,
      scenario=scenario,
      num_outputs=num_outputs,
      classes=classes,
      task_names=task_names,
      attributes=attributes,
      selection=holdout.Selection(validation_fraction, data_seed=data_seed),
    )
    if max_value is None:
      arrays.check_scale([plan.train.image for plan in plans])
      max_value = 255 if plans[0].train.image.dtype == np.uint8 else 1
    if not 0 < max_value < math.inf:
      raise ValueError(f"max_value is {max_value!r}, must be positive and finite")
    return cls(name, spec, plans, max_value)

  @functools.cached_property
  def digests(self) -> dict[str, str]:
    """A digest of each data set, by its name; of arrays of one's own one of all."""
    if self._sources:
      return dict(self._sources)
    pools = {id(pool): pool for plan in self._plans for pool in (plan.train, plan.test)}
    return {"arrays": digest.of_examples(list(pools.values()))}

  @functools.cached_property
  def class_names(self) -> list[dict[int, str]]:
    """See above."""
    return [plan.names_of_outputs() for plan in self._plans]

  def part(self, first_task: int, end_task: int | None = None) -> "Stream":
    """The stream of tasks `first_task` to `end_task` (exclusive; None: to the last) alone.

    The head keeps its outputs; the tasks count from 0 again. Blurry tasks exchange examples among
    themselves only, drawn anew: nothing of the tasks that are left out is shown.

    Raises:
      ValueError: if no task is left, or there are not so many.
    """
    end = len(self) if end_task is None else end_task
    if not 0 <= first_task < end <= len(self):
      raise ValueError(
        f"first_task={first_task}, end_task={end_task}: choose 0 <= first_task < end_task <= "
        f"{len(self)}, the number of tasks"
      )
    return self._of_places(range(first_task, end))

  def in_order(self, task_order: Sequence[int] | str) -> "Stream":
    """The stream of the given tasks, in their order; a task may come again, or not at all.

    Each place is an experience of its own, with a task id of its own, so that methods and models
    take it for a new task. A task that comes again shows the same examples and teaches the same
    outputs of the head.

    Args:
      task_order: task ids, or a text such as `"0-4, 0-9"`.

    Raises:
      ValueError: if there are not so many tasks.

    >>> image, label = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    >>> stream = Stream.from_arrays("mine", [(image, label, image, label)] * 2, scenario="domain")
    >>> stream.in_order((1, 0, 1)).task_names
    ['task 1', 'task 0', 'task 1, visit 2']
    """
    places = checks.check_integers("task_order", task_order)
    if max(places) >= len(self):
      raise ValueError(
        f"task_order is {task_order!r}, but the tasks are 0 to {len(self) - 1}: choose from these"
      )
    return self._of_places(places)

  def blurred(self, fraction: float, data_seed: int = 0) -> "Stream":
    """The stream with blurry tasks, see `tagjax.benchmarks.blur.exchange`.

    Validation and test examples stay those of the task. In the scenario `"task"` every training
    example keeps its own task id, and with it its own outputs. Elsewhere it counts to the task that
    shows it, and `spec.classes` says what each task now shows.

    Args:
      fraction: of each task's training examples, in [0, 1); 0: none.
      data_seed: seed of the draws.

    Raises:
      ValueError: if nothing would be exchanged, or a task has more to give than all others.
    """
    fraction = checks.check_fraction("blurry_fraction", fraction)
    blur = Blur(fraction, data_seed) if fraction else None
    return self._with(self._pure_spec, self._plans, self.task_order, blur, self.settings)

  def cut(self, num_tasks: int) -> tuple["Stream", "Stream"]:
    """The first `num_tasks` tasks, to choose hyperparameters by, and the others, to be judged on.

    The head keeps its outputs in both; the tasks of each count from 0.

    Raises:
      ValueError: if either has no task, or a class is in tasks of both.

    >>> image, label = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    >>> stream = Stream.from_arrays("mine", [(image, label, image, label)] * 3, scenario="domain")
    >>> [one.task_names for one in stream.cut(1)]
    [['task 0'], ['task 1', 'task 2']]
    """
    if not 0 < num_tasks < len(self):
      raise ValueError(
        f"{num_tasks} to choose by leave no task to be judged on: {self.name} has {len(self)} "
        f"tasks, so choose from 1 to {len(self) - 1}"
      )
    meeting = stages.meeting_classes(
      self._plans[:num_tasks], self._plans[num_tasks:], self._pure_spec, num_tasks
    )
    if meeting:
      shown = ", ".join(map(str, meeting[:5])) + ", ..." * (len(meeting) > 5)
      raise ValueError(
        f"{self.name}: classes to choose by must not come again: {shown} of the first {num_tasks} "
        "tasks are in later tasks too: give the first tasks classes of their own"
      )
    return self.part(0, num_tasks), self.part(num_tasks)

  def shuffled(self, seed: int) -> "Stream":
    """The stream of another run: its classes, or its tasks, in another order.

    Where the classes of one data set were dealt out to the tasks (`split_cifar100`, ...), they are
    dealt out anew; each task keeps its outputs of the head. Elsewhere, where the tasks are wholes
    (permutations, data sets, arrays of one's own), they come in another order.

    Args:
      seed: of the order, at least 0.
    """
    seed = checks.check_integer("seed", seed, 0)
    if self._is_dealt and self._blur is None and stages.are_dealt(self._plans):
      plans = stages.deal_anew(self._plans, seed)
      return self._with(self._pure_spec, plans, self.task_order, None, self.settings)
    return self._of_places(checks.generator(seed, "order of a run").permutation(len(self)))

  def without_validation(self) -> "Stream":
    """The stream whose held-out examples are put back among the training examples."""
    plans = [stages.without_validation(plan) for plan in self._plans]
    return self._with(self._pure_spec, plans, self.task_order, self._blur, self.settings)

  def with_settings(self, settings: Mapping[str, Any]) -> "Stream":
    """The stream with these `settings`, which `describe` tells."""
    return self._with(self._pure_spec, self._plans, self.task_order, self._blur, settings)

  def of_sources(self, sources: Mapping[str, str]) -> "Stream":
    """The stream with the digests of the data sets that it was made of, by name."""
    changed = copy.copy(self)
    changed._sources = dict(sources)
    return changed

  def is_streamed(self, part: str) -> bool:
    """Whether images of a part of some task are read when they are needed.

    Args:
      part: `"train"`, `"validation"` or `"test"`.
    """
    pool = "test" if part == "test" else "train"
    return any(lazy.is_lazy(getattr(plan, pool).image) for plan in self._plans)

  def describe(self) -> str:
    """A table of the tasks, see `tagjax.benchmarks.description.describe`."""
    return description.describe(self)

  def plot(self, path: str | os.PathLike[str], images_per_task: int = 10) -> None:
    """Draws some images of each task, see `tagjax.benchmarks.picture.plot_stream`."""
    from tagjax.benchmarks import picture  # imports matplotlib

    picture.plot_stream(self, path, images_per_task)

  def _of_places(self, places: Sequence[int]) -> "Stream":
    rows = np.array(places)
    spec = self._pure_spec._replace(num_tasks=len(rows), classes=self._pure_spec.classes[rows])
    plans = [self._plans[place] for place in places]
    order = [self.task_order[place] for place in places]
    return self._with(spec, plans, order, self._blur, self.settings)

  def _with(
    self,
    spec: types.StreamSpec,
    plans: Sequence[TaskPlan],
    task_order: Sequence[int],
    blur: Blur | None,
    settings: Mapping[str, Any],
  ) -> "Stream":
    return Stream(
      self.name,
      spec,
      plans,
      self.max_value,
      task_order=task_order,
      blur=blur,
      settings=settings,
      is_dealt=self._is_dealt,
      sources=self._sources,
    )

  def _visits(self, place: int) -> list[Visit]:
    if self._shares is None:
      return [Visit(self._plans[place], place)]
    keeps_id = self.spec.scenario == "task"
    return [
      Visit(self._plans[share.home], share.home if keeps_id else place, share.chosen)
      for share in self._shares[place]
    ]

  def __len__(self) -> int:
    return len(self._plans)

  def __getitem__(self, task_id: int) -> Experience:
    index = operator.index(task_id)
    if not -len(self) <= index < len(self):
      raise IndexError(f"task {index} of {self.name}, which has tasks 0 to {len(self) - 1}")
    index %= len(self)
    plan = self._plans[index]._replace(name=self.task_names[index])
    return Experience(index, plan, self._visits(index))

  def __iter__(self) -> Iterator[Experience]:
    return (self[task_id] for task_id in range(len(self)))

  def __repr__(self) -> str:
    return (
      f"Stream({self.name!r}, {len(self)} tasks, {self.spec.scenario}-incremental, "
      f"{self.spec.num_outputs} outputs)"
    )


def _name_visit(name: str, times_before: int) -> str:
  return f"{name}, visit {times_before + 1}" if times_before else name


def _spec_with_guests(
  spec: types.StreamSpec, plans: Sequence[TaskPlan], shares: Sequence[Sequence[Share]]
) -> types.StreamSpec:
  """What each task teaches when examples of others are shown in it; see `Stream.blurred`."""
  if spec.scenario == "task":
    return spec
  classes = spec.classes.copy()
  for place, place_shares in enumerate(shares):
    for share in place_shares:
      plan = plans[share.home]
      classes[place, plan.outputs[plan.train_label(share.chosen)]] = True
  return spec._replace(classes=classes)


def _image_dtype(name: str, plans: Sequence[TaskPlan]) -> np.dtype:
  """What the images have on the device, where JAX may take 64 bits for 32."""
  dtypes = {np.dtype(part.image.dtype) for plan in plans for part in (plan.train, plan.test)}
  if len(dtypes) > 1:
    raise ValueError(
      f"{name}: images are of {', '.join(sorted(map(str, dtypes)))}: all must be of one dtype"
    )
  return np.dtype(jax.dtypes.canonicalize_dtype(dtypes.pop()))


def _gather_attributes(plans: Sequence[TaskPlan], num_outputs: int) -> np.ndarray | None:
  known = [plan for plan in plans if plan.attributes is not None]
  if len({plan.attributes.shape[1] for plan in known}) != 1:
    return None
  gathered = np.zeros((num_outputs, known[0].attributes.shape[1]), np.float32)
  is_set = np.zeros(num_outputs, bool)
  for plan in known:
    stored = np.flatnonzero(plan.outputs >= 0)
    rows, outputs = plan.attributes[stored], plan.outputs[stored]
    again = is_set[outputs]
    if not np.array_equal(gathered[outputs][again], rows[again].astype(np.float32)):
      return None
    gathered[outputs], is_set[outputs] = rows, True
  return gathered


def _check_plan(where: str, plan: TaskPlan, allowed: np.ndarray) -> None:
  for part, labels in (
    ("training", plan.train_label()),
    ("validation", plan.train.label[plan.rows.validation]),
    ("test", plan.test.label[plan.rows.test]),
  ):
    if len(labels) == 0 and part != "validation":
      raise ValueError(f"{where} has no {part} examples: a task needs at least one")
    present = np.unique(labels)
    is_known = (present >= 0) & (present < len(plan.outputs))
    output = np.full(len(present), -1)
    output[is_known] = plan.outputs[present[is_known]]
    is_allowed = np.isin(output, np.flatnonzero(allowed))
    if not is_allowed.all():
      raise ValueError(
        f"{where} has the {part} label {present[~is_allowed][0]}, which is none of its "
        f"{int(allowed.sum())} classes"
      )
