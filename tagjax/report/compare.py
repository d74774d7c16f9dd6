"""Sets runs side by side: `python -m tagjax.report.compare RUN_DIR [RUN_DIR...]`.

Reads the results.json of each folder and prints a table; `--markdown FILE` also writes it with
the commands, settings and commits that made it, `--picture FILE.png` draws it, `--costs FILE.png`
draws time and memory as multiples of plain SGD's, `--learning-curves` and `--zero-shot FILE.png`
draw how tasks begin. Folders without a finished run are named and left out. Runs whose settings
differ in more than the method are refused, unless `--allow-differences` asks for the table with a
note of what differs.

In Python and notebooks: `tagjax.load_runs(...).compare()`.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tagjax.core.errors import TagjaxError
from tagjax.core.interrupts import INTERRUPTED
from tagjax.core.untrusted import plain_text
from tagjax.metrics.matrix import DEFINITIONS
from tagjax.report.comparison import (
  CompareError,
  check_comparable,
  comparison_rows,
  markdown_report,
  spread,
)
from tagjax.report.comparison_plots import plot_comparison, plot_costs
from tagjax.report.curve_plots import plot_learning_curves, plot_zero_shot
from tagjax.report.runs import Runs, load_runs
from tagjax.report.tables import print_rows


def main(arguments: Sequence[str] | None = None) -> int:
  """The command line; returns the exit status."""
  options = _parse(arguments)
  try:
    _compare(options)
  except KeyboardInterrupt:
    print("compare: stopped", file=sys.stderr)
    return INTERRUPTED
  except (TagjaxError, OSError) as error:
    print(f"compare: {plain_text(str(error))}", file=sys.stderr)
    return 1
  return 0


def _compare(options: argparse.Namespace) -> None:
  loaded = load_runs(*options.run_dirs)
  _tell_grids(loaded)
  runs = loaded.results
  definition, differences = check_comparable(runs, options.forgetting, options.allow_differences)
  rows = comparison_rows(runs, definition)
  print_rows(rows, f"mean ± std over seeds, {spread(runs)}")
  for line in differences:
    print(f"note: {plain_text(line)}", file=sys.stderr)
  if options.picture:
    plot_comparison(runs, definition=definition).savefig(options.picture)
  if options.costs:
    plot_costs(runs).savefig(options.costs)
  if options.learning_curves:
    plot_learning_curves(runs).savefig(options.learning_curves)
  if options.zero_shot:
    plot_zero_shot(runs).savefig(options.zero_shot)
  if options.markdown:
    target = Path(options.markdown)
    picture = _relative(options.picture, target.parent) if options.picture else None
    text = markdown_report(
      runs, definition, differences=differences, picture=picture, command=options.command
    )
    target.write_text(text, encoding="utf-8")


def _tell_grids(loaded: Runs) -> None:
  """Says that grids are left out, or refuses where there is nothing else."""
  if not loaded.grids:
    return
  those = ", ".join(str(grid.folder or grid.name) for grid in loaded.grids)
  text = f"{those}: that of a grid (config.sweep): run what it chose, then compare"
  if not loaded:
    raise CompareError(f"results of {text}")
  print(plain_text(f"note: left out the results of {text}"), file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m tagjax.report.compare", description="Sets the results of runs side by side."
  )
  parser.add_argument(
    "run_dirs", nargs="+", metavar="RUN_DIR", help="workdir of a finished run, or a folder of such"
  )
  parser.add_argument("--markdown", metavar="FILE", help="write the table with its origin")
  parser.add_argument("--picture", metavar="FILE.png", type=_picture, help="draw the comparison")
  parser.add_argument(
    "--costs", metavar="FILE.png", type=_picture, help="draw time and memory relative to SGD"
  )
  parser.add_argument(
    "--learning-curves", metavar="FILE.png", type=_picture, help="draw the first minibatches"
  )
  parser.add_argument(
    "--zero-shot",
    metavar="FILE.png",
    type=_picture,
    help="draw the zero-shot accuracy of each task",
  )
  parser.add_argument(
    "--forgetting", choices=DEFINITIONS, help="definition of forgetting; default: that of the runs"
  )
  parser.add_argument(
    "--allow-differences", action="store_true", help="compare runs whose settings differ"
  )
  options = parser.parse_args(arguments)
  typed = sys.argv[1:] if arguments is None else arguments
  options.command = shlex.join([*parser.prog.split(), *map(str, typed)])
  return options


def _picture(path: str) -> str:
  if Path(path).suffix not in (".png", ".pdf", ".svg"):
    raise argparse.ArgumentTypeError(f"{path!r} must end in .png, .pdf or .svg")
  return path


def _relative(path: str, folder: Path) -> str:
  return Path(os.path.relpath(path, folder)).as_posix()


if __name__ == "__main__":
  sys.exit(main())
