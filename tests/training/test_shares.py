"""Shares of trials: each trained once, by whichever processes come, and put together in order."""

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.core.errors import ConfigError, IncompleteRun, InterruptedRun, WorkdirError
from tagjax.storage.workdir import InUseError, Workdir
from tagjax.training import shares as library
from tagjax.training.options import RunOptions
from tagjax.training.shares import check_process, origins, shares_of, split, train_shares

numbers = st.integers(1, 12)


@given(numbers, numbers)
def test_shares_hold_every_trial_once_and_are_equal(num_trials, num_shares):
  num_shares = min(num_trials, num_shares)
  parts = split(num_trials, num_shares)
  assert [trial for part in parts for trial in part] == list(range(num_trials))
  assert max(map(len, parts)) - min(map(len, parts)) <= 1
  assert len(parts) == num_shares


@given(numbers, numbers)
def test_each_share_is_of_one_process_whatever_their_number(num_shares, num_processes):
  processes = [(number, num_processes) for number in range(num_processes)]
  owned = [share for process in processes for share in shares_of(process, num_shares)]
  assert sorted(owned) == list(range(num_shares))


class Run:
  """A run of four trials; notes what is trained, by which process."""

  def __init__(self, path, num_trials=4):
    self.root, self.num_trials, self.trained = Workdir(path), num_trials, []

  def start(self, number, count, *, identity=None, fault=None, before=None):
    """Process `number` of `count`; `fault` comes after, `before` it is known to be possible."""

    def train(trials, folder, claim):
      if before is not None:
        raise before
      claim()
      if fault is not None:
        raise fault
      self.trained.append((number, list(trials)))
      return {"trials": list(trials), "folder": folder.path.name}

    identity = {"epochs": 1} if identity is None else identity
    found = train_shares(
      self.root, identity, (number, count), self.num_trials, train, lambda own: f"trials {own}"
    )
    return [share["trials"] for share in found]

  @property
  def files(self):
    return {str(path.relative_to(self.root.path)) for path in self.root.path.rglob("*.json")}


@pytest.fixture
def run(tmp_path, monkeypatch):
  monkeypatch.setattr(library, "_START_SECONDS", 0.0)
  monkeypatch.setattr(library, "_NETWORK_SECONDS", 0.0)
  return Run(tmp_path)


def test_the_last_one_puts_the_shares_together(run):
  with pytest.raises(IncompleteRun) as part:
    run.start(0, 2)
  assert str(part.value).startswith(
    "ended: trials range(0, 2). Missing: trials range(2, 4). Their processes finish them, or the "
    "same command does, in any number of processes."
  )
  assert run.start(1, 2) == [[0, 1], [2, 3]]
  assert run.trained == [(0, [0, 1]), (1, [2, 3])]


def test_one_process_trains_what_a_dead_one_has_left_and_nothing_else(run):
  with pytest.raises(KeyboardInterrupt):
    run.start(0, 2, fault=KeyboardInterrupt())
  with pytest.raises(IncompleteRun):
    run.start(1, 2)
  assert run.start(0, 1) == [[0, 1], [2, 3]]
  assert run.trained == [(1, [2, 3]), (0, [0, 1])]
  assert run.start(0, 1) == [[0, 1], [2, 3]]
  assert len(run.trained) == 2


def test_more_processes_than_shares_have_nothing_to_do(run, capsys):
  with pytest.raises(IncompleteRun):
    run.start(0, 2)
  with pytest.raises(IncompleteRun):
    run.start(2, 3)
  assert "process 2 has nothing to train: there are 2 shares" in capsys.readouterr().err
  assert run.start(1, 3) == [[0, 1], [2, 3]]


def test_more_processes_than_trials_make_a_share_of_each_trial(tmp_path):
  run = Run(tmp_path, num_trials=2)
  with pytest.raises(IncompleteRun):
    run.start(0, 3)
  with pytest.raises(IncompleteRun):
    run.start(2, 3)
  assert run.start(1, 3) == [[0], [1]]


def test_a_share_in_use_is_left_alone(run, capsys):
  with pytest.raises(IncompleteRun):
    run.start(0, 2)
  with Workdir(run.root.path / "shares" / "1").lock(), pytest.raises(IncompleteRun):
    run.start(0, 1)
  assert "another process trains trials range(2, 4)" in capsys.readouterr().err
  assert run.trained == [(0, [0, 1])]


def test_process_0_comes_first(run):
  text = r"^process 1 does not see in .* what process 0 writes there: start process 0, and choose"
  with pytest.raises(WorkdirError, match=text):
    run.start(1, 2)
  with run.root.lock(), pytest.raises(InUseError):
    run.start(0, 2)


def test_what_cannot_be_trained_claims_no_folder(run):
  with pytest.raises(ConfigError):
    run.start(0, 2, before=ConfigError("too large"))
  assert run.files == set()
  with pytest.raises(IncompleteRun):
    run.start(0, 4)
  assert run.files == {"config.json", "shares/plan.json", "shares/0.json"}


def test_another_config_and_a_run_of_one_process_are_refused(run, tmp_path):
  with pytest.raises(IncompleteRun):
    run.start(0, 2)
  with pytest.raises(WorkdirError, match=r"config\.epochs is 1 there and 2 here"):
    run.start(1, 2, identity={"epochs": 2})
  other = Run(tmp_path / "other")
  other.root.claim({"epochs": 1})
  with pytest.raises(WorkdirError, match="holds a run of one process: go on with one"):
    other.start(0, 2)
  with pytest.raises(WorkdirError, match="process 1 does not see"):
    other.start(1, 2)


def test_a_stopped_share_names_the_folder_of_the_run(run):
  with pytest.raises(InterruptedRun) as stop:
    run.start(0, 2, fault=InterruptedRun("in shares/0"))
  assert str(stop.value) == f"stopped and saved: the same command goes on in {run.root.path}"


def test_code_and_devices_that_differ_are_told(capsys):
  here, there = {"commit": "a", "devices": {"kind": "cpu"}}, {"commit": "b"}
  assert origins([{"provenance": here}, {"provenance": dict(here)}]) == here
  assert capsys.readouterr().err == ""
  every = [{"provenance": here}, {"provenance": here | there}]
  assert origins(every) == here | {"shares": [here, here | there]}
  assert "commit is 'a' and 'b'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("process", "changes", "message"),
  [
    ((2, 2), {}, r"^process=\(2, 2\): must be \(i, n\) with i from 0 to n - 1$"),
    ((-1, 2), {}, "must be"),
    ((0, 0), {}, "must be"),
    ((0, 2), {"data_parallel": 2}, "^data_parallel=2: 2 processes share trials out or each batch"),
    ((0, 2), {"num_trials": 1}, "^seeds=1 cannot be shared out to 2 processes.*data_parallel=2$"),
    ((0, 2), {"workdir": None}, r"^process=\(0, 2\): .*: give a workdir$"),
    ((0, 2), {"joined": 2}, "^process=.*: these 2 processes have been joined, so they share each"),
  ],
)
def test_what_processes_cannot_share_out_is_one_line(monkeypatch, process, changes, message):
  options = RunOptions(data_parallel=changes.get("data_parallel", 1))
  monkeypatch.setattr(jax, "process_count", lambda: changes.get("joined", 1))
  arguments = (changes.get("num_trials", 4), options, changes.get("workdir", "somewhere"))
  with pytest.raises(ConfigError, match=message) as error:
    check_process(process, *arguments)
  assert "\n" not in str(error.value)
  check_process((0, 1), *arguments)
