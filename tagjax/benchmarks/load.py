"""`load_benchmark`: from a name and options to a stream of tasks."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tagjax.benchmarks import checks, groups, holdout, loading, own_folders
from tagjax.benchmarks.stream import Stream
from tagjax.benchmarks.table import BENCHMARKS, OPTIONS, Benchmark
from tagjax.core import types
from tagjax.datasets import image_folder, loader


def names() -> tuple[str, ...]:
  """The names that `load_benchmark` knows."""
  return tuple(BENCHMARKS)


def load_benchmark(
  name: str,
  *,
  num_tasks: int | None = None,
  scenario: types.Scenario | None = None,
  validation_fraction: float = 0.0,
  class_order: str | Sequence[int] = "natural",
  data_seed: int = 0,
  train_examples_per_task: int | None = None,
  test_examples_per_task: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  input: loader.Input = "auto",
  classes: groups.Integers | None = None,
  classes_per_task: groups.Integers | None = None,
  tasks_apart: int = 0,
  task_order: str | Sequence[int] | None = None,
  blurry_fraction: float = 0.0,
  train_fraction: float = 1.0,
  label_noise: float = 0.0,
  image_folders: str | os.PathLike[str] | None = None,
  image_size: int | None = None,
  image_resize: image_folder.Resize = "stretch",
  test_fraction: float = 0.2,
) -> Stream:
  """Loads a benchmark as a stream of tasks.

  | name | tasks | each task | scenario |
  |---|---|---|---|
  | `permuted_digits`, `permuted_mnist` | 10, 20 | pixels in another order | domain |
  | `permuted_fashion_mnist` | 20 | pixels in another order | domain |
  | `rotated_digits`, `rotated_mnist` | 10, 20 | turned by another angle | domain |
  | `split_digits`, `split_mnist`, `split_fashion_mnist`, `split_cifar10` | 5 | 2 classes | task |
  | `split_svhn`, `split_notmnist` | 5 | 2 classes | task |
  | `split_glyphs` | 15 | 4 characters, in other fonts at test | task |
  | `split_cifar100`, `split_mini_imagenet` | 20 | 5 classes | task |
  | `split_cub` | 20 | 10 kinds of birds | task |
  | `split_tiny_imagenet` | 4 | 50 classes | task |
  | `split_omniglot` | 50 | an alphabet | task |
  | `split_imagenet` | 10 | 10 of the first 100 classes | task |
  | `split_ms_celeb` | 10 | 1000 people | task |
  | `split_awa2` | 20 | 5 animals drawn at random, which come again | task |
  | `office_home` | 10 | 13 things of one of two domains | task |
  | `stl10_lifelong` | 20 | 3 classes drawn at random, noise, exchanged colours | task |
  | `five_datasets`, `object_sequence` | 5, 8 | a data set | task |
  | `image_folders` | as many as there are folders | a folder of your own | task |

  `tagjax.benchmarks.table` says more of each; `python -m tagjax.benchmarks` prints it. All draws
  depend on `data_seed` and on nothing else: which examples train, validate and test is the same for
  all seeds of a run.

  Args:
    name: one of the names above.
    num_tasks: number of tasks, at least 1. For split benchmarks it divides the number of classes;
      fixed streams keep their first `num_tasks` tasks. None: the benchmark's own number.
    scenario: what is known of the task: `"task"`, `"class"` or `"domain"`. None: the benchmark's
      own.
    validation_fraction: fraction of each task's training examples to hold out, in [0, 1); see
      `tagjax.benchmarks.holdout.select` for the rounding.
    class_order: for split benchmarks: `"natural"`, `"seeded"`, `"lasem"` (`split_cifar100` only),
      `"itaml"` (its random order), or the classes in the order of learning.
    data_seed: seed of all draws that make the stream, at least 0; not the seed of the training.
    train_examples_per_task: most training examples of a task, those held out included, at least 1;
      None: all.
    test_examples_per_task: most test examples of a task, at least 1; None: all.
    data_dir: folder of the data sets; None: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
    input: where images are: `"memory"` keeps them decoded, `"stream"` reads them when they are
      needed and keeps them decoded on the disk, `"files"` reads them and keeps nothing, `"auto"`
      chooses one of the first two by the size of the data set.
    classes: for split benchmarks and `split_awa2`: the classes that are used: a number n for the
      first n, a sequence, or a text such as `"15-99"`; None: all.
    classes_per_task: for the same and for `stl10_lifelong`: how many classes each task has: a
      number, or the sizes of the tasks, of which the last is that of all further tasks, such as
      `(50, 10)` with `num_tasks=6`. Classes beyond their sum are left out. None: equally many.
    tasks_apart: for `split_awa2`: how many tasks, the first ones, have classes of their own, the
      first classes in order, that no other task draws: tasks to choose hyperparameters by.
    task_order: the tasks in the order of learning, which may come again or be left out: a sequence
      or a text such as `"0-4, 0-9"`. None: each task once.
    blurry_fraction: fraction of each task's training examples that is exchanged with the other
      tasks, in [0, 1).
    train_fraction: fraction of each class's training examples that is used at all, in (0, 1], at
      least one example; those held out for validation are among them.
    label_noise: fraction of each task's training labels that are replaced by another class of the
      task, in [0, 1); validation and test examples keep their labels.
    image_folders: for `image_folders`: the folder that holds a folder for each task.
    image_size: for `image_folders` (64), `object_sequence` (224) and `five_datasets` (32): height
      and width of the images. None: the number in brackets.
    image_resize: for the first two: how images of your own folders are brought to that size,
      `"stretch"` or `"crop"`.
    test_fraction: for `image_folders`: fraction of each class for the test, in (0, 1), in tasks
      without a folder `test`.

  Returns:
    The stream; images are made when a task is asked for.

  Raises:
    ValueError: if an argument is wrong, or the benchmark has no use for it; the message says which
      and what would be right.
    tagjax.datasets.DatasetUnavailableError: if the data set is not there.

  >>> stream = load_benchmark("split_digits", train_examples_per_task=200)
  >>> stream
  Stream('split_digits', 5 tasks, task-incremental, 10 outputs)
  >>> stream[1].name, len(stream[1].train), set(stream[1].train.label.tolist())
  ('classes 2-3', 200, {2, 3})
  >>> load_benchmark("split_digits", classes_per_task=(4, 3), num_tasks=3).task_names
  ['classes 0-3', 'classes 4-6', 'classes 7-9']
  """
  arguments = dict(locals())
  checks.check_choice("benchmark", name, names())
  benchmark = BENCHMARKS[name]
  selection = check_options(name, arguments)
  options = _complete(benchmark, {option: arguments[option] for option in OPTIONS})
  data = benchmark.load(
    loading.Request(
      name, benchmark.sources, num_tasks, options, data_dir, input, selection.data_seed
    )
  )
  stream = benchmark.make(
    data,
    name=name,
    num_tasks=_default_tasks(benchmark, classes_per_task) if num_tasks is None else num_tasks,
    scenario=scenario or benchmark.scenario,
    selection=selection,
    **{option: (options | {"input": input})[option] for option in benchmark.takes},
  )
  sets = data if isinstance(data, list) else [data]
  if all(one.digest for one in sets):
    stream = stream.of_sources({one.name: one.digest for one in sets})
  if task_order is not None:
    stream = stream.in_order(task_order)
  return stream.blurred(blurry_fraction, selection.data_seed).with_settings(_settings(arguments))


_PLACES = frozenset({"name", "data_dir", "input"})
"""Arguments that do not change the stream, or that it knows by itself."""


def _settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
  """The arguments that were given other values than their defaults."""
  defaults = load_benchmark.__kwdefaults__
  return {
    key: value
    for key, value in arguments.items()
    if key not in _PLACES and not _is_same(value, defaults[key])
  }


def check_common(arguments: Mapping[str, Any]) -> holdout.Selection:
  """Refuses wrong values of what every stream can be asked for.

  Args:
    arguments: a value for each argument of `load_benchmark`; others are ignored.

  Returns:
    Which examples are asked for.

  Raises:
    ValueError: names the argument, its value and what is possible.
  """
  if arguments["num_tasks"] is not None:
    checks.check_integer("num_tasks", arguments["num_tasks"], 1, checks.MOST_TASKS)
  if arguments["scenario"] is not None:
    checks.check_choice("scenario", arguments["scenario"], types.SCENARIOS)
  if arguments["task_order"] is not None:
    checks.check_integers("task_order", arguments["task_order"])
  checks.check_fraction("blurry_fraction", arguments["blurry_fraction"])
  fields = holdout.Selection._fields
  return holdout.check_selection(holdout.Selection(*(arguments[field] for field in fields)))


def check_options(name: str, arguments: Mapping[str, Any]) -> holdout.Selection:
  """Refuses options that the benchmark does not take, and what can be told without its data.

  Args:
    name: the benchmark, one of `names()`.
    arguments: see `check_common`.

  Returns:
    Which examples are asked for.

  Raises:
    ValueError: see `check_common`.
  """
  selection = check_common(arguments)
  groups.check_order(arguments["class_order"])
  for option in ("classes", "classes_per_task"):
    groups.check_numbers(option, arguments[option])
  checks.check_integer("tasks_apart", arguments["tasks_apart"], 0)
  own_folders.check_options(*(arguments[key] for key in own_folders.OPTIONS))
  benchmark = BENCHMARKS[name]
  for option in OPTIONS:
    value = arguments[option]
    is_taken = option in benchmark.takes or option in benchmark.load_takes
    if not is_taken and not _is_same(value, OPTIONS[option]):
      raise ValueError(
        f"{option} is {value!r}, but {name} has no use for it: leave it {OPTIONS[option]!r}"
      )
  if "image_folders" in benchmark.load_takes:
    own_folders.check_path(arguments["image_folders"])
  return selection


def _complete(benchmark: Benchmark, options: Mapping[str, Any]) -> dict[str, Any]:
  """The options, with the benchmark's own values of those that were not asked for."""
  return {
    option: benchmark.defaults.get(option, value) if _is_same(value, OPTIONS[option]) else value
    for option, value in options.items()
  }


def _default_tasks(benchmark: Benchmark, classes_per_task: groups.Integers | None) -> int | None:
  """The benchmark's number of tasks, unless the sizes of the tasks tell another."""
  is_told = classes_per_task is not None and "classes_per_task" not in benchmark.defaults
  return None if is_told else benchmark.num_tasks


def _is_same(value: Any, default: Any) -> bool:
  """Without asking an array for its truth."""
  return value is default or (isinstance(value, str | int | float) and value == default)
