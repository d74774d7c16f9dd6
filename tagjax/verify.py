"""Checks a run's folder: `python -m tagjax.verify WORKDIR [WORKDIR...]`.

Reads every checkpoint, the log, the table of a grid and the results, compares each with its digest
and with the others, and prints a line for each. Writes nothing; exit status 1 if something is
wrong. Shares of processes, groups of a grid and points of a search are checked with the folder that
they are in.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tagjax.core import interrupts, untrusted
from tagjax.core.errors import TagjaxError
from tagjax.report.grid import Grid
from tagjax.report.metrics_log import read_log
from tagjax.report.run import load
from tagjax.storage import checkpoint
from tagjax.storage.json_files import as_json, read_json
from tagjax.storage.workdir import CHECKPOINTS, CONFIG, LOG, RESULTS, differences, digest_of
from tagjax.training.options import RunOptions
from tagjax.training.point_table import TABLE, row_of
from tagjax.training.protocol import TUNING
from tagjax.training.record import RunRecord

_PARTS = ("groups", "shares", "trials", "runs")
_MOST_NAMED = 5


class Check(NamedTuple):
  """One thing that was checked.

  Attributes:
    ok: whether it is as it must be.
    text: what it is, or what is wrong with it.
  """

  ok: bool
  text: str


def verify(workdir: str | Path) -> Iterator[Check]:
  """Checks the folder of a run, a grid or a search; a check each.

  Raises:
    TagjaxError: if there is no such folder, or no run in it.
  """
  root = Path(workdir)
  begun = (root / CONFIG).is_file() or (root / RESULTS).is_file()
  if not begun and (root / TUNING / CONFIG).is_file():  # until the values are chosen
    yield from _of_tuning(root)
    return
  if not begun:
    raise TagjaxError(f"{root} holds no run: name the folder that a run was given as --workdir")
  config = None
  if (root / CONFIG).is_file():
    config = read_json(root / CONFIG)
    yield Check(isinstance(config, dict), f"{CONFIG}: of {_name(config)}")
  else:
    yield Check(False, f"{CONFIG} is missing: the same command writes it anew")
  config = config if isinstance(config, dict) else {}
  yield from _of_folder(root, root, config)
  for part in _PARTS:
    folders = root.glob(f"{part}/*/")
    for folder in sorted(folders, key=lambda path: (len(path.name), path.name)):
      own = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else config
      yield from _of_folder(root, folder, own if isinstance(own, dict) else config)
      for group in sorted(folder.glob("groups/*/")):
        yield from _of_folder(root, group, config)
  if (root / TABLE).is_file():
    yield from _of_table(root, config)
  if (root / TUNING).is_dir():
    yield from _of_tuning(root)


def _of_tuning(root: Path) -> Iterator[Check]:
  """The first stage of a run that chooses by tasks of its own."""
  for check in verify(root / TUNING):
    yield check._replace(text=f"{TUNING}/{check.text}")


def _of_folder(root: Path, folder: Path, config: Mapping[str, Any]) -> Iterator[Check]:
  """Checkpoints, log and results that lie in one folder."""
  where = "" if folder == root else f"{folder.relative_to(root)}/"
  records = []
  for found in checkpoint.inspect(folder / CHECKPOINTS):
    name = f"{where}{CHECKPOINTS}/{found.position}"
    fault, record = found.damage, None
    if not fault:
      fault, record = _of_record(found.progress, config, folder / LOG)
    if record is not None:
      records.append(record)
    yield Check(not fault, f"{name}: {fault or f'whole, after {record and record.steps} steps'}")
  last = records[-1] if records else None
  log = []
  if (folder / LOG).is_file():
    fault = ""
    try:
      log = read_log(folder / LOG)
    except TagjaxError as error:
      fault = str(error)
    yield Check(not fault, f"{where}{LOG}: {fault or f'{len(log)} lines'}")
  if (folder / RESULTS).is_file():
    faults = list(_faults_of_results(folder, config, last, log))
    yield Check(
      not faults, f"{where}{RESULTS}: {_told(faults) or 'as the checkpoints and the log'}"
    )


def _of_record(
  progress: Mapping[str, Any], config: Mapping[str, Any], log: Path
) -> tuple[str, RunRecord | None]:
  """What is wrong with a checkpoint's record, and the record if it can be read."""
  try:
    record = RunRecord.from_json(dict(progress))
  except TagjaxError as error:
    return str(error), None
  there = record.of.get("config")
  if not isinstance(there, dict):
    return "it does not tell what it is of", record
  # Groups and points have more keys than the grid that they are of.
  found = differences({key: there.get(key) for key in config}, dict(config), "config")
  texts = [f"{key} is {one!r:.80}, and {other!r:.80} in {CONFIG}" for key, one, other in found]
  digest, length = digest_of(log, record.metrics_bytes)
  if length < record.metrics_bytes:
    texts.append(f"{LOG} has {length} of the {record.metrics_bytes} bytes that it had then")
  elif digest != record.metrics_sha256:
    texts.append(f"{LOG} does not begin with the lines that it had then")
  return _told(texts), record


def _faults_of_results(
  folder: Path, config: Mapping[str, Any], last: RunRecord | None, log: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
  try:
    run = load(folder)
  except TagjaxError as error:
    yield str(error)
    return
  there = run.results.get("config")
  for key, one, other in differences(there, dict(config), "config") if config else ():
    yield f"{key} is {one!r:.80}, and {other!r:.80} in {CONFIG}"
  if isinstance(run, Grid):
    return
  told = (run.results.get("provenance") or {}).get("metrics_sha256")
  if told is not None and digest_of(folder / LOG)[0] != told:
    yield f"{LOG} is not the log that the run has written"
  matrices = as_json(run.results["accuracy_matrix"])
  if last is not None and len(last.accuracy) == len(matrices) and last.accuracy != matrices:
    yield "its accuracies are not those of the newest checkpoint"
  rows = {
    (line["seed"], line["task"]): line["accuracy_after_task"]
    for line in log
    if {"seed", "task", "accuracy_after_task"} <= line.keys()
  }
  for seed, matrix in zip(run.seeds, matrices, strict=True):
    for task, row in enumerate(matrix):
      if (seed, task) in rows and rows[seed, task] != row:
        yield f"accuracies of seed {seed} after task {task + 1} are not those of {LOG}"


def _of_table(root: Path, config: Mapping[str, Any]) -> Iterator[Check]:
  """The points of a grid or search against the records of its groups, and the results."""
  table = read_json(root / TABLE)
  rows = table.get("points") if isinstance(table, dict) else None
  if not isinstance(rows, dict):
    yield Check(False, f"{TABLE} is of another form: the same command writes it anew")
    return
  faults = []
  known = {_key(row.get("values")): row for row in rows.values() if isinstance(row, dict)}
  for folder in sorted(root.glob("groups/*/")):
    for point, row in _rows_of_group(folder, config):
      if row is not None and known.get(_key(point)) not in (None, as_json(row)):
        faults.append(f"point {point} is not as its group's checkpoint has it")
  if (root / RESULTS).is_file():
    results = read_json(root / RESULTS)
    points = results.get("points") if isinstance(results, dict) else None
    if points != [rows.get(str(place)) for place in range(len(rows))]:
      faults.append(f"its points are not those of {RESULTS}")
  yield Check(
    not faults, f"{TABLE}: {_told(faults) or f'{len(rows)} points, as their groups have'}"
  )


def _rows_of_group(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[dict, dict | None]]:
  """Each point of a group, and its row as the group's newest whole checkpoint tells it."""
  whole = [found for found in checkpoint.inspect(folder / CHECKPOINTS) if not found.damage]
  if not whole:
    return
  try:
    record = RunRecord.from_json(dict(whole[-1].progress))
    settings = record.of["config"]["group"]
    fields = {key: {**config, **settings}[key] for key in ("seed", "seeds", "forgetting")}
    options = RunOptions(**fields)
    trials = record.of["trials"][:: options.seeds]
    for index, trial in enumerate(trials):
      point = {**settings, **{key: value for key, value in trial.items() if key != "seed"}}
      yield point, row_of(point, record, index, options)
  except (TagjaxError, KeyError, TypeError, ValueError, IndexError):
    return  # the checkpoint itself has been told


def _key(values: Any) -> tuple:
  return tuple(sorted(values.items())) if isinstance(values, dict) else ()


def _name(config: Any) -> str:
  names = [config.get(key) for key in ("method", "benchmark")] if isinstance(config, dict) else []
  return " on ".join(str(name) for name in names if name) or "another form"


def _told(texts: Sequence[str]) -> str:
  more = len(texts) - _MOST_NAMED
  return "; ".join(texts[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def main(arguments: Sequence[str] | None = None) -> int:
  """The command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tagjax.verify",
    description="Compares checkpoints, log and results of a run with their digests and each other.",
  )
  parser.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="the folder of a run")
  faults = 0
  for workdir in parser.parse_args(arguments).workdirs:
    print(untrusted.plain_text(workdir))
    try:
      for check in verify(workdir):
        print(f"  {'ok   ' if check.ok else 'WRONG'}  {untrusted.plain_text(check.text)}")
        faults += not check.ok
    except KeyboardInterrupt:
      print("verify: stopped; what is told above has been checked", file=sys.stderr)
      return interrupts.INTERRUPTED
    except (TagjaxError, OSError) as error:
      print(f"verify: {untrusted.plain_text(str(error))}", file=sys.stderr)
      faults += 1
  return 1 if faults else 0


if __name__ == "__main__":
  sys.exit(main())
