"""A stream cut in two: tasks to choose hyperparameters by, and tasks to be judged on."""

from collections.abc import Sequence

import numpy as np

from tagjax.benchmarks import checks, holdout
from tagjax.benchmarks.experience import TaskPlan
from tagjax.benchmarks.groups import name_classes
from tagjax.core import types


def deal_anew(plans: Sequence[TaskPlan], seed: int) -> list[TaskPlan]:
  """Deals the classes of all tasks out to these tasks, in an order that `seed` draws.

  Each task keeps its outputs and the number of its classes; which classes these stand for changes,
  and with them the examples. Which examples train, validate and test does not.

  Args:
    plans: tasks that show one data set as it is, each class in one of them; see `are_dealt`.
    seed: of the order, at least 0.

  Returns:
    A plan for each task.
  """
  own = [_classes(plan) for plan in plans]
  order = checks.generator(seed, "order of a run").permutation(np.concatenate(own))
  ends = np.cumsum([len(classes) for classes in own])
  rows = [np.concatenate([plan.rows[part] for plan in plans]) for part in range(3)]
  dealt = zip(plans, own, np.split(order, ends[:-1]), strict=True)
  return [_with_classes(plan, old, new, rows) for plan, old, new in dealt]


def are_dealt(plans: Sequence[TaskPlan]) -> bool:
  """Whether `deal_anew` can take these tasks: one data set as it is, and no class twice."""
  first = plans[0]
  alike = all(
    plan.train is first.train
    and plan.test is first.test
    and plan.transform is None
    and plan.noisy_label is None
    for plan in plans
  )
  return alike and int(np.sum([plan.outputs >= 0 for plan in plans], axis=0).max()) == 1


def _classes(plan: TaskPlan) -> np.ndarray:
  """The stored classes of a task, in the order of its outputs."""
  order = np.argsort(plan.outputs, kind="stable")
  return order[plan.outputs[order] >= 0]


def _with_classes(
  plan: TaskPlan, old: np.ndarray, new: np.ndarray, rows: Sequence[np.ndarray]
) -> TaskPlan:
  """The task with the outputs of `old`, which stand for the classes `new`."""
  outputs = np.full_like(plan.outputs, -1)
  outputs[new] = plan.outputs[old]
  pools = (plan.train, plan.train, plan.test)
  parts = [part[outputs[pool.label[part]] >= 0] for part, pool in zip(rows, pools, strict=True)]
  own = holdout.Rows(*(np.sort(part) for part in parts))
  return plan._replace(name=name_classes(new), rows=own, outputs=outputs)


def without_validation(plan: TaskPlan) -> TaskPlan:
  """The task with its validation examples among those that train it, under their stored labels."""
  train, validation, test = plan.rows
  order = np.argsort(np.concatenate([train, validation]), kind="stable")
  noisy = plan.noisy_label
  if noisy is not None:
    noisy = np.concatenate([noisy, plan.train.label[validation]])[order]
  rows = holdout.Rows(np.concatenate([train, validation])[order], validation[:0], test)
  return plan._replace(rows=rows, noisy_label=noisy)


def meeting_classes(
  first: Sequence[TaskPlan], second: Sequence[TaskPlan], spec: types.StreamSpec, cut: int
) -> list[int]:
  """Classes that are in tasks of both stages.

  Those are classes of one data set that both show as it is, and outputs that tasks of both stages
  teach. In the scenario `"domain"` all tasks share their classes and differ in their images.

  Args:
    first: tasks of the first stage.
    second: tasks of the second stage.
    spec: of the whole stream.
    cut: the number of tasks of the first stage.

  Returns:
    Their numbers, ascending.
  """
  if spec.scenario == "domain":
    return []
  met = np.flatnonzero(spec.classes[:cut].any(axis=0) & spec.classes[cut:].any(axis=0))
  found = set(met.tolist())
  for one in first:
    for other in second:
      if one.train is other.train and one.transform is None and other.transform is None:
        found |= set(np.flatnonzero((one.outputs >= 0) & (other.outputs >= 0)).tolist())
  return sorted(found)
