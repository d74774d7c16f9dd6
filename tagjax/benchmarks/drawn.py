"""Streams whose tasks draw their classes at random, so that classes come again."""

import itertools

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, groups, heads, holdout, planning
from tagjax.benchmarks.stream import Stream
from tagjax.core import types


def make_drawn(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "task",
  classes: groups.Integers | None = None,
  classes_per_task: groups.Integers,
  tasks_apart: int = 0,
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Each task draws its classes; tasks with a class in common share its training examples out.

  The training examples of a class are cut into consecutive parts, as many as there are tasks that
  have it and equally large up to one example, and each of those tasks gets one, in their order.
  Test examples are not cut: each task is tested on all those of its classes. For the outputs see
  `tagjax.benchmarks.heads.drawn_outputs`: in the scenario `"task"` a class of two tasks has two.

  Args:
    dataset: the data set, of C classes.
    name: name of the stream.
    num_tasks: T.
    scenario: `"task"` (C T outputs), `"class"` (C outputs) or `"domain"`.
    classes: the classes to draw from, see `tagjax.benchmarks.groups.deal`; None: all.
    classes_per_task: how many each task draws: a number, or the sizes of the tasks.
    tasks_apart: how many tasks, the first ones, draw nothing: they have the first of the classes,
      in order, each in one of them, and no other task draws these.
    selection: which examples train, validate and test; its seed draws the classes too.

  Returns:
    The stream.

  Raises:
    ValueError: if a task is to draw more classes than there are, so many tasks have a class that
      one is left without an example, or the selection cannot be met.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019 (split AWA2).
  """
  used = groups.choose_classes(classes, dataset.num_classes)
  of_tasks = draw_groups(used, num_tasks, classes_per_task, selection.data_seed, tasks_apart)
  outputs = heads.drawn_outputs(of_tasks, dataset.num_classes, scenario)
  parts = _cut(dataset.train.label, of_tasks)
  plans = []
  for task_id, (group, train_rows) in enumerate(zip(of_tasks, parts, strict=True)):
    planning.check_present(f"{name}, task {task_id}", dataset, group)
    plans.append(
      planning.plan_task(
        groups.name_classes(group),
        dataset,
        outputs[task_id],
        selection,
        task_id=task_id,
        pool_id=task_id,
        train_rows=train_rows,
      )
    )
  return Stream(name, make_drawn_spec(dataset, outputs, scenario), plans, dataset.max_value)


def make_drawn_spec(
  dataset: datasets.Dataset, outputs: np.ndarray, scenario: str
) -> types.StreamSpec:
  """The shapes and masks; the head has the outputs of classes that nobody has drawn, too."""
  num_classes = dataset.num_classes
  num_outputs = {"task": num_classes * len(outputs), "class": num_classes}.get(scenario)
  return heads.make_spec(outputs, scenario, dataset.train.image.shape[1:], num_outputs)


def draw_groups(
  used: np.ndarray,
  num_tasks: int,
  classes_per_task: groups.Integers,
  data_seed: int,
  tasks_apart: int = 0,
) -> list[np.ndarray]:
  """Classes for each task, drawn without replacement within a task; ascending.

  The first `tasks_apart` tasks have the first classes, in order, and the others draw from the rest.

  Raises:
    ValueError: if a task is to draw more classes than there are.

  >>> [len(group) for group in draw_groups(np.arange(5), 3, 2, data_seed=0)]
  [2, 2, 2]
  """
  sizes = groups.task_sizes(num_tasks, classes_per_task, len(used))
  ends = np.cumsum([0, *sizes[:tasks_apart]])
  apart = [np.sort(used[first:end]) for first, end in itertools.pairwise(ends)]
  used = used[ends[-1] :]
  if tasks_apart > num_tasks or max(sizes[tasks_apart:], default=0) > len(used):
    kept = f", and tasks_apart={tasks_apart} tasks have theirs" if tasks_apart else ""
    raise ValueError(
      f"classes_per_task is {classes_per_task!r}, but there are {len(used)} classes to draw from"
      f"{kept}"
    )
  return apart + [
    np.sort(
      checks.generator(data_seed, "classes of a task", task).choice(used, size, replace=False)
    )
    for task, size in enumerate(sizes[tasks_apart:], tasks_apart)
  ]


def _cut(label: np.ndarray, of_tasks: list[np.ndarray]) -> list[np.ndarray]:
  """Ascending training rows of each task."""
  rows = [[] for _ in of_tasks]
  for one_class in np.unique(np.concatenate(of_tasks)):
    tasks = [task for task, group in enumerate(of_tasks) if one_class in group]
    available = np.flatnonzero(label == one_class)
    if 0 < len(available) < len(tasks):
      raise ValueError(
        f"num_tasks is {len(of_tasks)}: {len(tasks)} of them have class {one_class}, which has "
        f"{len(available)} training examples only: choose fewer tasks"
      )
    for task, part in zip(tasks, np.array_split(available, len(tasks)), strict=True):
      rows[task].append(part)
  return [np.sort(np.concatenate(parts)) for parts in rows]
