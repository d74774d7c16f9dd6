"""Lists and describes benchmarks: `python -m tagjax.benchmarks list`, or `describe NAME`.

`describe` takes any option of `tagjax.load_benchmark`, such as `--num_tasks=10`, and
`--picture=FILE.png` for some images of each task.
"""

import argparse
import ast
import inspect
import sys
from collections.abc import Sequence
from typing import Any

from tagjax.benchmarks.load import load_benchmark
from tagjax.benchmarks.table import BENCHMARKS
from tagjax.core.untrusted import plain_lines
from tagjax.datasets import DatasetUnavailableError

_OPTIONS = tuple(name for name in inspect.signature(load_benchmark).parameters if name != "name")


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command; what cannot be done is told in one line."""
  asked = _parser().parse_args(arguments)
  if asked.command == "list":
    print(list_benchmarks())
    return
  options = {name: getattr(asked, name) for name in _OPTIONS if hasattr(asked, name)}
  try:
    stream = load_benchmark(asked.name, **options)
    print(stream.describe())
    if asked.picture:
      stream.plot(asked.picture)
  except (ValueError, DatasetUnavailableError, OSError) as error:
    sys.exit(f"error: {plain_lines(error)}")


def list_benchmarks() -> str:
  """A paragraph for each benchmark: its tasks and data, its paper, published figures."""
  paragraphs = []
  for name, benchmark in BENCHMARKS.items():
    tasks = (
      "a task for each part of the data"
      if benchmark.num_tasks is None
      else (f"{benchmark.num_tasks} tasks")
    )
    lines = [
      f"{name}: {tasks}, {benchmark.scenario}-incremental; {benchmark.summary}",
      f"  data: {', '.join(benchmark.sources) or 'your own'}",
    ]
    if benchmark.paper:
      lines.append(f"  paper: {benchmark.paper}")
    if benchmark.published:
      lines.append(f"  average accuracy in %: {benchmark.published}")
    paragraphs.append("\n".join(lines))
  return "\n".join(paragraphs)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m tagjax.benchmarks", description=__doc__)
  commands = parser.add_subparsers(dest="command", required=True)
  commands.add_parser("list", help="print what there is")
  one = commands.add_parser("describe", help="print the tasks of a benchmark")
  one.add_argument("name", help="a name of the list")
  one.add_argument("--picture", metavar="FILE.png", type=_png, help="draw some images of each task")
  for name in _OPTIONS:
    one.add_argument(
      f"--{name}", type=_read, default=argparse.SUPPRESS, help="see tagjax.load_benchmark"
    )
  return parser


def _png(path: str) -> str:
  if not path.endswith(".png"):
    raise argparse.ArgumentTypeError(f"{path!r} must end in .png")
  return path


def _read(text: str) -> Any:
  """A number, a sequence or None if it is spelt as one, else the text itself.

  >>> _read("5"), _read("(50, 10)"), _read("0-4, 7"), _read("seeded")
  (5, (50, 10), '0-4, 7', 'seeded')
  """
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


if __name__ == "__main__":
  main()
