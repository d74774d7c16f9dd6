"""Trials shared out to processes that never meet: each trains a share in a folder of its own.

A trial needs nothing of another one, so the folder of the run is the only channel:

    WORKDIR/shares/plan.json    into how many shares the trials were divided, at the first start
    WORKDIR/shares/2/           lock, log and checkpoints of share 2
    WORKDIR/shares/2.json       what share 2 has measured; there once it has ended

No process waits for another one, and none ends with another. Whoever finds that all shares have
ended puts them together; two that find it at once write the same files. Process i of n trains the
shares i, i + n, ... of the plan, so processes of one command never train the same one; processes of
two commands are kept apart by the lock.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from tagjax.core.errors import ConfigError, IncompleteRun, InterruptedRun, WorkdirError
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.storage.workdir import CONFIG, InUseError, NoWorkdir, Workdir, differences
from tagjax.training.options import RunOptions

FOLDER, PLAN = "shares", "plan.json"
ALONE = (0, 1)
_START_SECONDS = 600.0  # that process 0 may come later than another one, loading of data included
_NETWORK_SECONDS = 60.0  # until a file that one host wrote is seen by another
_POLL_SECONDS = 0.5
_TELL_SECONDS = 5.0

Process = tuple[int, int]
"""`(i, n)`: process i, from 0, of n."""

Train = Callable[[range, Workdir, Callable[[], None]], dict[str, Any]]
"""Trains the trials of a share in its folder and returns what it has measured, as JSON values; it
calls its last argument once it knows that these trials can be trained."""


def check_process(
  process: Process, num_trials: int, options: RunOptions, workdir: str | os.PathLike | None
) -> None:
  """Refuses what processes cannot share out.

  Raises:
    ConfigError: one line with the way out.
  """
  number, count = process
  if not 0 <= number < count:
    raise ConfigError(f"process={process}: must be (i, n) with i from 0 to n - 1")
  if count == 1:
    return
  if jax.process_count() > 1:
    raise ConfigError(
      f"process={process}: these {jax.process_count()} processes have been joined, so they share "
      "each batch; to share trials out, start them without joining them"
    )
  if options.data_parallel > 1:
    raise ConfigError(
      f"data_parallel={options.data_parallel}: {count} processes share trials out or each batch; "
      "set data_parallel=1, or join the processes"
    )
  if num_trials == 1:
    raise ConfigError(
      f"seeds=1 cannot be shared out to {count} processes: choose more seeds, or let the "
      f"processes share each batch with data_parallel={count}"
    )
  if workdir is None:
    raise ConfigError(
      f"process={process}: processes put their trials together in a folder: give a workdir"
    )


def split(num_trials: int, num_shares: int) -> list[range]:
  """Equal shares of trials in order, the first ones larger by one where they do not come out even.

  >>> split(5, 2)
  [range(0, 3), range(3, 5)]
  """
  size, more = divmod(num_trials, num_shares)
  firsts = [share * size + min(share, more) for share in range(num_shares + 1)]
  return [range(first, stop) for first, stop in itertools.pairwise(firsts)]


def shares_of(process: Process, num_shares: int) -> range:
  """The shares that a process trains.

  >>> list(shares_of((1, 2), 5))
  [1, 3]
  """
  number, count = process
  return range(number, num_shares, count)


def are_planned(root: Workdir | NoWorkdir) -> bool:
  """Whether the trials of this run are shared out."""
  return root.path is not None and (root.path / FOLDER / PLAN).exists()


def share_folder(root: Workdir, share: int) -> Workdir:
  """Where a share of a run is trained."""
  return Workdir(root.path / FOLDER / str(share))


class Shares:
  """The shares of a run.

  Attributes:
    trials: of each share.
  """

  def __init__(self, root: Workdir, num_trials: int, num_shares: int):
    self._path = root.path / FOLDER
    self.trials = split(num_trials, num_shares)

  def plan(self) -> None:
    """Writes down how many shares there are."""
    self._path.mkdir(exist_ok=True)
    write_json_atomic(self._path / PLAN, {"num_shares": len(self.trials)})

  def end(self, share: int, measured: Mapping[str, Any]) -> None:
    """Keeps what a share has measured: from now on it has ended."""
    write_json_atomic(self._file(share), measured)

  def missing(self) -> list[int]:
    """The shares that have not ended."""
    there = set(os.listdir(self._path))  # a network file system remembers a name that was not there
    return [share for share in range(len(self.trials)) if self._file(share).name not in there]

  def measured(self) -> list[dict[str, Any]]:
    """What the shares have measured, in order."""
    return [read_json(self._file(share)) for share in range(len(self.trials))]

  def _file(self, share: int):
    return self._path / f"{share}.json"


def train_shares(
  root: Workdir,
  identity: dict[str, Any],
  process: Process,
  num_trials: int,
  train: Train,
  tell: Callable[[range], str],
) -> list[dict[str, Any]]:
  """Trains the shares of this process that have not ended.

  Args:
    root: folder of the run.
    identity: what the folder belongs to.
    process: which process this is.
    num_trials: of the run.
    train: trains a share.
    tell: names trials in messages.

  Returns:
    What each share has measured, in order.

  Raises:
    IncompleteRun: the shares of this process have ended, others have not.
    InterruptedRun: SIGINT or SIGTERM came.
    WorkdirError: the folder holds another run, or process 0 does not write to it.
  """
  with contextlib.ExitStack() as planning:
    if process[0] == 0:
      planning.enter_context(root.lock())
    shares, planned = _find(root, process, num_trials)
    root.check(identity)

    def claim() -> None:
      if not planned:
        shares.plan()
        root.claim(identity)  # after the plan: a config without one is a run of one process
      planning.close()

    if planned:
      planning.close()
    missing = shares.missing() if planned else range(len(shares.trials))
    for share in shares_of(process, len(shares.trials)):
      if share in missing:
        _train_share(root, shares, share, process, train, claim, tell)
  if process[0] >= len(shares.trials):
    _say(f"process {process[0]} has nothing to train: there are {len(shares.trials)} shares")
  if left := shares.missing():
    raise IncompleteRun(_what_is_missing(root, shares, left, tell))
  return shares.measured()


def _find(root: Workdir, process: Process, num_trials: int) -> tuple[Shares, bool]:
  """The shares, and whether they were planned; process 0 plans, and the others wait for that."""
  if process[0] > 0:
    _wait_for_plan(root, process[0])
  if (root.path / CONFIG).exists():
    if not are_planned(root):
      raise WorkdirError(
        f"workdir {root.path} holds a run of one process: go on with one, or choose another "
        "--workdir"
      )
    return Shares(root, num_trials, read_json(root.path / FOLDER / PLAN)["num_shares"]), True
  return Shares(root, num_trials, min(process[1], num_trials)), False


def _wait_for_plan(root: Workdir, number: int) -> None:
  begun, told = time.monotonic(), False
  while not ((root.path / CONFIG).exists() and are_planned(root)):
    waited = time.monotonic() - begun
    if waited >= (_NETWORK_SECONDS if (root.path / CONFIG).exists() else _START_SECONDS):
      raise WorkdirError(
        f"process {number} does not see in {root.path} what process 0 writes there: start process "
        "0, and choose a --workdir on a file system that all hosts share"
      )
    if waited >= _TELL_SECONDS and not told:
      told = True
      _say(f"process {number} waits for process 0 to begin in {root.path}")
    time.sleep(_POLL_SECONDS)


def _train_share(root, shares, share, process, train, claim, tell) -> None:
  """Trains a share, unless another process does."""
  folder, trials = share_folder(root, share), tell(shares.trials[share])
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(folder.lock())
    except InUseError:
      _say(f"another process trains {trials}, in {folder.path}")
      return
    _say(f"process {process[0]} of {process[1]} trains {trials}, in {folder.path}")
    try:
      measured = train(shares.trials[share], folder, claim)
    except InterruptedRun as stop:
      raise InterruptedRun(f"stopped and saved: the same command goes on in {root.path}") from stop
    shares.end(share, measured)


def _what_is_missing(root, shares, left, tell) -> str:
  ended = [tell(trials) for share, trials in enumerate(shares.trials) if share not in left]
  missing = ", ".join(tell(shares.trials[share]) for share in left)
  return (
    f"ended: {', '.join(ended) or 'none'}. Missing: {missing}. Their processes finish them, or the "
    f"same command does, in any number of processes. Everything is in {root.path}"
  )


def origins(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Where the shares came from: what one tells, and what each tells if they differ."""
  every = [share["provenance"] for share in measured]
  found = {
    f"{key} is {one!r} and {other!r}"
    for provenance in every[1:]
    for key, one, other in differences(every[0], provenance)
  }
  if not found:
    return every[0]
  _say(f"note: not all shares were trained by the same code and devices: {'; '.join(found)}")
  return every[0] | {"shares": every}


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
