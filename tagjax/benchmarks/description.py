"""A stream in words: a line for each task, and what was asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which describes itself with this module
  from tagjax.benchmarks.stream import Stream

_LONGEST_NAME = 48
_HEADER = ("task", "name", "classes", "outputs", "train", "validation", "test")


def describe(stream: "Stream") -> str:
  """A table of the tasks, with the shape of the images and the head above it.

  Args:
    stream: the stream; none of its images are read.

  Returns:
    Lines of plain text; `train` counts the examples that the task shows, `outputs` is the range of
    the outputs that it teaches.

  >>> from tagjax import load_benchmark
  >>> print(describe(load_benchmark("split_digits", num_tasks=2, class_order="seeded")))
  split_digits: 2 tasks, task-incremental
  head of 10 outputs, images 8 x 8 x 1 of 0 to 16
  asked for: num_tasks=2, class_order=seeded
  <BLANKLINE>
  task  name                   classes  outputs  train  validation  test
  0     classes 4, 6, 2, 7, 3        5      0-4    720           0   181
  1     classes 5, 9, 0, 8, 1        5      5-9    717           0   179
  all                               10            1437           0   360
  """
  lines = [
    f"{stream.name}: {len(stream)} tasks, {stream.spec.scenario}-incremental",
    f"head of {stream.spec.num_outputs} outputs, images "
    f"{' x '.join(map(str, stream.spec.image_shape))} of 0 to {stream.max_value:g}",
  ]
  if stream.settings:
    lines.append(
      f"asked for: {', '.join(f'{key}={value}' for key, value in stream.settings.items())}"
    )
  if stream.spec.attributes is not None:
    lines.append(f"{stream.spec.attributes.shape[1]} attributes of each class")
  rows = [_row(stream, task) for task in range(len(stream))]
  sums = [str(sum(sizes)) for sizes in zip(*stream.sizes, strict=True)]
  taught = str(int(stream.spec.classes.any(axis=0).sum()))
  return "\n".join([*lines, "", *_align([_HEADER, *rows, ("all", "", taught, "", *sums)])])


def _row(stream: "Stream", task: int) -> tuple[str, ...]:
  name = stream.task_names[task]
  if len(name) > _LONGEST_NAME:
    name = f"{name[: _LONGEST_NAME - 1]}…"
  outputs = [output for output, taught in enumerate(stream.spec.classes[task]) if taught]
  sizes = (str(size) for size in stream.sizes[task])
  return (str(task), name, str(len(outputs)), _ranges(outputs), *sizes)


def _ranges(numbers: Sequence[int]) -> str:
  """Ascending numbers, shortened: "0-4", or "of 3-97" where there are gaps."""
  first, last = numbers[0], numbers[-1]
  if first == last:
    return str(first)
  return f"{first}-{last}" if last - first + 1 == len(numbers) else f"of {first}-{last}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
  """Columns two spaces apart, the first two to the left, numbers to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(
      cell.ljust(width) if place < 2 else cell.rjust(width)
      for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  ]
