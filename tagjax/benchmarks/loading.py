"""The data sets of a benchmark: loaded by name, or from the user's own folders, and checked."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tagjax import datasets
from tagjax.benchmarks import checks, own_folders
from tagjax.datasets import folders


class Request(NamedTuple):
  """What is to be loaded.

  Attributes:
    benchmark: name of the benchmark, for errors.
    sources: names of its data sets, in order.
    num_tasks: T; None: not asked for.
    options: the options of the benchmark by name.
    data_dir: see `tagjax.datasets.load`.
    input: see there.
    data_seed: seed of the draws.
  """

  benchmark: str
  sources: tuple[str, ...]
  num_tasks: int | None
  options: Mapping[str, Any]
  data_dir: folders.PathLike | None
  input: str
  data_seed: int


def load_one(request: Request) -> datasets.Dataset:
  """The one data set of a benchmark."""
  (name,) = request.sources
  dataset = datasets.load(name, data_dir=request.data_dir, input=request.input)
  return _check([name], [dataset])[0]


def load_each(request: Request) -> list[datasets.Dataset]:
  """A data set for each task, by name."""
  names = _first_sources(request)
  return _check(
    names,
    [datasets.load(name, data_dir=request.data_dir, input=request.input) for name in names],
  )


def load_parts(request: Request) -> list[datasets.Dataset]:
  """A data set for each task, by name or from the user's folder of that name."""
  names = _first_sources(request)
  parts = own_folders.load_parts(
    names,
    data_dir=request.data_dir,
    input=request.input,
    image_size=request.options["image_size"],
    image_resize=request.options["image_resize"],
  )
  return _check(names, parts)


def load_folders(request: Request) -> list[datasets.Dataset]:
  """A data set for each of the user's folders."""
  options = request.options
  tasks = own_folders.load_tasks(
    options["image_folders"],
    num_tasks=request.num_tasks,
    image_size=options["image_size"],
    image_resize=options["image_resize"],
    test_fraction=options["test_fraction"],
    data_seed=request.data_seed,
    input=request.input,
  )
  return _check([task.name for task in tasks], tasks)


def _first_sources(request: Request) -> tuple[str, ...]:
  most = len(request.sources)
  if request.num_tasks is not None and request.num_tasks > most:
    raise ValueError(
      f"num_tasks is {request.num_tasks}, but {request.benchmark} has {most} tasks: choose at most "
      "that many"
    )
  return request.sources[: request.num_tasks]


def _check(names: Sequence[str], sets: Sequence[datasets.Dataset]) -> list[datasets.Dataset]:
  for name, dataset in zip(names, sets, strict=True):
    for part, pool in (("training", dataset.train), ("test", dataset.test)):
      where = f"{name}, {part} examples"
      checks.check_pool(where, pool.image, pool.label, dataset.num_classes)
  return list(sets)
