"""Split benchmarks: the classes of a data set are dealt out to the tasks."""

from collections.abc import Sequence

from tagjax import datasets
from tagjax.benchmarks import groups, holdout, planning
from tagjax.benchmarks.stream import Stream


def make_split(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int | None,
  scenario: str = "task",
  classes: groups.Integers | None = None,
  class_order: str | Sequence[int] = "natural",
  classes_per_task: groups.Integers | None = None,
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Deals the classes out to the tasks, by default to tasks of equal numbers of classes.

  Of C classes and T tasks, task t has the classes at positions `t C/T` to `(t+1) C/T - 1` of the
  order, in the natural one the classes 0-4, 5-9, ... of 20 tasks of CIFAR-100. Which output stands
  for which class says `tagjax.benchmarks.heads.split_outputs`: with another order, the outputs are
  numbered by it.

  Args:
    dataset: the data set.
    name: name of the stream.
    num_tasks: T, a divisor of the number of used classes; None: `classes_per_task` tells.
    scenario: `"task"`, `"class"` or `"domain"`.
    classes: which classes are used, see `tagjax.benchmarks.groups.deal`.
    class_order: in which order, see there.
    classes_per_task: how many classes each task has, see there; None: equally many.
    selection: which examples train, validate and test.

  Returns:
    The stream.

  Raises:
    ValueError: if the arguments do not fit the classes, a class has no examples, or the selection
      cannot be met.

  References:
    Zenke, Poole and Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017 (split
    MNIST); Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017
    (CIFAR-100 in 20 tasks of 5 classes).
  """
  of_tasks = groups.deal(
    dataset.name,
    dataset.num_classes,
    num_tasks=num_tasks,
    classes=classes,
    class_order=class_order,
    classes_per_task=classes_per_task,
    data_seed=selection.data_seed,
  )
  return planning.stream_of_groups(
    dataset, of_tasks, name=name, scenario=scenario, selection=selection
  )
