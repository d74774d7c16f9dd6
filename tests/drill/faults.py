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

`--every=N` takes one in N, `--every=write=N` one write in N. Needs gcc and Linux: shim.c stands
between the process and the disk.
"""

import argparse
import contextlib
import ctypes
import errno
import functools
import hashlib
import io
import json
import os
import pathlib
import posixpath
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
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


def _digest(state: dict[str, bytes | None]) -> bytes:
  digest = hashlib.sha256()
  for name, content in sorted(state.items()):
    digest.update(f"{name}\0{content if content is None else len(content)}\0".encode())
    digest.update(content or b"")
  return digest.digest()


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

  def expect(self, kind: str, there: int, every: int) -> None:
    """Tells how many calls, or states, there are of which one in `every` is tried."""
    self.counts.setdefault(kind, {}).update(there=there, every=every)

  def add(self, kind: str, what: str, fault: str = "") -> None:
    """Counts a trial."""
    row = self.counts.setdefault(kind, {})
    row[what] = row.get(what, 0) + 1
    if fault:
      self.wrong.append(f"{kind}: {fault}")

  def rows(self) -> dict[str, dict[str, int]]:
    """The figures of each kind, as the table shows them."""
    return {kind: _figures(row) for kind, row in self.counts.items()}


def _figures(row: dict[str, int]) -> dict[str, int]:
  went, line, only, wrong = (
    sum(row.get(what, 0) for what in names)
    for names in (("went on", "same"), ("line",), ("line only",), ("wrong",))
  )
  return {
    **{name: row[name] for name in ("there", "every") if name in row},
    "trials": went + line + only + wrong,
    "went on": went,
    "one line": line + only,
    "same bits then": went + line,
    "wrong": wrong,
  }


COLUMNS = ("there", "trials", "went on", "one line", "same bits then", "wrong")


def table(name: str, rows: dict[str, dict[str, int]]) -> list[str]:
  """The rows of a config in Markdown, their sum last."""
  lines = [f"| {name} | {' | '.join(COLUMNS)} |", f"|---{'|---:' * len(COLUMNS)}|"]
  total = {column: sum(row[column] for row in rows.values()) for column in COLUMNS}
  for kind, row in {**rows, "all": total}.items():
    lines.append(f"| {kind} | {' | '.join(str(row[column]) for column in COLUMNS)} |")
  return lines


class Drill:
  """Trains a config again and again in this process.

  Args:
    config: what is trained.
    root: for its folders, in memory.
    shim: the loaded library.
  """

  def __init__(self, config: Any, root: pathlib.Path, shim: Any):
    self._config, self._root, self._shim = config, root, shim
    self.folder = root / "run"
    self.num_states: dict[str, int] = {}
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
    """Of the states of the disk after each call of the reference one in `every` of each kind.

    Each counts once, under the first kind that it is of.
    """
    disk, seen = Disk(str(self.folder)), set()
    for entry in read_journal(self._root / "journal"):
      disk.apply(*entry)
      for kind, state in disk.states():
        if (key := _digest(state)) in seen:
          continue
        seen.add(key)
        number = self.num_states.get(kind, 0)
        self.num_states[kind] = number + 1
        if number % every == 0:
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
def made_once() -> Iterator[None]:
  """Whatever a run makes before it looks into its folder is made once for all runs of the block.

  What it reads and writes there it reads and writes each time.
  """
  from tagjax.config import run
  from tagjax.engine.programs import Programs
  from tagjax.training import fit, sweep

  kept: dict[tuple, Any] = {}  # holds what its keys name by `id`, too

  def once(make: Callable, name: Callable[..., Any]) -> Callable:
    def of(*arguments, **options):
      key = (make.__name__, name(*arguments, **options))
      if key not in kept:
        kept[key] = make(*arguments, **options)
      return kept[key]

    return of

  def names_of(stream, model, method, trials, options, **others):
    return id(stream), id(model), repr((trials, options, sorted(others.items())))

  made = once(sweep.assemble, names_of)

  def assembled(stream, model, method, trials, *others, **options):
    trainer, forecast = made(stream, model, method, trials, *others, **options)
    trainer.renew(trials)
    return trainer, forecast

  def texts_of(settings):
    return repr(sorted(settings.items()))

  patches = [
    (run, "read", once(run.read, id)),
    *(
      (run, name, once(getattr(run, name), texts_of)) for name in ("validate", "used", "make_parts")
    ),
    *((module, "assemble", assembled) for module in (fit, sweep)),
    *((module, "provenance", once(module.provenance, lambda: "")) for module in (fit, sweep)),
    (fit, "describe_trainer", once(fit.describe_trainer, id)),
    (Programs, "step_flops", once(Programs.step_flops, lambda self, *at: (id(self), *at))),
    (
      Programs,
      "evaluation_flops",
      once(Programs.evaluation_flops, lambda self, at: (id(self), at)),
    ),
  ]
  with contextlib.ExitStack() as stack:
    for module, name, other in patches:
      stack.callback(setattr, module, name, getattr(module, name))
      setattr(module, name, other)
    yield


def drill(config: Any, root: pathlib.Path, shim: Any, every: dict[str, int]) -> Iterator[Outcomes]:
  """All trials of a config, of each kind one in `every`; yields what is known after each kind."""
  outcomes, trials = Outcomes(), Drill(config, root, shim)
  with made_once():
    trials.reference()
    counts = trials.reference()  # nothing is compiled any more
    for kind in KINDS:
      for stays in (False, True):
        label = f"{kind} fails{', and all after it' if stays else ' once'}"
        outcomes.expect(label, counts[kind], every[kind])
        for place in range(1, counts[kind] + 1, every[kind]):
          what, fault = trials.fail(kind, place, stays)
          outcomes.add(label, what, fault and f"call {place}: {fault}")
        yield outcomes
    for number, (kind, state) in enumerate(trials.states(every["power"])):
      what, fault = trials.lose_power(state)
      outcomes.add(f"power: {kind}", what, fault and f"state {number}: {fault}")
    for kind, count in trials.num_states.items():
      outcomes.expect(f"power: {kind}", count, every["power"])
  yield outcomes


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


def every_of(texts: list[str]) -> dict[str, int]:
  """How many trials of each kind there are for one that is made.

  >>> every_of(["3", "rename=1"])
  {'write': 3, 'sync': 3, 'rename': 1, 'open': 3, 'power': 3}
  """
  kinds = (*KINDS, "power")
  found = dict.fromkeys(kinds, 1)
  for text in texts:
    kind, _, number = text.rpartition("=")
    if (kind and kind not in kinds) or not number.isdecimal() or not int(number):
      raise ValueError(f"--every={text}: must be N or KIND=N, N at least 1, KIND of {kinds}")
    found |= dict.fromkeys([kind] if kind else kinds, int(number))
  return found


def main() -> int:
  """Prints the tables; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  text = "takes one trial in N, or one in N of a kind: write, sync, rename, open, power"
  parser.add_argument("--every", action="append", default=[], metavar="[KIND=]N", help=text)
  parser.add_argument("--only", choices=("run", "grid"), help="what is trained; default: both")
  parser.add_argument("--out", type=pathlib.Path, help="JSON file that takes the figures too")
  options = parser.parse_args()
  try:
    every = every_of(options.every)
  except ValueError as error:
    parser.error(str(error))
  if _IN_CHILD not in os.environ:
    return start(sys.argv[1:])
  shim = ctypes.CDLL(os.environ[_IN_CHILD])
  origin()
  in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
  wrong = 0
  with tempfile.TemporaryDirectory(prefix="tagjax-faults-", dir=in_memory) as folder:
    for name, config in configs().items():
      if options.only in (None, name):
        root, begun = pathlib.Path(folder) / name, time.process_time()
        root.mkdir()
        for outcomes in drill(config, root, shim, every):
          seconds = round(time.process_time() - begun)
          if options.out:
            figures = {"rows": outcomes.rows(), "processor_seconds": seconds}
            keep(options.out, name, figures, __file__)
        print(
          *table(name, outcomes.rows()), "", f"{seconds} s of the processor", sep="\n", flush=True
        )
        for text in outcomes.wrong:
          print(f"  {text}", file=sys.stderr, flush=True)
        wrong += len(outcomes.wrong)
  return 1 if wrong else 0


@functools.cache
def origin() -> dict[str, Any]:
  """Of which code it is that runs; to be asked first at the start, for a checkout may change."""
  from tagjax.training.provenance import provenance

  return {key: value for key, value in provenance().items() if key in ("commit", "dirty", "python")}


def keep(path: pathlib.Path, name: str, figures: dict[str, Any], script: str) -> None:
  """Puts figures into a file of results, with the command and the commit that they are of."""
  there = json.loads(path.read_text()) if path.exists() else {}
  own = [one for one in sys.argv[1:] if not one.startswith("--out")]
  command = shlex.join(["python", os.path.relpath(script, HERE.parents[1]), *own])
  there[name] = {"command": command, **origin(), **figures}
  path.write_text(json.dumps(there, indent=1) + "\n")


if __name__ == "__main__":
  sys.exit(main())
