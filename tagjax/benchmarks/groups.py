"""Which classes each task has: the subset that is used, its order, and the sizes of the tasks."""

import random
from collections.abc import Sequence

import numpy as np

from tagjax.benchmarks import checks

Integers = int | str | Sequence[int]
"""One number, a sequence of them, or a text such as `"0-4, 7"`."""

_LASEM_CIFAR100 = (
  *(4, 1, 54, 9, 0, 5, 6, 3, 12, 8),
  *(30, 32, 62, 10, 51, 20, 7, 42, 17, 13),
  *(55, 67, 70, 16, 53, 25, 14, 43, 37, 48),
  *(72, 73, 82, 28, 57, 84, 18, 88, 68, 58),
  *(95, 91, 92, 61, 83, 94, 24, 97, 76, 90),
  *(22, 23, 15, 34, 26, 2, 27, 36, 47, 41),
  *(39, 33, 19, 63, 45, 11, 29, 50, 52, 69),
  *(40, 49, 21, 64, 77, 35, 44, 65, 56, 81),
  *(86, 60, 31, 66, 79, 46, 78, 74, 59, 85),
  *(87, 71, 38, 75, 99, 98, 93, 80, 96, 89),
)

_ITAML_SEED = 1

FIXED_ORDERS = {"lasem": {"cifar100": _LASEM_CIFAR100}}
"""Orders of the literature by name, each for the data sets that it was given for."""

ORDERS = ("natural", "seeded", *FIXED_ORDERS, "itaml")
"""What `class_order` may be, besides the classes themselves."""


def deal(
  dataset_name: str,
  num_classes: int,
  *,
  num_tasks: int | None,
  classes: Integers | None = None,
  class_order: str | Sequence[int] = "natural",
  classes_per_task: Integers | None = None,
  data_seed: int = 0,
) -> list[np.ndarray]:
  """Deals classes out to tasks.

  Args:
    dataset_name: the data set, for the fixed orders.
    num_classes: how many classes it has.
    num_tasks: T; None: as many as `classes_per_task` says.
    classes: which are used: a number n for the first n, or the classes themselves; None: all.
    class_order: `"natural"` (as `classes` gives them), `"seeded"` (drawn with `data_seed`), the
      name of a fixed order, `"itaml"` (iTAML's random order, one for each number of classes), or
      the used classes in the order of learning.
    classes_per_task: classes of each task; of a shorter sequence the last size is that of all
      further tasks. Classes beyond their sum are left out. None: equal tasks of all used classes.
    data_seed: seed of the order.

  Returns:
    The classes of each task, in the order of learning.

  Raises:
    ValueError: if an argument does not fit the others, or the data set.

  >>> deal("digits", 10, num_tasks=3, classes="1-9", classes_per_task=(5, 2))
  [array([1, 2, 3, 4, 5]), array([6, 7]), array([8, 9])]
  """
  used = choose_classes(classes, num_classes)
  order = _put_in_order(class_order, used, dataset_name, data_seed)
  sizes = task_sizes(num_tasks, classes_per_task, len(order))
  if sum(sizes) > len(order):
    raise ValueError(
      f"classes_per_task is {classes_per_task!r}, {sum(sizes)} classes for {len(sizes)} tasks, but "
      f"there are {len(order)}: choose smaller or fewer tasks"
    )
  return np.split(order, np.cumsum(sizes))[: len(sizes)]


def choose_classes(classes: Integers | None, num_classes: int) -> np.ndarray:
  """The classes that are used, see `deal`.

  >>> choose_classes(3, num_classes=10)
  array([0, 1, 2])
  """
  if classes is None:
    return np.arange(num_classes)
  if isinstance(classes, int | np.integer):
    chosen = tuple(range(checks.check_integer("classes", classes, 1, checks.MOST_INTEGERS)))
  else:
    chosen = checks.check_integers("classes", classes)
  if max(chosen) >= num_classes:
    raise ValueError(
      f"classes is {classes!r}, but the data set has {num_classes} classes, 0 to {num_classes - 1}"
    )
  if len(set(chosen)) < len(chosen):
    raise ValueError(f"classes is {classes!r}, which names a class twice: name each once")
  return np.array(chosen)


def check_order(class_order: object) -> None:
  """Whether `class_order` can be an order of some data set.

  Raises:
    ValueError: if it is neither a name of `ORDERS` nor integers.
  """
  if _is_name(class_order):
    checks.check_choice("class_order", class_order, ORDERS)
  else:
    checks.check_integers("class_order", class_order)


def check_numbers(argument: str, value: object) -> None:
  """Whether a value can be `classes` or `classes_per_task` of some data set.

  Raises:
    ValueError: if it is neither None, nor a positive number, nor integers.
  """
  if isinstance(value, int | np.integer):
    checks.check_integer(argument, value, 1)
  elif value is not None:
    checks.check_integers(argument, value)


def _is_name(class_order: object) -> bool:
  return isinstance(class_order, str) and not class_order[:1].isdigit()


def _put_in_order(
  class_order: str | Sequence[int], used: np.ndarray, dataset_name: str, data_seed: int
) -> np.ndarray:
  if not _is_name(class_order):
    return _as_permutation(class_order, used)
  checks.check_choice("class_order", class_order, ORDERS)
  if class_order == "natural":
    return used
  if class_order == "seeded":
    return checks.generator(data_seed, "class order").permutation(used)
  if class_order == "itaml":
    return used[_itaml_order(len(used))]
  by_dataset = FIXED_ORDERS[class_order]
  if dataset_name not in by_dataset:
    raise ValueError(
      f"class_order is {class_order!r}, which is an order of {', '.join(by_dataset)} and not of "
      f"{dataset_name}: choose 'natural', 'seeded' or the classes themselves"
    )
  fixed = np.array(by_dataset[dataset_name])
  return fixed[np.isin(fixed, used)]


def _itaml_order(count: int) -> np.ndarray:
  """The code of iTAML shuffles the classes' numbers, and class c takes the place `shuffled[c]`."""
  shuffled = list(range(count))
  random.Random(_ITAML_SEED).shuffle(shuffled)
  return np.argsort(shuffled)


def _as_permutation(class_order: object, used: np.ndarray) -> np.ndarray:
  try:
    order = np.array(checks.check_integers("class_order", class_order))
    is_permutation = np.array_equal(np.sort(order), np.sort(used))
  except ValueError:
    is_permutation = False
  if is_permutation:
    return order
  what = "used classes" if len(used) <= used.max() else f"classes 0 to {len(used) - 1}"
  raise ValueError(
    f"class_order is {class_order!r}, must be {', '.join(map(repr, ORDERS))} or a sequence that "
    f"holds each of the {what} once"
  )


def task_sizes(
  num_tasks: int | None, classes_per_task: Integers | None, num_classes: int
) -> list[int]:
  """Number of classes of each task, see `deal`; their sum may be more than there are.

  >>> task_sizes(4, (4, 2), num_classes=10)
  [4, 2, 2, 2]
  >>> task_sizes(None, 3, num_classes=10)
  [3, 3, 3]
  """
  if classes_per_task is None:
    return _equal_sizes(num_tasks, num_classes)
  if isinstance(classes_per_task, int | np.integer):
    size = checks.check_integer("classes_per_task", classes_per_task, 1)
    sizes = [size] * max(1, num_classes // size if num_tasks is None else num_tasks)
  else:
    sizes = list(checks.check_integers("classes_per_task", classes_per_task))
    if min(sizes) < 1:
      raise ValueError(f"classes_per_task is {classes_per_task!r}: a task needs a class at least")
    if num_tasks is not None:
      sizes += [sizes[-1]] * (num_tasks - len(sizes))
  if num_tasks is not None and len(sizes) > num_tasks:
    raise ValueError(
      f"num_tasks is {num_tasks}, but classes_per_task names the sizes of {len(sizes)} tasks: "
      "name fewer, or more tasks"
    )
  return sizes


def _equal_sizes(num_tasks: int, num_classes: int) -> list[int]:
  if num_classes % num_tasks:
    divisors = [str(n) for n in range(1, num_classes + 1) if num_classes % n == 0]
    raise ValueError(
      f"num_tasks is {num_tasks}, which does not divide the {num_classes} classes: choose from "
      f"{', '.join(divisors)}, or set classes_per_task"
    )
  return [num_classes // num_tasks] * num_tasks


def name_classes(classes: np.ndarray) -> str:
  """What to call a task with these classes.

  >>> name_classes(np.array([4, 5, 6])), name_classes(np.array([9, 2])), name_classes(np.array([7]))
  ('classes 4-6', 'classes 9, 2', 'class 7')
  """
  first, last = classes[0], classes[-1]
  if len(classes) == 1:
    return f"class {first}"
  if np.array_equal(classes, np.arange(first, last + 1)):
    return f"classes {first}-{last}"
  return f"classes {', '.join(str(c) for c in classes)}"
