"""Searches: each point is its own run, one compilation serves them all, a stop changes nothing."""

import functools
import json

import numpy as np
import optax
import pytest

import tagjax
from tagjax.benchmarks import Experience
from tagjax.config.run import run_config
from tagjax.core.errors import ConfigError, InterruptedRun, WorkdirError
from tagjax.training import assemble as assembling
from tagjax.training import search as library
from tagjax.training.study import Asked
from tagjax.training.train_stream import Cursor
from tagjax.training.trainer import Trainer

OPTIONS = {
  "validation_fraction": 0.4,
  "method": "tag",
  "seeds": 2,
  "chunk_steps": 3,
  "search": {"tag.b": "1..7", "learning_rate": [0.02, 1e20, 0.005]},
  "study.prune": False,
}
TRIALS = 5


class Stopped(Exception):  # noqa: N818  (what a test did, not a fault)
  pass


@pytest.fixture(scope="module")
def made():
  """The trainers that were made while the module's search ran."""
  return []


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory, made):
  """The search, in a folder; test examples are out of its reach."""
  workdir, assemble = tmp_path_factory.mktemp("search"), library.assemble

  def keeping(*arguments, **options):
    made.append(assemble(*arguments, **options))
    return made[-1]

  def untouchable(self):
    raise AssertionError("a search looked at test examples")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(library, "assemble", keeping)
    patch.setattr(Experience, "test", property(untouchable))
    config = tiny(**OPTIONS, study__trials=TRIALS, plots=True)
    grid = run_config(config, workdir, progress=False)
  return workdir, grid


def test_one_compilation_serves_the_search(searched, made):
  [(trainer, _)] = made
  assert trainer.groups == [range(2)]
  assert set(trainer.programs.traces.values()) == {1}


def test_a_point_that_diverges_is_never_chosen(searched):
  _, grid = searched
  points = grid.results["points"]
  assert len(points) == TRIALS
  assert all(1 <= point["values"]["tag.b"] <= 7 for point in points)
  rates = [point["values"]["learning_rate"] for point in points]
  assert {1e20, 0.02} <= set(rates) <= {0.02, 1e20, 0.005}
  for point, rate in zip(points, rates, strict=True):
    assert (point["average_accuracy"] is None) == (rate == 1e20)
    assert point["diverged_seeds"] == ([1, 2] if rate == 1e20 else [])
    assert point["pruned_after"] is None
  ended = [point for point in points if point["average_accuracy"]]
  best = max(ended, key=lambda point: point["average_accuracy"]["mean"])
  assert grid.chosen == best["values"]
  assert "learning_rate" not in grid.at_edge or grid.chosen["learning_rate"] == 0.005


def test_a_point_is_its_own_run_up_to_rounding(searched, tiny):
  _, grid = searched
  point = next(point for point in grid.results["points"] if point["average_accuracy"])
  own = {key: value for key, value in OPTIONS.items() if key not in ("search", "study.prune")}
  run = run_config(tiny(**own, **point["values"], evaluate_on="validation"), None, progress=False)
  for name in ("average_accuracy", "forgetting", "learning_accuracy"):
    np.testing.assert_allclose(point[name]["per_seed"], run.results[name]["per_seed"], atol=0.03)


def test_the_folder_holds_a_table_and_a_plot_as_a_grids(searched, capsys):
  workdir, grid = searched
  table = json.loads((workdir / "points.json").read_text())
  assert [table["points"][str(place)] for place in range(TRIALS)] == grid.results["points"]
  assert (workdir / "search.png").read_bytes().startswith(b"\x89PNG")
  assert {path.name for path in workdir.glob("trials/*/*")} == {
    ".lock",
    "config.json",
    "group.json",
    "metrics.jsonl",
  }
  assert grid.results["seconds"]["compile"] > 0
  assert grid.results["selected_on"] == {
    "split": "validation",
    "tasks": None,
    "seeds": 2,
    "trials": TRIALS,
  }
  loaded = tagjax.load_runs(workdir).grids
  assert [one.chosen for one in loaded] == [grid.chosen]
  assert len(loaded[0].to_frame()) == TRIALS


def test_an_ended_search_gives_its_results_again(searched, tiny, monkeypatch):
  workdir, grid = searched
  monkeypatch.setattr(library, "open_study", None)
  again = run_config(tiny(**OPTIONS, study__trials=TRIALS, plots=True), workdir, progress=False)
  assert again.results == grid.results
  with pytest.raises(WorkdirError, match=r"study.seed is 0 there and 1 here"):
    run_config(tiny(**OPTIONS, study__seed=1, plots=True), workdir, progress=False)


def test_a_stopped_search_goes_on_where_it_was(searched, made, tiny, tmp_path, monkeypatch, capsys):
  """Stopped within a point, by an error and by a signal; and asked for one more at the end."""
  _, whole = searched
  programs = made[0][0].programs  # compiled once for all tests
  monkeypatch.setattr(assembling, "Programs", lambda *arguments, **options: programs)
  assemble, together = library.assemble, []

  def told(*arguments, **options):
    together.append(options["together"])
    return assemble(*arguments, **options)

  monkeypatch.setattr(library, "assemble", told)
  config = tiny(**OPTIONS, study__trials=TRIALS)
  train, trained = Trainer.train, []

  @functools.wraps(train)
  def counted(self, place, *arguments):
    trained.append(place.task)
    train(self, place, *arguments)

  monkeypatch.setattr(Trainer, "train", counted)
  with monkeypatch.context() as patch:
    patch.setattr(Cursor, "perform", _raising(Stopped(), at=2))
    with pytest.raises(Stopped):
      run_config(config, tmp_path, progress=False)
  with monkeypatch.context() as patch:
    patch.setattr(Cursor, "perform", _raising(InterruptedRun("stopped"), at=1))
    with pytest.raises(InterruptedRun, match=f"goes on with the search in {tmp_path}$"):
      run_config(config, tmp_path, progress=False)
  del trained[:]
  resumed = run_config(config, tmp_path, progress=True)
  assert resumed.results["points"] == whole.results["points"]
  assert resumed.chosen == whole.chosen
  assert together[0] is None
  assert set(together[1:]) == {programs.layout.num_lanes}  # as the point was begun
  starts = resumed.results["provenance"]["starts"]
  assert {start["point"] for start in starts} == set(range(TRIALS))
  assert any(start["position"] > 0 for start in starts)
  lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("point ")]
  assert lines[-1].startswith(f"point {TRIALS} of {TRIALS}: tag.b=")

  del trained[:]
  more = run_config(tiny(**OPTIONS, study__trials=TRIALS + 1), tmp_path, progress=False)
  assert more.results["points"][:TRIALS] == whole.results["points"]
  assert len(more.results["points"]) == TRIALS + 1
  assert trained


def _raising(error, at):
  """`Cursor.perform` that raises after the first task of the point number `at`, from 1."""
  perform, seen = Cursor.perform, []

  def stopping(self, action, trials, *arguments):
    perform(self, action, trials, *arguments)
    if action.__name__ == "evaluate" and self.position > 1:
      self.save()
      seen.append(arguments[-1].task)
      if seen.count(0) == at:
        raise error

  return stopping


@pytest.fixture(scope="module")
def stream():
  rng = np.random.default_rng(0)
  label = np.arange(24) % 2
  tasks = []
  for _ in range(3):
    means = rng.normal(size=(2, 5))
    image = (means[label] + 0.1 * rng.normal(size=(24, 5))).astype(np.float32)
    tasks.append((image, label, image[:4], label[:4]))
  return tagjax.Stream.from_arrays("mine", tasks, scenario="domain", validation_fraction=0.25)


def test_objects_can_be_searched_in_memory(stream, monkeypatch):
  """A point that is given up is not trained on; with seeds in turn, the first seed decides."""
  asked_after = []

  def is_hopeless(self, accuracies):
    asked_after.append((self.number, len(accuracies)))
    return self.number == 1 and len(accuracies) == 2

  monkeypatch.setattr(Asked, "is_hopeless", is_hopeless)
  seen = []

  def method_of(h):
    seen.append(h["nesterov"])
    return optax.sgd(h["rate"], 0.5, nesterov=h["nesterov"])

  found = tagjax.search(
    stream,
    tagjax.models.MLP(2, hidden=(4,)),
    method_of,
    space={"rate": "0.01..0.5,log", "nesterov": [True]},
    trials=3,
    seeds=2,
    seed_axis="loop",
    progress=False,
  )
  assert asked_after == [(0, n) for n in range(1, 7)] + [(1, 1), (1, 2)] + [
    (2, n) for n in range(1, 7)
  ]
  assert [point["pruned_after"] for point in found.results["points"]] == [None, 2, None]
  pruned = found.results["points"][1]
  assert pruned["average_accuracy"] is None
  assert found.chosen != pruned["values"]
  assert found.folder is None
  assert found.config["search"] == {"rate": "0.01..0.5,log", "nesterov": [True]}
  assert set(seen) == {True}
  frame = found.to_frame()
  assert frame["pruned_after"].tolist()[1] == 2
  assert frame["chosen"].sum() == 1


def test_what_cannot_be_searched_is_one_line(stream):
  model = tagjax.models.MLP(2, hidden=(4,))

  def tried(space, **options):
    with pytest.raises(ConfigError) as error:
      tagjax.search(stream, model, lambda h: optax.sgd(0.1), space=space, **options)
    return str(error.value)

  assert tried({"rate": "1"}).startswith("space: rate='1' must be such as")
  assert tried({"seeds": [1, 2]}).startswith("space: no search over 'seeds'")
  assert tried({"rate": "1..2"}, trials=0).startswith("trials=0: must be")
  assert tried({"rate": "1..2"}, epoch=1).startswith("epoch is no option of a run")
