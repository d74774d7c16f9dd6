"""A study of Optuna that several workers share: this file alone knows Optuna.

A worker is a process that takes trials of the study, one after another, until it has as many as
were asked for. All that workers know of each other is in the study's storage. A worker that has
died is noticed by its lock (in the same folder, on the same machine) or by its silence: each sets a
beat in the trial that it trains.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tagjax.core import paths
from tagjax.core.errors import ConfigError, InterruptedRun, WorkdirError
from tagjax.core.interrupts import stop_on_signals
from tagjax.core.register import register_section
from tagjax.storage.workdir import differences
from tagjax.training.space import Range, Space

if TYPE_CHECKING:
  import optuna

DATABASE = "study.db"
WORKERS = "workers"

BEAT_SECONDS = 20.0
"""Between two beats of a worker."""

SILENT_SECONDS = 120.0
"""After so long without a beat a worker counts as dead."""

MOST_DEATHS = 3
"""A point with which so many workers have died is not tried again."""

_WAIT_SECONDS = (0.5, 10.0)
_FIRST, _DEATHS, _WORKER, _BEAT, _ROW, _SECONDS, _STARTS, _IDENTITY, _CLAIMED = (
  "first",
  "deaths",
  "worker",
  "beat",
  "row",
  "seconds",
  "starts",
  "config",
  "claimed",
)


@register_section("study")
@dataclasses.dataclass(frozen=True)
class StudyOptions:
  """How a search is carried out.

  Attributes:
    trials: points of the whole search, those of all workers together, at least 1. It may be raised
      later: the search goes on.
    storage: where the study is kept: an URL of a database that SQLAlchemy knows, such as
      `postgresql://user@host/name`, or the path of a file (Optuna's journal) that all workers see.
      None: an SQLite file in the run's folder, for the workers of one machine.
    study_name: what the study is called in its storage, which may hold several.
    seed: seed of the sampler that proposes points, at least 0.
    prune: whether a point is given up when its average accuracy so far, after some task, is less
      than the median of the points that have ended; of these there must be five.
    prune_from: the first task, counted from 1, after which points are given up. Before the second
      one has been learned nothing is forgotten, and points that forget little look bad.

  Raises:
    ConfigError: if an option is out of range; one line with its name, its value and what it must
      be.
  """

  trials: int = 50
  storage: str | None = None
  study_name: str = "search"
  seed: int = 0
  prune: bool = True
  prune_from: int = 2

  def __post_init__(self):
    for name, least in (("trials", 1), ("seed", 0), ("prune_from", 1)):
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r}: must be a whole number, at least {least}")
    for name in ("study_name", "storage"):
      if getattr(self, name) == "":
        raise ConfigError(f"{name}='': must not be empty")


def import_optuna() -> types.ModuleType:
  """Optuna, loaded when a search runs and not before.

  Raises:
    ConfigError: if it is not installed.
  """
  try:
    import optuna
  except ModuleNotFoundError as error:
    raise ConfigError(
      "a search needs Optuna, which is not installed: pip install 'optuna>=5,<6'"
    ) from error
  optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would print every trial
  return optuna


def shown_storage(storage: str) -> str:
  """The storage without a password.

  >>> shown_storage("postgresql://me:secret@host/name")
  'postgresql://me:***@host/name'
  """
  scheme, separator, rest = storage.partition("://")
  account, at, place = rest.rpartition("@")
  user, colon, _ = account.partition(":")
  return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}"


def open_study(
  options: StudyOptions, folder: Path | None, identity: Mapping[str, Any]
) -> "optuna.Study":
  """The study, which is created if it is not there yet.

  One in which nothing was ever trained, since its first points failed, makes room for another: who
  has mended a command may give it again.

  Args:
    options: its name and storage.
    folder: holds the database if no storage is named; None: memory does.
    identity: JSON values that the study belongs to.

  Raises:
    ConfigError: if Optuna is missing, or the storage cannot be opened.
    WorkdirError: if the study is another search's.
  """
  library = import_optuna()
  storage = _open_storage(options.storage, folder)
  study = _create(options, storage)
  differing = _differing(study, identity)
  if differing and _has_only_failed(study):
    library.delete_study(study_name=options.study_name, storage=storage)
    study = _create(options, storage)
    differing = _differing(study, identity)
  if differing:
    where = shown_storage(options.storage) if options.storage else folder
    raise WorkdirError(
      f"study {options.study_name!r} in {where} is of another search: {'; '.join(differing)}. "
      "Choose another study.study_name, or the same config to take part in that search"
    )
  return study


def claim_study(study: "optuna.Study") -> None:
  """From now on the study belongs to its search for good: something was trained."""
  if _CLAIMED not in study.user_attrs:
    study.set_user_attr(_CLAIMED, True)


def _create(options: StudyOptions, storage: Any) -> "optuna.Study":
  """The study as it is there, or a new one."""
  library = import_optuna()
  pruners = library.pruners
  median = pruners.MedianPruner(n_warmup_steps=options.prune_from - 1)
  try:
    return library.create_study(
      storage=storage,
      study_name=options.study_name,
      direction="maximize",
      load_if_exists=True,
      pruner=median if options.prune else pruners.NopPruner(),
    )
  except library.exceptions.StorageInternalError as error:
    raise _unusable(str(options.storage), error.__cause__ or error) from error


def _differing(study: "optuna.Study", identity: Mapping[str, Any]) -> list[str]:
  """What tells the study's search from this one; a new study becomes this one's."""
  if _IDENTITY not in study.user_attrs and not study.get_trials(deepcopy=False):
    study.set_user_attr(_IDENTITY, dict(identity))
  there = study.user_attrs.get(_IDENTITY, {})
  return [
    f"{key} is {old!r} there and {new!r} here"
    for key, old, new in differences({"config": there}, {"config": dict(identity)})
  ]


def _has_only_failed(study: "optuna.Study") -> bool:
  """Whether points of the search were tried, none was trained, and nobody is at one."""
  state = import_optuna().trial.TrialState
  states = {trial.state for trial in study.get_trials(deepcopy=False)}
  is_ours = _IDENTITY in study.user_attrs and _CLAIMED not in study.user_attrs
  return is_ours and state.FAIL in states and states <= {state.FAIL, state.WAITING}


def _open_storage(storage: str | None, folder: Path | None) -> Any:
  library = import_optuna()
  if storage is None and folder is None:
    return library.storages.InMemoryStorage()
  if storage is None:
    storage = f"sqlite:///{folder}/{DATABASE}"
  if "://" not in storage:
    return _open_journal(paths.absolute(storage))
  from sqlalchemy.exc import SQLAlchemyError

  # Others write too: wait for them.
  patience = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
  for last in (False, False, True):
    try:
      return library.storages.RDBStorage(storage, engine_kwargs=patience)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
      if last or isinstance(error, ImportError | ValueError):
        raise _unusable(storage, error.__cause__ or error) from error
    time.sleep(1.0)  # two workers may have made the tables at the same moment
  raise AssertionError


def _open_journal(path: Path) -> Any:
  library = import_optuna()
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    return library.storages.JournalStorage(library.storages.journal.JournalFileBackend(str(path)))
  except (OSError, ValueError) as error:  # such as a file of another kind
    raise _unusable(str(path), error) from error


def _unusable(storage: str, error: BaseException) -> ConfigError:
  reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
  return ConfigError(
    f"study.storage={shown_storage(storage)!r}: {reason}. Give an URL such as "
    "sqlite:///FILE or postgresql://USER@HOST/NAME, or the path of a journal file"
  )


class Told(NamedTuple):
  """What a trial that has ended has told, see `Asked.end`."""

  row: dict[str, Any]
  seconds: dict[str, float]
  starts: list[dict[str, Any]]


class Asked:
  """A trial that this worker trains: a context manager that gives its point back if that fails.

  Attributes:
    point: a value for each key.
    number: of the trial in the study.
    first: number of the trial that first tried this point; names its folder.
  """

  def __init__(self, study: "optuna.Study", trial: Any, space: Space, shared: bool):
    self.point = {key: _suggest(trial, key, own) for key, own in space.items()}
    self.number: int = trial.number
    self.first: int = trial.user_attrs.get(_FIRST, trial.number)
    self._study, self._trial = study, trial
    self._reported = 0
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True) if shared else None

  def __enter__(self) -> "Asked":
    if self._thread is not None:
      self._thread.start()
    return self

  def __exit__(self, kind, error, traceback) -> bool:
    self._stopped.set()
    if self._thread is not None:
      self._thread.join()
    if error is None:
      return False
    if isinstance(error, import_optuna().exceptions.UpdateFinishedTrialError):
      print(
        f"trial {self.number}: this worker was silent for {SILENT_SECONDS:g} s, and another has "
        "the point now",
        file=sys.stderr,
      )
      return True
    with contextlib.suppress(Exception):  # the error itself says more
      # A point that the config refuses would be refused again.
      give_back(self._study, self.number, again=not isinstance(error, ConfigError),
                died=not isinstance(error, InterruptedRun))  # fmt: skip
    return False

  def is_hopeless(self, accuracies: Sequence[float]) -> bool:
    """Reports the average accuracy so far at each step up to now; whether to give the point up.

    Optuna's median pruner compares a trial's best step so far with the median at the present one.
    Accuracy so far falls from task to task, so the best would be the first and no trial would ever
    be pruned: here the present one is compared.
    """
    for step in range(self._reported, len(accuracies)):
      self._trial.report(accuracies[step], step)
    self._reported = len(accuracies)
    library = import_optuna()
    now = library.trial.create_trial(
      state=library.trial.TrialState.RUNNING,
      intermediate_values={len(accuracies) - 1: accuracies[-1]},
    )
    return self._study.pruner.prune(self._study, now)

  def end(
    self,
    row: Mapping[str, Any],
    seconds: Mapping[str, float],
    starts: Sequence[Mapping[str, Any]] = (),
  ) -> None:
    """Ends the trial, as one without a value if it has no average accuracy.

    Args:
      row: what results tell of the point.
      seconds: that it took.
      starts: see `tagjax.training.record.RunRecord`.
    """
    state = import_optuna().trial.TrialState
    self._trial.set_user_attr(_ROW, dict(row))
    self._trial.set_user_attr(_SECONDS, dict(seconds))
    self._trial.set_user_attr(_STARTS, list(starts))
    figure = row["average_accuracy"]
    self._study.tell(
      self._trial,
      None if figure is None else figure["mean"],
      state=state.PRUNED if figure is None else state.COMPLETE,
    )

  def _beat(self) -> None:
    count = 0
    while not self._stopped.wait(BEAT_SECONDS):
      count += 1
      with contextlib.suppress(Exception):  # the next one may come through
        self._trial.set_user_attr(_BEAT, count)


class Worker:
  """This process's part in a study; a context manager.

  Args:
    study: from `open_study`.
    space: what points are chosen from.
    options: of the study.
    folder: of the run, in which workers of the same machine see that this one lives; None: none.
  """

  def __init__(
    self, study: "optuna.Study", space: Space, options: StudyOptions, folder: Path | None
  ):
    self._study, self._space, self._options, self._folder = study, space, options, folder
    self._state = import_optuna().trial.TrialState
    self._host = socket.gethostname()
    self._name = f"{self._host}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    self._shared = options.storage is not None or folder is not None
    self._heard: dict[int, tuple[Any, float]] = {}
    self._lock: Any = None

  def __enter__(self) -> "Worker":
    if self._folder is not None:
      (self._folder / WORKERS).mkdir(exist_ok=True)
      self._lock = open(self._folder / WORKERS / self._name, "w")
      fcntl.flock(self._lock, fcntl.LOCK_EX)
    return self

  def __exit__(self, kind, error, traceback) -> None:
    if self._lock is not None:
      Path(self._lock.name).unlink(missing_ok=True)
      self._lock.close()
    if isinstance(error, import_optuna().exceptions.StorageInternalError):
      reason = str(error.__cause__ or error).splitlines()[0]
      raise WorkdirError(
        f"the storage of study {self._options.study_name!r} fails: {reason}. When it works again, "
        "the same command goes on"
      ) from error

  def trials(self, progress: bool = True) -> Iterator[Asked]:
    """Trials to train, until the study has ended: those of other workers are waited for.

    Args:
      progress: say on stderr when others are waited for.

    Raises:
      InterruptedRun: SIGINT or SIGTERM came while it waited.
    """
    shortest, longest = _WAIT_SECONDS
    wait, told = shortest, not progress
    while not self.has_ended():
      asked = self._take()
      if asked is not None:
        wait = shortest
        yield asked
        continue
      if not told:
        print("waiting for the trials of other workers", file=sys.stderr, flush=True)
        told = True
      _sleep(wait)
      wait = min(2 * wait, longest)

  def has_ended(self) -> bool:
    """Whether as many trials have ended as were asked for."""
    return len(self._ended()) >= self._options.trials

  def rows(self) -> list[Told]:
    """What has been told of the trials that have ended, in their order."""
    ended = [trial.user_attrs for trial in self._ended() if _ROW in trial.user_attrs]
    return [Told(one[_ROW], one[_SECONDS], one[_STARTS]) for one in ended]

  def _ended(self) -> list[Any]:
    return self._study.get_trials(deepcopy=False, states=(self._state.COMPLETE, self._state.PRUNED))

  def _alive(self) -> list[Any]:
    """The trials that count: all but those that have failed."""
    trials = self._study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state != self._state.FAIL]

  def _take(self) -> Asked | None:
    """The next trial; None if other workers train what is left."""
    self._bury_the_dead()
    while True:
      there = self._alive()
      waiting = any(trial.state == self._state.WAITING for trial in there)
      if len(there) >= self._options.trials and not waiting:
        return None
      trial = self._study.ask()
      place = sum(other.number < trial.number for other in self._alive())
      if place < self._options.trials:
        break
      self._study.tell(trial, state=self._state.FAIL)  # another worker was faster
    trial.set_user_attr(_WORKER, self._name)
    # Of the place, so that a search that was interrupted proposes what it would have; but nothing
    # that has been replaced.
    words = [self._options.seed, place, self._replaced()]
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    self._study.sampler = import_optuna().samplers.TPESampler(seed=seed)
    return Asked(self._study, trial, self._space, self._shared)

  def _replaced(self) -> int:
    """How many points are not tried again."""
    failed = self._study.get_trials(deepcopy=False, states=(self._state.FAIL,))
    return sum(trial.user_attrs.get(_DEATHS, 0) == MOST_DEATHS - 1 for trial in failed)

  def _bury_the_dead(self) -> None:
    """Gives back the points of workers that have died."""
    for trial in self._alive():
      if trial.state == self._state.RUNNING and self._is_dead(trial):
        give_back(self._study, trial.number, again=True, died=True)

  def _is_dead(self, trial: Any) -> bool:
    worker, beat = trial.user_attrs.get(_WORKER, ""), trial.user_attrs.get(_BEAT)
    if worker == self._name or self._has_left(worker):
      return worker != self._name
    known, since = self._heard.get(trial.number, (None, math.nan))
    if trial.number not in self._heard or known != beat:
      self._heard[trial.number] = (beat, time.monotonic())
      return False
    return time.monotonic() - since > SILENT_SECONDS

  def _has_left(self, worker: str) -> bool:
    """Whether a worker of this machine and folder holds its lock no more."""
    if self._folder is None or worker.rsplit(".", 2)[0] != self._host:
      return False
    path = self._folder / WORKERS / worker
    try:
      with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except (FileNotFoundError, BlockingIOError):
      return False
    return True


def give_back(study: "optuna.Study", number: int, *, again: bool, died: bool) -> None:
  """Marks a trial as failed, and has its point tried again.

  Args:
    study: of the trial.
    number: of the trial.
    again: whether its point is to be tried again.
    died: whether this counts as a death of its worker; see `MOST_DEATHS`.
  """
  library = import_optuna()
  (trial,) = [one for one in study.get_trials(deepcopy=False) if one.number == number]
  try:
    study.tell(number, state=library.trial.TrialState.FAIL)
  except (ValueError, library.exceptions.UpdateFinishedTrialError):
    return  # another worker has done so
  deaths = trial.user_attrs.get(_DEATHS, 0) + died
  if again and deaths < MOST_DEATHS:
    first = trial.user_attrs.get(_FIRST, number)
    study.enqueue_trial(trial.params, user_attrs={_FIRST: first, _DEATHS: deaths})


def _suggest(trial: Any, key: str, own: Range | list[Any]) -> Any:
  if isinstance(own, list):
    # Optuna stores plain values; other choices it gets as text.
    plain = all(isinstance(one, bool | int | float | str | type(None)) for one in own)
    names = own if plain else [json.dumps(one) for one in own]
    return own[names.index(trial.suggest_categorical(key, names))]
  suggest = trial.suggest_int if isinstance(own.low, int) else trial.suggest_float
  return suggest(key, own.low, own.high, log=own.log)


def _sleep(seconds: float) -> None:
  with stop_on_signals() as stop:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.requested:
      time.sleep(0.1)
  if stop.requested:
    raise InterruptedRun("stopped: the same command takes part in the search again")
