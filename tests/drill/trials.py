"""Trials of the drill: what is attacked, how it ended, and what is wrong with that."""

import contextlib
import io
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import faults

SMALL = (
  "--config.num_tasks=2",
  "--config.seeds=1",
  "--config.train_examples_per_task=40",
  "--config.test_examples_per_task=20",
  "--config.mlp.hidden=(8,)",
  "--config.plots=False",
)
SECONDS = 100.0  # of the processor, which others may use too
MOST_MIB = 1024  # beyond what a small run takes


class Trial(NamedTuple):
  """One attack.

  Attributes:
    name: what is attacked, and how.
    arguments: of `launch.py`.
    env: variables of its process.
    ends: whether the run may end well; else it must be refused in one line.
    unharmed: says whether nothing was executed or changed that is not the run's.
    call: what is called instead of `launch.py`; gives a status, and prints.
  """

  name: str
  arguments: tuple[str, ...]
  env: dict[str, str] = {}  # noqa: RUF012
  ends: bool = False
  unharmed: Callable[[], bool] = lambda: True
  call: Callable[[], int] | None = None


class Ended(NamedTuple):
  """How a call ended, as `Launcher` says it of a command."""

  code: int
  stdout: str
  stderr: str
  seconds: float
  peak: int = 0
  processor: float = 0.0


def fault_of(trial: Trial, ended: Any, usual: int = 0) -> str:
  """What is wrong with how the command ended; empty if nothing is.

  Args:
    trial: the attack.
    ended: how it ended.
    usual: the most KiB that a small run takes.
  """
  lines = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
  if not trial.unharmed():
    return "harm was done"
  if "Traceback" in ended.stderr:
    return "a traceback"
  if any(ord(one) < 32 and one != "\n" for one in ended.stdout + ended.stderr):
    return "control characters"
  if ended.processor > SECONDS:
    return f"{ended.processor:.0f} seconds"
  if ended.peak - usual > MOST_MIB * 1024:
    return f"{ended.peak >> 10} MiB"
  if ended.code == 0 and not trial.ends:
    return "it ended well"
  told = [line for line in lines if line.startswith(("error: ", "compare: "))]
  if ended.code != 0 and told != lines[-1:]:  # before it a run may say how it is placed
    return f"code {ended.code}, no line: {ended.stderr[-200:]!r}"
  return ""


class Tried(NamedTuple):
  """A trial that was made.

  Attributes:
    name: of the trial.
    fault: what is wrong with how it ended; empty if nothing is.
    mib: the most memory that its process has had.
    processor: seconds of it that were taken.
  """

  name: str
  fault: str
  mib: int
  processor: float


def attempt(trials: Iterator[Trial], launch: Callable, usual: int = 0) -> Iterator[Tried]:
  """Makes each trial; see `fault_of`."""
  for trial in trials:
    ended = _call(trial.call) if trial.call else launch(*trial.arguments, **trial.env)
    yield Tried(trial.name, fault_of(trial, ended, usual), ended.peak >> 10, ended.processor)


def _call(call: Callable[[], int]) -> Ended:
  out, err = io.StringIO(), io.StringIO()
  begun, used = time.monotonic(), time.process_time()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), peak() as most:
    code = call()
  seconds, taken = time.monotonic() - begun, time.process_time() - used
  return Ended(code, out.getvalue(), err.getvalue(), seconds, most[0], taken)


@contextlib.contextmanager
def peak() -> Iterator[list[int]]:
  """By how many KiB this process grows in the block; the list holds the number afterwards."""
  own = pathlib.Path("/proc/self")

  def high() -> int:
    with contextlib.suppress(OSError):
      lines = (own / "status").read_text().splitlines()
      return next((int(one.split()[1]) for one in lines if one.startswith("VmHWM")), 0)
    return 0

  found: list[int] = []
  with contextlib.suppress(OSError):
    (own / "clear_refs").write_text("5")  # from here on the highest counts anew
  before = high()
  try:
    yield found
  finally:
    found.append(high() - before)


def lives(pid: int) -> bool:
  """Whether the process has not ended yet."""
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] not in "ZX"


def whole(folder: pathlib.Path, launch: Any, *more: str) -> tuple[tuple[str, ...], tuple]:
  """A run that nothing happens to: its arguments, and its outcome."""
  arguments = (*SMALL, "--config.num_tasks=5", *more)
  ended = launch(*arguments, f"--workdir={folder / 'whole'}")
  assert ended.code == 0, ended.stderr
  return arguments, faults.outcome(folder / "whole")


def then(launch: Any, arguments: tuple[str, ...], is_well: bool, first: Any) -> int:
  """The same command again; 1 without a line of an error, which no trial may end with."""
  if not is_well:
    print(f"first: code {first.code}, {first.stderr[-300:]!r}", file=sys.stderr)
    return 1
  ended = launch(*arguments)
  print(f"then: {ended.stderr[-300:]!r}", file=sys.stderr)
  return int(ended.code != 0)
