"""Faults of the disk, injected by count and not by chance: `python tests/drill/faults.py`.

A small run, and a small grid, are trained again and again while the n-th write, sync, rename or
opening for writing fails, for every n: once, or all from then on. Then the same command is given
again. It must have ended well, or with one line and no traceback, and then end with the bits of a
run that nothing happened to.

Then a loss of power: the run's journal of system calls tells, after each call, what the disk would
hold. From each of these states the command is given again. In them

* `killed`: all that was written is there, as after kill -9;
* `contents lost`: all names are there, and of each file what was synced last, or nothing;
* `half written`: the same, but half of what was never synced is there;
* `names lost`: what was made, renamed or deleted after the last sync of anything has not happened.

`--every=N` takes one in N. Needs gcc and Linux: shim.c stands between the process and the disk.
"""

import argparse
import contextlib
import ctypes
import errno
import hashlib
import io
import json
import os
import pathlib
import posixpath
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
KINDS = ("write", "sync", "rename", "open")
ERRORS = {"write": errno.ENOSPC, "sync": errno.EIO, "rename": errno.ENOSPC, "open": errno.ENOSPC}
_IN_CHILD = "TAGJAX_DRILL_SHIM"


class File:
  """A file of the simulated disk: what was written, and what of it was synced."""

  def __init__(self):
    self.data, self.synced = bytearray(), None


class Disk:
  """What a disk would hold; replays a journal of shim.c."""

  def __init__(self, root: str):
    self._root = root
    self._names: dict[str, File | None] = {}  # None: a folder
    self._committed: dict[str, File | None] = {}

  def apply(self, what: str, one: str, two: str, at: int, data: bytes) -> None:
    """Does what a system call did."""
    one, two = self._short(one), self._short(two)
    names = self._names
    if what == "C":
      names[one] = File()
    elif what == "M":
      names[one] = None
    elif what == "U":
      names.pop(one, None)
    elif what == "R":
      for name in [name for name in names if name == one or name.startswith(f"{one}/")]:
        names[two + name[len(one) :]] = names.pop(name)
    elif what == "S":
      if (file := names.get(one)) is not None:
        file.synced = bytes(file.data)
      self._committed = dict(names)
    elif (file := names.get(one)) is not None:
      if what == "T":
        file.data = bytearray()
      elif what == "L":
        file.data = file.data[:at].ljust(at, b"\0")
      elif what == "W":
        file.data = file.data.ljust(at, b"\0")
        file.data[at : at + len(data)] = data

  def states(self) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """What may be there after a kill or a loss of power now."""
    yield "killed", _contents(self._names, lambda file: bytes(file.data))
    yield "contents lost", _contents(self._names, lambda file: file.synced or b"")
    yield "half written", _contents(self._names, _half)
    yield "names lost", _contents(self._committed, lambda file: file.synced or b"")

  def _short(self, path: str) -> str:
    return posixpath.relpath(posixpath.normpath(path), self._root) if path else ""


def _contents(
  names: dict[str, File | None], of: Callable[[File], bytes]
) -> dict[str, bytes | None]:
  return {name: None if file is None else of(file) for name, file in names.items()}


def _half(file: File) -> bytes:
  return bytes(file.data[: len(file.data) // 2]) if file.synced is None else file.synced


def read_journal(path: pathlib.Path) -> Iterator[tuple[str, str, str, int, bytes]]:
  """The entries that shim.c has written."""
  content, place = path.read_bytes(), 0
  while place < len(content):
    what = chr(content[place])
    length, other, at, size = struct.unpack_from("<4q", content, place + 1)
    place += 33
    one = content[place : place + length].decode()
    two = content[place + length : place + length + other].decode()
    place += length + other
    data = content[place : place + size] if what == "W" else b""
    place += len(data)
    yield what, one, two, at, data


class Ended(NamedTuple):
  """How a command ended.

  Attributes:
    line: its error; empty if it ended well.
    printed: on stderr.
  """

  line: str
  printed: str

  @property
  def fault(self) -> str:
    """What no command may do."""
    if "Traceback" in self.printed or "its traceback is in" in self.line:
      return f"a traceback: {self.line or self.printed}"
    return "" if "\n" not in self.line else f"several lines: {self.line}"


def outcome(folder: pathlib.Path) -> tuple[str, list[str]]:
  """The results and the logs of a run, without what depends on when and where it ran."""
  results = json.loads((folder / "results.json").read_text())
  for name in ("seconds", "command", "provenance"):
    del results[name]
  logs = sorted(folder.rglob("metrics.jsonl"))
  return json.dumps(results), [log.read_text() for log in logs]


class Outcomes:
  """What became of the trials, by kind."""

  def __init__(self):
    self.counts: dict[str, dict[str, int]] = {}
    self.wrong: list[str] = []

  def add(self, kind: str, what: str, fault: str = "") -> None:
    """Counts a trial."""
    row = self.counts.setdefault(kind, {})
    row[what] = row.get(what, 0) + 1
    if fault:
      self.wrong.append(f"{kind}: {fault}")

  def table(self) -> str:
    """In Markdown."""
    columns = ("trials", "went on", "one line", "same bits then", "wrong")
    lines = [f"| fault | {' | '.join(columns)} |", f"|---{'|---:' * len(columns)}|"]
    for kind, row in self.counts.items():
      line, bits = row.get("line", 0) + row.get("line only", 0), row.get("line", 0)
      same = row.get("went on", 0) + bits + row.get("same", 0)
      total = sum(row.values())
      went = row.get("went on", 0) + row.get("same", 0)
      wrong = row.get("wrong", 0)
      lines.append(f"| {kind} | {total} | {went} | {line} | {same} | {wrong} |")
    return "\n".join(lines)


class Drill:
  """Trains a config again and again in this process, whose programs are compiled once.

  Args:
    config: what is trained.
    root: for its folders, in memory.
    shim: the loaded library.
  """

  def __init__(self, config: Any, root: pathlib.Path, shim: Any):
    self._config, self._root, self._shim = config, root, shim
    self.folder = root / "run"
    self._expected = None

  def train(self) -> Ended:
    """The command, as `tagjax.cli.main` ends it."""
    from tagjax.config.run import run_config
    from tagjax.core import faults

    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
      try:
        run_config(self._config, self.folder, progress=False)
      except Exception as error:
        return Ended(faults.line_of(error, self.folder), printed.getvalue())
    return Ended("", printed.getvalue())

  def reference(self) -> dict[str, int]:
    """Trains without faults; returns how many calls of each kind there were."""
    self._empty()
    self._shim.shim_journal(os.fsencode(self._root / "journal"))
    self._arm(-1, 0, 0, False)
    ended = self.train()
    counts = {kind: self._shim.shim_count(number) for number, kind in enumerate(KINDS)}
    self._shim.shim_journal(b"")
    assert ended == Ended("", ""), ended
    self._expected = outcome(self.folder)
    return counts

  def fail(self, kind: str, place: int, stays: bool) -> tuple[str, str]:
    """Lets a call fail, then gives the command again; what became of it, and what was wrong."""
    self._empty()
    self._arm(KINDS.index(kind), place, ERRORS[kind], stays)
    first = self.train()
    self._arm(-1, 0, 0, False)
    return self._again(first, "line" if first.line else "went on")

  def lose_power(self, state: dict[str, bytes | None]) -> tuple[str, str]:
    """Gives the command in a folder of such contents."""
    self._empty()
    self._arm(-1, 0, 0, False)
    for name, content in sorted(state.items()):
      path = self.folder / name
      if content is None:
        path.mkdir(parents=True, exist_ok=True)
      else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return self._again(Ended("", ""), "same")

  def states(self, every: int) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """The states of the disk after the calls of the reference, each once."""
    disk, seen = Disk(str(self.folder)), set()
    for number, entry in enumerate(read_journal(self._root / "journal")):
      disk.apply(*entry)
      if number % every:
        continue
      for kind, state in disk.states():
        key = hashlib.sha256(repr(sorted(state.items())).encode()).digest()
        if key not in seen:
          seen.add(key)
          yield kind, state

  def _again(self, first: Ended, what: str) -> tuple[str, str]:
    if first.fault:
      return "wrong", first.fault
    ended = self.train()
    if ended.fault:
      return "wrong", f"then {ended.fault}"
    if ended.line:
      # All that was kept may be lost with the power; then one line says so.
      return ("line only", "") if not first.line else ("wrong", f"for ever: {ended.line}")
    if outcome(self.folder) != self._expected:
      return "wrong", f"other results after {first.line!r}, {ended.printed!r}"
    return what, ""

  def _empty(self) -> None:
    self._shim.shim_arm(b"", -1, 0, 0, 0)
    shutil.rmtree(self.folder, ignore_errors=True)
    self.folder.mkdir()

  def _arm(self, kind: int, place: int, number: int, stays: bool) -> None:
    self._shim.shim_arm(os.fsencode(self.folder), kind, ctypes.c_long(place), number, int(stays))


def configs() -> dict[str, Any]:
  """What is trained: a run with a memory and TAG, and a grid of two groups."""
  from tagjax.config.defaults import base_config

  small = {
    "num_tasks": 2,
    "train_examples_per_task": 45,
    "test_examples_per_task": 40,
    "mlp.hidden": (8,),
    "method": "er+tag",
    "learning_rate": 0.1,
    "plots": False,
    "seeds": 1,
    "checkpoint_every": 4,
    "chunk_steps": 2,
  }
  run, grid = base_config(), base_config()
  run.update_from_flattened_dict(small)
  grid.update_from_flattened_dict(small | {"validation_fraction": 0.2})
  grid.sweep = {"learning_rate": [0.1, 0.01], "epochs": [1, 2]}
  return {"run": run, "grid": grid}


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
  """Programs of the same shapes are made once for all runs of the block."""
  from tagjax.engine.programs import Programs
  from tagjax.training import assemble

  made: dict[str, Programs] = {}

  def programs(learner, single, **options):
    key = repr(sorted((name, repr(value)) for name, value in options.items()))
    if key not in made:
      made[key] = Programs(learner, single, **options)
    return made[key]

  before, assemble.Programs = assemble.Programs, programs
  try:
    yield
  finally:
    assemble.Programs = before


def drill(name: str, config: Any, root: pathlib.Path, shim: Any, every: int) -> Outcomes:
  """All trials of a config, or one in `every`."""
  outcomes, trials = Outcomes(), Drill(config, root, shim)
  with compiled_once():
    trials.reference()
    counts = trials.reference()  # nothing is compiled any more
    for kind in KINDS:
      for stays in (False, True):
        for place in range(1, counts[kind] + 1, every):
          what, fault = trials.fail(kind, place, stays)
          label = f"{name}: {kind} fails{', and all after it' if stays else ' once'}"
          outcomes.add(label, what, fault and f"call {place}: {fault}")
    for number, (kind, state) in enumerate(trials.states(every)):
      what, fault = trials.lose_power(state)
      outcomes.add(f"{name}: {kind}", what, fault and f"state {number}: {fault}")
  return outcomes


def build(folder: pathlib.Path) -> pathlib.Path | None:
  """Compiles shim.c; None where that cannot be."""
  target = folder / "shim.so"
  command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(target), str(HERE / "shim.c"), "-ldl"]
  try:
    subprocess.run(command, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  return target


def start(arguments: list[str]) -> int:
  """Runs this script anew with shim.c before the C library; 2 where that cannot be."""
  with tempfile.TemporaryDirectory(prefix="tagjax-shim-") as folder:
    shim = build(pathlib.Path(folder))
    if shim is None:
      print("faults: needs gcc and Linux", file=sys.stderr)
      return 2
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "LD_PRELOAD": str(shim), _IN_CHILD: str(shim), "PYTHONPATH": path}
    return subprocess.run([sys.executable, __file__, *arguments], env=env, check=False).returncode


def main() -> int:
  """Prints the table; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--every", type=int, default=1, metavar="N", help="takes one trial in N")
  parser.add_argument("--only", choices=("run", "grid"), help="what is trained; default: both")
  options = parser.parse_args()
  if _IN_CHILD not in os.environ:
    return start(sys.argv[1:])
  shim = ctypes.CDLL(os.environ[_IN_CHILD])
  in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
  wrong = 0
  with tempfile.TemporaryDirectory(prefix="tagjax-faults-", dir=in_memory) as folder:
    for name, config in configs().items():
      if options.only in (None, name):
        root = pathlib.Path(folder) / name
        root.mkdir()
        outcomes = drill(name, config, root, shim, options.every)
        print(outcomes.table(), flush=True)
        for text in outcomes.wrong:
          print(f"  {text}", file=sys.stderr, flush=True)
        wrong += len(outcomes.wrong)
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
