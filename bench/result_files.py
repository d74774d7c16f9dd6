"""Results of finished runs that the pages cite: copied out of the folders of the runs."""

import argparse
from collections.abc import Callable
from pathlib import Path


def copy_results(folder: Path, target: Path, shown: str) -> None:
  """Copies the results of the runs in `folder`, whose name `shown` takes the place of."""
  target.mkdir(parents=True, exist_ok=True)
  for found in sorted(folder.glob("*/results.json")):
    text = found.read_text(encoding="utf-8").replace(str(folder), shown)
    (target / f"{found.parent.name}.json").write_text(text, encoding="utf-8")


def take_asked(description: str, what: str, take: Callable[[str, Path], None]) -> None:
  """Calls `take(NAME, RUNS_DIR)` for each `--take=NAME=RUNS_DIR` of the command line."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("--take", action="append", default=[], metavar=f"{what}=RUNS_DIR")
  for given in parser.parse_args().take:
    name, _, folder = given.partition("=")
    take(name, Path(folder))
