"""Streams with a family of classes a task, such as an alphabet's characters."""

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import holdout, planning
from tagjax.benchmarks.stream import Stream


def make_families(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int | None,
  scenario: str = "task",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """A task for each family of classes: those named `FAMILY/CLASS` with the same first part.

  Args:
    dataset: the data set, whose classes have such names.
    name: name of the stream.
    num_tasks: T, the first so many families by label; None: all.
    scenario: `"task"`, `"class"` or `"domain"`.
    selection: which examples train, validate and test.

  Returns:
    The stream; its tasks have unequally many classes.

  Raises:
    ValueError: if there are fewer families, the classes have no names, or the selection cannot be
      met.

  References:
    Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
    induction", Science 2015 (Omniglot, 50 alphabets).
  """
  families: dict[str, list[int]] = {}
  for label, class_name in enumerate(dataset.class_names):
    families.setdefault(class_name.split("/")[0], []).append(label)
  if not families:
    raise ValueError(f"{dataset.name} has no names of its classes: prepare the data set again")
  num_tasks = len(families) if num_tasks is None else num_tasks
  if num_tasks > len(families):
    raise ValueError(
      f"num_tasks is {num_tasks}, but {name} has {len(families)} tasks: choose at most that many"
    )
  return planning.stream_of_groups(
    dataset,
    [np.array(labels) for labels in families.values()][:num_tasks],
    name=name,
    scenario=scenario,
    selection=selection,
    task_names=list(families)[:num_tasks],
  )
