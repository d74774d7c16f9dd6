"""Benchmarks: data sets cut into streams of tasks.

`load_benchmark` makes a `Stream` of `Experience`s; `names` lists what there is. A stream of one's
own arrays is made by `Stream.from_arrays`.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tagjax import base, datasets
from tagjax.benchmarks import checks, holdout
from tagjax.benchmarks.permuted import make_permuted
from tagjax.benchmarks.rotated import make_rotated
from tagjax.benchmarks.split import make_split
from tagjax.benchmarks.stream import Experience, Stream, TaskExamples

__all__ = ["Experience", "Stream", "TaskExamples", "load_benchmark", "names"]


class _Benchmark(NamedTuple):
  dataset: str
  make: Callable[..., Stream]
  num_tasks: int
  scenario: str


_BENCHMARKS = {
  "permuted_digits": _Benchmark("digits", make_permuted, 10, "domain"),
  "rotated_digits": _Benchmark("digits", make_rotated, 10, "domain"),
  "split_digits": _Benchmark("digits", make_split, 5, "task"),
  "permuted_mnist": _Benchmark("mnist", make_permuted, 20, "domain"),
  "rotated_mnist": _Benchmark("mnist", make_rotated, 20, "domain"),
  "split_mnist": _Benchmark("mnist", make_split, 5, "task"),
  "split_fashion_mnist": _Benchmark("fashion_mnist", make_split, 5, "task"),
  "split_cifar10": _Benchmark("cifar10", make_split, 5, "task"),
  "split_cifar100": _Benchmark("cifar100", make_split, 20, "task"),
}


def names() -> tuple[str, ...]:
  """The names that `load_benchmark` knows."""
  return tuple(_BENCHMARKS)


def load_benchmark(
  name: str,
  *,
  num_tasks: int | None = None,
  scenario: str | None = None,
  validation_fraction: float = 0.0,
  class_order: str | Sequence[int] = "natural",
  data_seed: int = 0,
  train_examples_per_task: int | None = None,
  test_examples_per_task: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  input: str = "auto",
) -> Stream:
  """Loads a benchmark as a stream of tasks.

  | name | tasks | each task | scenario |
  |---|---|---|---|
  | `permuted_digits`, `permuted_mnist` | 10, 20 | pixels in another order | domain |
  | `rotated_digits`, `rotated_mnist` | 10, 20 | turned by another angle | domain |
  | `split_digits`, `split_mnist`, `split_fashion_mnist`, `split_cifar10` | 5 | 2 classes | task |
  | `split_cifar100` | 20 | 5 classes | task |

  All draws depend on `data_seed` and on nothing else: which examples train, validate and test is
  the same for all seeds of a run.

  Args:
    name: one of the names above.
    num_tasks: T; of split benchmarks a divisor of the number of classes. Default: the table.
    scenario: `"task"`, `"class"` or `"domain"`, see `tagjax.benchmarks.heads`. Default: the table.
    validation_fraction: fraction of each task's training examples to hold out, in [0, 1); see
      `tagjax.benchmarks.holdout.select` for the rounding.
    class_order: of split benchmarks, `"natural"`, `"seeded"`, or the classes in the order of
      learning.
    data_seed: seed of permutations, angles, order of classes, validation split and subsets.
    train_examples_per_task: training examples of each task, those held out included; None for all.
    test_examples_per_task: test examples of each task; None for all.
    data_dir: where the data sets are, see `tagjax.datasets.load`.
    input: whether images are kept in memory or read when needed, see `tagjax.datasets.load`.

  Returns:
    The stream; images are made when a task is asked for.

  Raises:
    ValueError: if an argument is wrong; the message says which and what would be right.
    tagjax.datasets.DatasetUnavailableError: if the data set is not there.

  >>> stream = load_benchmark("split_digits", train_examples_per_task=200)
  >>> stream
  Stream('split_digits', 5 tasks, task-incremental, 10 outputs)
  >>> stream[1].name, len(stream[1].train), set(stream[1].train.label.tolist())
  ('classes 2-3', 200, {2, 3})
  """
  checks.check_choice("benchmark", name, names())
  benchmark = _BENCHMARKS[name]
  num_tasks = checks.check_integer(
    "num_tasks", benchmark.num_tasks if num_tasks is None else num_tasks, 1
  )
  scenario = checks.check_choice(
    "scenario", benchmark.scenario if scenario is None else scenario, base.SCENARIOS
  )
  selection = holdout.check_selection(
    holdout.Selection(
      validation_fraction, train_examples_per_task, test_examples_per_task, data_seed
    )
  )
  dataset = datasets.load(benchmark.dataset, data_dir=data_dir, input=input)
  for part, pool in (("training", dataset.train), ("test", dataset.test)):
    where = f"{benchmark.dataset}, {part} examples"
    checks.check_pool(where, pool.image, pool.label, dataset.num_classes)
  return benchmark.make(
    dataset,
    name=name,
    num_tasks=num_tasks,
    scenario=scenario,
    class_order=class_order,
    selection=selection,
  )
