"""Office-Home: ten tasks of thirteen things, of products first and then of photographs."""

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import holdout, planning
from tagjax.benchmarks.stream import Stream

_DOMAINS = ("Product", "RealWorld")
_THINGS = 65

GROUPS = (
  (63, 54, 55, 59, 47, 8, 5, 56, 18, 50, 3, 57, 13),
  (62, 19, 21, 35, 64, 46, 27, 10, 39, 17, 22, 34, 30),
  (48, 15, 51, 6, 40, 31, 4, 36, 45, 41, 16, 14, 11),
  (9, 29, 1, 44, 33, 26, 25, 32, 53, 12, 43, 38, 60),
  (28, 2, 49, 37, 20, 23, 58, 24, 52, 61, 7, 0, 42),
)
"""The five groups of things, by their alphabetical numbers; each thing is in one of them."""


def make_office_home(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "task",
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Five tasks of the domain Product, and then five of the domain RealWorld, 13 things each.

  A thing of two domains counts as two classes, as in LASEM. Its code does not tell in which order
  the domains come; here the first five tasks are those of one domain.

  Args:
    dataset: Office-Home, whose classes are named `DOMAIN/THING` and sorted by name.
    name: name of the stream.
    num_tasks: T, the first so many tasks; at most 10.
    scenario: `"task"`, `"class"` or `"domain"`.
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if there are fewer tasks, the classes have other names, or the selection cannot be
      met.

  References:
    Venkateswara et al., "Deep Hashing Network for Unsupervised Domain Adaptation", CVPR 2017 (the
    data set); Lee, Behpour and Eaton, "Sharing Less is More: Lifelong Learning in Deep Networks
    with Selective Layer Transfer", ICML 2021 (the tasks).
  """
  tasks = [(domain, number) for domain in _DOMAINS for number in range(len(GROUPS))]
  if num_tasks > len(tasks):
    raise ValueError(
      f"num_tasks is {num_tasks}, but {name} has {len(tasks)} tasks: choose at most that many"
    )
  firsts = _first_labels(dataset)
  return planning.stream_of_groups(
    dataset,
    [firsts[domain] + np.array(GROUPS[number]) for domain, number in tasks[:num_tasks]],
    name=name,
    scenario=scenario,
    selection=selection,
    task_names=[f"{domain}, group {number + 1}" for domain, number in tasks[:num_tasks]],
  )


def _first_labels(dataset: datasets.Dataset) -> dict[str, int]:
  """The label of the first thing of each domain."""
  domains = [class_name.split("/")[0] for class_name in dataset.class_names]
  firsts = {domain: domains.index(domain) for domain in _DOMAINS if domain in domains}
  for domain in _DOMAINS:
    if domains.count(domain) != _THINGS:
      raise ValueError(
        f"{dataset.name} has {domains.count(domain)} classes of the domain {domain}, must be "
        f"{_THINGS}: the data set is incomplete, prepare it again"
      )
  return firsts
