"""Benchmarks by their declarations: those of the table, and the user's own."""

import inspect
from collections.abc import Mapping
from typing import Any

from tagjax.benchmarks.load import check_common, check_options, load_benchmark
from tagjax.benchmarks.table import BENCHMARKS
from tagjax.core.register import Declaration, register, signature_options

Options = Mapping[str, Any]

_OF_STREAMS = ("task_order", "blurry_fraction", "data_seed")
"""Options of `load_benchmark` that every `Stream` can follow."""


def load_declared(benchmark: Declaration, common: Options, own: Options) -> Any:
  """The stream of a declaration.

  Args:
    benchmark: a declaration of kind "benchmark".
    common: a value for each option of `load_benchmark`.
    own: a value for each option of the declaration's own.

  Returns:
    What `load_benchmark` gives for a benchmark of the table. For one of the user's own, what its
    function returns: it gets those of `num_tasks`, `scenario`, `data_seed`, `validation_fraction`
    and `data_dir` that it names, its own defaults in the place of None; `task_order` and
    `blurry_fraction` are followed for it.

  Raises:
    ValueError: names the option that is wrong, or of no use to the benchmark.
  """
  if benchmark.name in BENCHMARKS:
    return load_benchmark(benchmark.name, **common)
  check_declared(benchmark, common)
  stream = benchmark.make(**_provided(benchmark, common), **own)
  if common["task_order"] is not None:
    stream = stream.in_order(common["task_order"])
  if common["blurry_fraction"]:
    stream = stream.blurred(common["blurry_fraction"], common["data_seed"])
  return stream


def _provided(benchmark: Declaration, common: Options) -> Options:
  """What the function is told; its own default takes the place of None."""
  known = inspect.signature(benchmark.make).parameters
  has_default = {name for name, one in known.items() if one.default is not one.empty}
  return {
    name: common[name]
    for name in benchmark.provided
    if common[name] is not None or name not in has_default
  }


def check_declared(benchmark: Declaration, common: Options) -> None:
  """Refuses options that the benchmark does not take, before its data are loaded.

  Raises:
    ValueError: see `load_declared`.
  """
  if benchmark.name in BENCHMARKS:
    check_options(benchmark.name, common)
    return
  check_common(common)
  for name, option in signature_options(load_benchmark).items():
    value = common[name]
    taken = name in benchmark.provided or name in _OF_STREAMS
    if not taken and value is not option.default and value != option.default:
      raise ValueError(
        f"{name}={value!r}: {benchmark.name} has no use for it; leave it {option.default!r}, or "
        f"let its function take {name}"
      )


def _declare(name: str) -> None:
  row = BENCHMARKS[name]

  def load(**options: Any) -> Any:
    return load_benchmark(name, **options)

  tasks = "a task for each part of the data" if row.num_tasks is None else f"{row.num_tasks} tasks"
  load.__doc__ = f"{tasks[0].upper()}{tasks[1:]}, {row.scenario}-incremental: {row.summary}."
  register(name, kind="benchmark")(load)


for _name in BENCHMARKS:
  _declare(_name)
