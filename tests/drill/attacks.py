"""The table of attacks, row by row: what repeats each, how often, and with what end.

python tests/drill/attacks.py --suite  runs the tests of the suite that repeat a row, and keeps
                                       how many there were and how many passed
python tests/drill/attacks.py          makes the tables of docs/attacks.md and docs/reliability.md
                                       anew, of docs/figures/drill.json and faults.json
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from typing import Any, NamedTuple

import faults

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRILL, FAULTS = (ROOT / "docs/figures" / f"{name}.json" for name in ("drill", "faults"))
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("attacks", "reliability"))
MARK = re.compile(r"<!-- table: (\w+)(?: (\w+))? -->\n(?:\n?(?:\|.*\n)+)?")


class Attack(NamedTuple):
  """A row of the table.

  Attributes:
    test: what was tried.
    trials: how often, at commit eea146b.
    passed: how many of these.
    rows: of the drill, which repeat it.
    suites: files of tests which repeat it; with `::` and words that their names hold, some of them.
    faults: whether injected faults of the disk repeat it.
  """

  test: str
  trials: int
  passed: int
  rows: tuple[str, ...] = ()
  suites: tuple[str, ...] = ()
  faults: bool = False


ATTACKS = (
  Attack("`kill -9` at random moments, six kinds of runs", 88, 88, ("kills",)),
  Attack("the same, cold starts of the real command", 20, 20, ("kills of cold starts",)),
  Attack(
    "the same, one checkpoint kept, of every second step, two seeds in turn, learning curves",
    41,
    41,
    ("kills with one checkpoint",),
  ),
  Attack(
    "SIGINT, SIGTERM over a run's whole life; SIGHUP now too",
    42,
    24,
    ("signals, and the same command again",),
  ),
  Attack("six signals after a checkpoint", 6, 5, ("signals after a checkpoint",)),
  Attack("damage to checkpoints", 235, 235, ("checkpoints",)),
  Attack("`metrics.jsonl` lost, cut or changed before resuming", 25, 5, ("logs",)),
  Attack(
    "checkpoints of another run, or of other settings",
    19,
    3,
    ("checkpoints of runs with other settings",),
  ),
  Attack("data changed after a checkpoint", 5, 3, ("data that change after a checkpoint",)),
  Attack("damage to `points.json` of a grid (F4)", 14, 3, ("tables of grids",)),
  Attack("damage to compiled programs", 24, 24, ("compiled programs",)),
  Attack(
    "full disks, quotas", 13, 11, ("full disks, and the same command again", "quotas"), faults=True
  ),
  Attack("full disk after the last checkpoint", 6, 1),
  Attack(
    "bad command lines, values, config files",
    384,
    310,
    ("bad command lines and values", "values of all options", "config files with faults"),
  ),
  Attack("arrays of one's own", 42, 33, suites=("tests/benchmarks/test_arrays.py::bad or large",)),
  Attack(
    "prepared data sets damaged",
    85,
    81,
    ("files of a prepared data set",),
    ("tests/datasets/test_prepared.py", "tests/datasets/test_verify.py"),
  ),
  Attack("decoded images damaged", 24, 22, suites=("tests/datasets/test_kept_images.py",)),
  Attack(
    "hostile pickles",
    144,
    139,
    suites=("tests/datasets/test_pickles.py", "tests/fuzz/test_readers.py::pickle or programs"),
  ),
  Attack(
    "hostile tensor files",
    30,
    26,
    ("files of weights",),
    ("tests/models/test_torch_files.py", "tests/fuzz/test_readers.py::tensors"),
  ),
  Attack(
    "hostile tar, tar.gz, zip",
    39,
    39,
    suites=("tests/datasets/test_members.py", "tests/fuzz/test_readers.py::archive or compressed"),
  ),
  Attack(
    "hostile pictures",
    20,
    15,
    ("pictures",),
    ("tests/datasets/test_picture_files.py", "tests/fuzz/test_readers.py::picture"),
  ),
  Attack("hostile folders of data sets", 22, 16, ("prepared data sets",)),
  Attack(
    "hostile folders of runs",
    20,
    8,
    ("folders of runs, and results in them",),
    ("tests/storage/test_workdir.py::link or pipe",),
  ),
  Attack(
    "hostile results for `report.compare`",
    23,
    8,
    ("results of others, compared",),
    ("tests/report/test_form.py", "tests/fuzz/test_readers.py::json or results"),
  ),
  Attack("two starts in one folder, 0 to 200 ms apart", 14, 14, ("two in one folder",)),
  Attack("readers beside a running run", 127, 127, ("readers beside a run",)),
  Attack("several processes prepare one data set", 14, 14, ("several prepare",)),
  Attack(
    "`kill -9` while a data set is prepared or decoded images are written",
    37,
    37,
    ("kills while preparing",),
    ("tests/datasets/test_prepare.py::killed or interruption",),
  ),
  Attack("leaks over long runs", 3, 3),
  Attack("determinism", 24, 22, ("determinism",)),
)

_SOURCES = {
  "full disk after the last checkpoint": "among the failing calls of the row above",
  "leaks over long runs": "`make soak` ([reliability.md](reliability.md))",
}


def attacks_table(drill: dict[str, Any], of_faults: dict[str, Any]) -> list[str]:
  """A row for each attack: then, and now."""
  lines = ["| test | then | passed | now | passed | repeated by |", "|---|---:|---:|---:|---:|---|"]
  for attack in ATTACKS:
    found = [drill[name] for name in (*attack.rows, *attack.suites) if name in drill]
    if attack.faults and of_faults:
      found += [_failing(of_faults)]
    trials, passed = (sum(one[name] for one in found) for name in ("trials", "passed"))
    now = [str(trials), str(passed)] if found else ["-", "-"]
    sources = sources_of(attack, drill)
    cells = [attack.test, str(attack.trials), str(attack.passed), *now, sources]
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def sources_of(attack: Attack, drill: dict[str, Any]) -> str:
  """What repeats an attack, as the table names it."""
  shown = {name: f"drill: {name}" for name in attack.rows}
  shown |= {name: f"`{name.partition('::')[0]}`" for name in attack.suites}
  found = [text + " (not yet)" * (name not in drill) for name, text in shown.items()]
  found += ["failing calls of `faults.py`"] * attack.faults
  return ", ".join(found) or _SOURCES[attack.test]


def _failing(of_faults: dict[str, Any]) -> dict[str, int]:
  """Calls that fail for want of room, over all configs."""
  rows = [
    row
    for config in of_faults.values()
    for kind, row in config["rows"].items()
    if kind.startswith(("write", "rename", "open"))
  ]
  trials = sum(row["trials"] for row in rows)
  return {"trials": trials, "passed": trials - sum(row["wrong"] for row in rows)}


def drill_table(drill: dict[str, Any]) -> list[str]:
  """A row for each row of the drill, and for each file of tests."""
  lines = [
    "| row | trials | passed | most memory (MiB) | seconds | commit |",
    "|---|---:|---:|---:|---:|---|",
  ]
  for name, row in drill.items():
    of_file, _, words = name.partition("::")
    shown = (f"`{of_file}`" + f" ({words})" * bool(words)) if name.startswith("tests/") else name
    most = str(row["most_mib"]) if row.get("most_mib") else "-"
    cells = [shown, *(str(row[key]) for key in ("trials", "passed")), most, str(row["seconds"])]
    lines.append(f"| {' | '.join([*cells, row['commit'][:9]])} |")
  return lines


def tables_made(page: str) -> str:
  """The page with its tables made anew."""
  drill, of_faults = (json.loads(path.read_text(encoding="utf-8")) for path in (DRILL, FAULTS))

  def made(mark: re.Match) -> str:
    kind, name = mark[1], mark[2]
    if kind == "attacks":
      lines = attacks_table(drill, of_faults)
    elif kind == "drill":
      lines = drill_table(drill)
    else:
      lines = faults.table(name, of_faults[name]["rows"] if name in of_faults else {})
    return mark[0].splitlines()[0] + "\n\n" + "\n".join(lines) + "\n"

  return MARK.sub(made, page)


def run_suite(name: str) -> dict[str, Any]:
  """Runs tests of the suite, and counts them."""
  file, _, words = name.partition("::")
  begun = time.monotonic()
  with tempfile.TemporaryDirectory(prefix="tagjax-attacks-") as folder:
    report = pathlib.Path(folder) / "report.xml"
    command = [
      sys.executable,
      "-m",
      "pytest",
      "-p",
      "no:cacheprovider",
      f"--junitxml={report}",
      file,
    ]
    command += ["-k", words] if words else []
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TAGJAX_TESTS_COMPILE_QUICKLY": "1"}
    subprocess.run(command, cwd=ROOT, env=env, check=False, stdout=sys.stderr)
    cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
  failed = {
    case.get("name", ""): "failed"
    for case in cases
    if case.find("failure") is not None or case.find("error") is not None
  }
  made = [case for case in cases if case.find("skipped") is None]
  figures = {"trials": len(made), "passed": len(made) - len(failed), "failed": failed}
  return figures | {"seconds": round(time.monotonic() - begun)}


def main() -> int:
  """Makes the tables; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--suite", action="store_true", help="run the tests of the suite first")
  options = parser.parse_args()
  wrong = 0
  if options.suite:
    for name in dict.fromkeys(name for attack in ATTACKS for name in attack.suites):
      figures = run_suite(name)
      wrong += len(figures["failed"])
      faults.keep(DRILL, name, figures, __file__)
  for page in PAGES:
    page.write_text(tables_made(page.read_text(encoding="utf-8")), encoding="utf-8")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
