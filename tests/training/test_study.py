"""Workers of a study: which trials they take, and what becomes of those that die."""

import ast
import contextlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tagjax.core.errors import ConfigError, InterruptedRun, WorkdirError
from tagjax.training import study as library
from tagjax.training.space import Range
from tagjax.training.study import StudyOptions, Worker, claim_study, open_study, shown_storage

SPACE = {
  "rate": Range(1e-4, 0.1, log=True),
  "depth": Range(1, 40),
  "base": ["sgd", "adam"],
  "hidden": [[8], [8, 8]],
}


@pytest.fixture
def make(tmp_path):
  """Makes a worker in the folder `name`, of a study that all share."""
  stack = contextlib.ExitStack()

  def make(name="a", trials=4, identity=None, **options):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    options = StudyOptions(trials=trials, storage=str(tmp_path / "journal"), **options)
    study = open_study(options, folder, identity or {"seeds": 1})
    return stack.enter_context(Worker(study, SPACE, options, folder))

  with stack:
    yield make


def row_of(point, mean):
  figure = None if mean is None else {"mean": mean}
  return {"values": point, "average_accuracy": figure}


def train(asked, mean=0.5):
  with asked:
    asked.end(row_of(asked.point, mean), {"total": 1.0})
  return asked


def score(point):
  """Something to learn, so that the sampler's history matters."""
  return float(np.exp(-np.abs(np.log(point["rate"] / 0.01))))


def train_all(worker):
  return [train(asked, score(asked.point)).point for asked in worker.trials()]


def kill(worker):
  """Its lock goes, as when the process dies; its trials stay."""
  worker._lock.close()


def states(worker):
  return [trial.state.name for trial in worker._study.get_trials()]


def test_points_are_of_the_space_and_of_its_types(make):
  for point in train_all(make(trials=12)):
    assert list(point) == list(SPACE)
    assert 1e-4 <= point["rate"] <= 0.1
    assert 1 <= point["depth"] <= 40
    assert type(point["depth"]) is int
    assert point["base"] in SPACE["base"]
    assert point["hidden"] in SPACE["hidden"]


def test_the_seed_decides_and_an_interruption_does_not(make):
  """12 trials: the sampler is random up to the tenth, and learns from there on."""
  whole = train_all(make(trials=13, study_name="whole"))
  assert len({point["rate"] for point in whole}) == 13
  assert train_all(make(trials=3, study_name="other", seed=1)) != whole[:3]
  first = make(trials=13, study_name="parts")
  parts = []
  for asked in first.trials():
    if len(parts) == 11:
      asked.__enter__()
      break
    parts.append(train(asked, score(asked.point)).point)
  kill(first)
  second = make(trials=13, study_name="parts")
  assert parts + train_all(second) == whole
  assert states(second).count("FAIL") == 1


def test_two_workers_take_as_many_as_were_asked_for(make):
  one, other = make("a"), make("b")
  taken = [one._take(), other._take(), one._take(), other._take()]
  assert len({asked.number for asked in taken}) == 4
  assert len({asked.point["rate"] for asked in taken}) == 4
  assert one._take() is None
  assert not one.has_ended()
  for asked in taken:
    train(asked)
  assert one.has_ended()
  assert [row["values"] for row, *_ in other.rows()] == [asked.point for asked in taken]


def test_a_trial_too_many_is_given_up(make, monkeypatch):
  """Two workers see that one is missing, and both ask for it."""
  one, other = make("a", trials=1), make("b", trials=1)
  alive = one._alive
  calls = []

  def late():
    calls.append(1)
    return [] if len(calls) <= 2 else alive()  # as it was before the other asked

  assert other._take() is not None
  monkeypatch.setattr(one, "_alive", late)
  assert one._take() is None
  assert states(one) == ["RUNNING", "FAIL"]


def test_more_trials_go_on_with_the_study(make):
  assert len(train_all(make(trials=2))) == 2
  assert train_all(make(trials=2)) == []
  assert len(train_all(make(trials=5))) == 3


def test_the_point_of_a_worker_that_died_is_tried_again_at_once(make):
  dead, living = make("a"), make("a")
  lost = dead._take()
  assert living._take().point != lost.point  # it lives
  kill(dead)
  again = living._take()
  assert (again.point, again.first) == (lost.point, lost.number)
  assert states(living) == ["FAIL", "RUNNING", "RUNNING"]
  with pytest.raises(library.import_optuna().exceptions.UpdateFinishedTrialError):
    lost.end(row_of(lost.point, 0.5), {})
  with lost:  # it was only slow: its result is dropped, and it goes on
    lost.end(row_of(lost.point, 0.5), {})


def test_a_worker_elsewhere_is_dead_when_it_is_silent(make, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(library, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
  lost, living = make("a", trials=2)._take(), make("b", trials=2)
  assert living._take() is not None
  lost._trial.set_user_attr("beat", 1)
  for clock[0] in (0.0, 119.0):
    assert living._take() is None
  lost._trial.set_user_attr("beat", 2)
  for clock[0] in (121.0, 240.0):
    assert living._take() is None
  clock[0] = 242.0
  assert living._take().point == lost.point


def test_a_worker_beats_while_it_trains(make, monkeypatch):
  monkeypatch.setattr(library, "BEAT_SECONDS", 0.01)
  worker = make()
  with worker._take() as asked:
    while worker._study.get_trials()[0].user_attrs.get("beat", 0) < 2:
      pass
    asked.end(row_of(asked.point, 0.5), {})
  assert not asked._thread.is_alive()


def test_a_point_that_kills_is_replaced(make):
  tried = []
  for _ in range(library.MOST_DEATHS + 1):
    worker = make(trials=1)
    tried.append(worker._take())
    kill(worker)
  *tries, last = [asked.point for asked in tried]
  assert tries == [tries[0]] * library.MOST_DEATHS
  assert last != tries[0]
  assert [asked.first for asked in tried] == [0, 0, 0, library.MOST_DEATHS]
  assert states(worker) == ["FAIL"] * library.MOST_DEATHS + ["RUNNING"]


@pytest.mark.parametrize(
  ("error", "expected"),
  [
    (InterruptedRun("stopped"), ["FAIL", "WAITING"]),
    (RuntimeError("a bug"), ["FAIL", "WAITING"]),
    (ConfigError("epochs=-1"), ["FAIL"]),  # would be refused again
  ],
)
def test_an_error_gives_the_point_back(make, error, expected):
  worker = make()
  with pytest.raises(type(error)), worker._take():
    raise error
  assert states(worker) == expected
  deaths = [trial.user_attrs["deaths"] for trial in worker._study.get_trials()[1:]]
  assert deaths == [isinstance(error, RuntimeError)] * len(deaths)


def test_the_present_accuracy_is_compared_with_the_median(make):
  """Of five that ended. It falls from task to task: the best would be the first, and hide it."""
  worker = make(trials=20, prune_from=2)
  for offset in (-0.2, -0.1, 0.0, 0.1, 0.2):
    with worker._take() as asked:
      for steps in ([0.8], [0.8, 0.6 + offset]):
        assert not asked.is_hopeless(steps)
      asked.end(row_of(asked.point, steps[-1]), {})
  better, worse = worker._take(), worker._take()
  assert not worse.is_hopeless([0.1])  # the first task tells nothing
  assert worse.is_hopeless([0.99, 0.59])
  assert not better.is_hopeless([0.1, 0.61])
  assert better._trial.study.get_trials()[better.number].intermediate_values == {0: 0.1, 1: 0.61}
  never = make(trials=20, prune=False)
  assert not never._take().is_hopeless([0.1, 0.1])


def test_a_study_belongs_to_one_search(make, tmp_path):
  make(identity={"epochs": 1, "tag": {"b": 5.0}})
  with pytest.raises(WorkdirError, match=r"'search' in .*journal.*tag.b is 5.0 there and 3.0 here"):
    make(identity={"epochs": 1, "tag": {"b": 3.0}})
  make(identity={"epochs": 1}, study_name="another")
  optuna = library.import_optuna()
  storage = library._open_storage(str(tmp_path / "journal"), None)
  optuna.create_study(storage=storage, study_name="foreign", direction="maximize").ask()
  with pytest.raises(WorkdirError, match="of another search"):
    make(study_name="foreign")


def fail(worker, claims=False):
  """Its next point fails, before its first step unless it claims the study."""
  with contextlib.suppress(MemoryError), next(worker.trials()):
    if claims:
      claim_study(worker._study)
    raise MemoryError


def test_a_search_that_never_trained_anything_makes_room(make):
  fail(make(identity={"batch_size": 10**9}))
  mended = make(identity={"batch_size": 10})
  assert states(mended) == []  # its point is not tried again, which may be no point of this space
  refused = pytest.raises(WorkdirError, match="batch_size is 10 there and 20 here")
  with next(mended.trials()) as at_work:
    with refused:  # while somebody is at a point
      make(identity={"batch_size": 20})
    at_work.end(row_of(at_work.point, None), {"total": 1.0})


def test_and_one_that_has_trained_something_does_not(make):
  fail(make(identity={"batch_size": 10}), claims=True)
  with pytest.raises(WorkdirError, match="batch_size is 10 there and 20 here"):
    make(identity={"batch_size": 20})
  assert states(make(identity={"batch_size": 10})) == ["FAIL", "WAITING"]


def test_storages_that_cannot_be_opened_are_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr(library, "time", types.SimpleNamespace(sleep=lambda seconds: None))
  (tmp_path / "notes.txt").write_text("no journal\n\n")
  for storage, message in (
    ("nosql://me:secret@host/name", r"storage='nosql://me:\*\*\*@host/name': .*nosql"),
    (f"sqlite:///{tmp_path}/missing/study.db", "unable to open database file"),
    (str(tmp_path / "notes.txt"), r"storage='.*notes.txt': .*journal file"),
  ):
    with pytest.raises(ConfigError, match=message) as error:
      open_study(StudyOptions(storage=storage), tmp_path, {})
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
  ("storage", "shown"),
  [
    ("postgresql://me:a@b@host:5432/name", "postgresql://me:***@host:5432/name"),
    ("mysql+pymysql://me@host/name", "mysql+pymysql://me@host/name"),
    ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
    ("/shared/study.journal", "/shared/study.journal"),
  ],
)
def test_a_password_is_not_shown(storage, shown):
  assert shown_storage(storage) == shown


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"trials": 0}, "^trials=0: must be a whole number, at least 1$"),
    ({"trials": 1.5}, "^trials=1.5: must be a whole number"),
    ({"seed": -1}, "^seed=-1: must be a whole number, at least 0$"),
    ({"prune_from": 0}, "^prune_from=0: must be a whole number, at least 1$"),
    ({"study_name": ""}, "^study_name='': must not be empty$"),
  ],
)
def test_options_out_of_range(options, message):
  with pytest.raises(ConfigError, match=message):
    StudyOptions(**options)


def test_without_optuna_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "optuna", None)
  with pytest.raises(ConfigError, match=r"^a search needs Optuna.*pip install 'optuna>=5,<6'$"):
    open_study(StudyOptions(), None, {})


def test_optuna_is_loaded_by_a_search_alone():
  """No module imports it when it is loaded itself, and no other file names it."""
  importing = []
  for path in Path(library.__file__).parents[1].rglob("*.py"):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
      named = isinstance(node, ast.Import) and any("optuna" in alias.name for alias in node.names)
      if named or (isinstance(node, ast.ImportFrom) and "optuna" in (node.module or "")):
        importing.append((path.name, node in tree.body))
  assert {name for name, _ in importing} == {"study.py"}
  assert not any(at_once for _, at_once in importing)  # the type checker's is in an `if`
