"""Data sets on this machine: `python -m tagjax.datasets list | status | prepare | verify`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tagjax.core.errors import TagjaxError
from tagjax.core.untrusted import plain_lines
from tagjax.datasets import catalog, folders
from tagjax.datasets import prepared as prepared_lib

_INTERRUPTED = 130
_NARROWEST, _WIDEST = 120, 240  # columns of the table: with words folded, and with all on one line


def main(arguments: Sequence[str] | None = None) -> int:
  """The command line; returns the exit status."""
  options = _parse(arguments)
  try:
    names = catalog.names() if "all" in options.names else options.names
    for name in names:
      catalog.entry(name)
    return options.command(names, options.data_dir)
  except BrokenPipeError:  # `| head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (TagjaxError, ValueError, OSError) as error:
    print(f"datasets: {plain_lines(error)}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("datasets: stopped; the same command starts again", file=sys.stderr)
    return _INTERRUPTED


def _list(names: Sequence[str], data_dir: str | None) -> int:
  """Prints the table of the data sets."""
  from tagjax.datasets import overview  # imports TFDS, which --help need not

  table = Table(box=box.SIMPLE_HEAD)
  rows = [overview.row(name, data_dir) for name in names]
  for column in rows[0]:
    figures = column in ("classes", "images", "shape", "files")
    table.add_column(
      column,
      justify="right" if figures else "left",
      no_wrap=column == "name",
      overflow="fold",
    )
  for row in rows:
    table.add_row(*row.values())
  console = Console()
  # Rich takes 80 columns where there is no terminal, and leaves out what is too wide for them.
  console.width = max(console.width, _NARROWEST) if console.is_terminal else _WIDEST
  console.print(table)
  return 0


def _status(names: Sequence[str], data_dir: str | None) -> int:
  """Says what there is of each data set, and where."""
  from tagjax.datasets import overview

  for name in names:
    print("\n".join(overview.status(name, data_dir)))
  return 0


def _prepare(names: Sequence[str], data_dir: str | None) -> int:
  """Prepares the data sets that are not prepared yet."""
  from tagjax.datasets import prepare

  for name in names:
    begun = time.perf_counter()
    prepared = prepared_lib.find(name, data_dir)
    took = ""
    if prepared is None:
      prepare.prepare(name, data_dir)
      prepared = prepared_lib.find(name, data_dir)
      took = f", made in {time.perf_counter() - begun:.0f} s"
    size = folders.in_words(folders.size(prepared.folder))
    print(f"{name} is prepared in {prepared.folder} ({size}{took})", file=sys.stderr)
  return 0


def _verify(names: Sequence[str], data_dir: str | None) -> int:
  """Checks what is on the disk; one line a check."""
  from tagjax.datasets import verify
  from tagjax.datasets.progress import Bar

  faults = 0
  for name in names:
    print(name)
    with Bar() as bar:
      for check in verify.verify(name, data_dir, bar):
        print(f"  {'ok   ' if check.ok else 'WRONG'}  {check.text}", flush=True)
        faults += not check.ok
  return 1 if faults else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m tagjax.datasets",
    description="What data sets there are, what of them is on this machine, and making them.",
    epilog="The data folder is DIR, else $TFDS_DATA_DIR, else ~/tensorflow_datasets; decoded "
    "arrays are kept in $TAGJAX_CACHE_DIR, else ~/.cache/tagjax.",
  )
  commands = parser.add_subparsers(required=True, metavar="COMMAND")

  def add(name: str, function, num_names: str | None, text: str) -> None:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(command=function, names=["all"])
    command.add_argument("--data_dir", metavar="DIR", help="the data folder")
    if num_names:
      command.add_argument(
        "names", nargs=num_names, metavar="NAME", help="a data set of the list, or `all`"
      )

  add("list", _list, None, "the table of all data sets, with what is here of each")
  add("status", _status, "*", "what is on the disk, where, and what is missing; default: of all")
  add("prepare", _prepare, "+", "downloads what can be downloaded, and prepares what is not")
  add("verify", _verify, "+", "reads everything and checks it; exit status 1 if something is wrong")
  return parser.parse_args(arguments)


if __name__ == "__main__":
  status = main()
  if status == _INTERRUPTED:
    # The usual end would wait for TFDS's threads until they have downloaded everything.
    sys.stdout.flush()
    os._exit(status)
  sys.exit(status)
