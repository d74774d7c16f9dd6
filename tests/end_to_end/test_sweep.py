"""Grids: each point is its own run, whatever happens to its neighbours and to the process."""

import contextlib
import functools
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from tagjax.benchmarks import Experience
from tagjax.config.build import build_stream
from tagjax.config.run import run_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError, IncompleteRun, WorkdirError
from tagjax.engine.programs import Programs
from tagjax.report.grid import Grid
from tagjax.report.run import Run
from tagjax.storage.workdir import Log
from tagjax.training import assemble as assembling
from tagjax.training import sweep
from tagjax.training.point_table import PointTable
from tagjax.training.train_stream import Cursor
from tagjax.training.trainer import Trainer

OPTIONS = {
  "validation_fraction": 0.4,
  "method": "tag",
  "learning_rate": 0.01,
  "seeds": 2,
  "chunk_steps": 3,
}
GRID = {"tag.b": [5, 1], "learning_rate": [0.02, 1e20, 0.005]}


@pytest.fixture(scope="module")
def made():
  """What was assembled while the module's grid was trained."""
  return []


def watching(made):
  """`assemble`, which keeps `(stream, options, trainer)` of each group of a grid."""
  assemble = sweep.assemble

  def keeping(stream, model, method, trials, options, **others):
    trainer, forecast = assemble(stream, model, method, trials, options, **others)
    made.append((stream, options, trainer))
    return trainer, forecast

  return keeping


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory, made):
  """The grid, trained; test examples are out of its reach."""
  workdir = tmp_path_factory.mktemp("sweep")

  def untouchable(self):
    raise AssertionError("a grid looked at test examples")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep, "assemble", watching(made))
    patch.setattr(Experience, "test", property(untouchable))
    grid = run_config(tiny(**OPTIONS, sweep=GRID, plots=True), workdir, progress=False)
  return workdir, grid.results


def accuracies(point):
  return point["average_accuracy"] and point["average_accuracy"]["per_seed"]


def test_points_are_in_the_order_of_the_grid(trained):
  _, results = trained
  values = [tuple(point["values"].values()) for point in results["points"]]
  assert values == [(b, rate) for b in GRID["tag.b"] for rate in GRID["learning_rate"]]


def test_one_compilation_serves_the_grid(trained, made):
  [(_, _, trainer)] = made
  assert trainer.groups == [range(12)]
  assert set(trainer.programs.traces.values()) == {1}


def test_each_point_is_its_own_run_up_to_rounding(trained, tiny, tmp_path):
  _, results = trained
  point = results["points"][2]
  changes = {key.replace(".", "__"): float(value) for key, value in point["values"].items()}
  alone = tiny(**(OPTIONS | changes), evaluate_on="validation")
  run = run_config(alone, tmp_path, progress=False)
  assert isinstance(run, Run)
  for name in ("average_accuracy", "forgetting", "learning_accuracy"):
    np.testing.assert_allclose(point[name]["per_seed"], run.results[name]["per_seed"], atol=0.03)


def test_a_point_that_diverges_is_never_chosen_and_harms_no_neighbour(trained):
  _, results = trained
  for point in results["points"]:
    lost = point["values"]["learning_rate"] == 1e20
    assert (point["average_accuracy"] is None) == lost
    assert point["diverged_seeds"] == ([1, 2] if lost else [])
  ended = [point for point in results["points"] if point["average_accuracy"]]
  best = max(ended, key=lambda point: np.mean(accuracies(point)))
  assert results["chosen"] == best["values"]
  assert "tag.b" in results["at_edge"]


def test_the_folder_holds_a_table_and_a_picture(trained):
  workdir, results = trained
  table = json.loads((workdir / "points.json").read_text())
  assert [table["points"][str(place)] for place in range(6)] == results["points"]
  assert (workdir / "sweep.png").read_bytes().startswith(b"\x89PNG")
  assert results["seconds"]["compile"] > 0


def test_all_that_diverge_choose_nothing(tiny, tmp_path):
  config = tiny(**OPTIONS, sweep={"learning_rate": [1e20, 1e22]}, plots=True)
  grid = run_config(config, tmp_path, progress=False)
  assert isinstance(grid, Grid)
  assert grid.results["chosen"] is None
  assert (tmp_path / "sweep.png").exists()


class Stopped(Exception):  # noqa: N818  (what a test did, not a fault)
  pass


@pytest.fixture(scope="module")
def once():
  """`Programs` of trials in turn; the number of epochs changes nothing in them: compiled once."""
  programs = []

  def once(*arguments, **options):
    if not programs:
      programs.append(Programs(*arguments, **options))
    return programs[0]

  return once


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The folder of `in_turn`."""
  return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def in_turn(tiny, once, whole):
  """The config of two groups of programs, and what they give."""
  config = tiny(
    **OPTIONS, sweep={"epochs": [1, 2], "learning_rate": [0.02, 0.01]}, seed_axis="loop"
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(assembling, "Programs", once)
    return config, run_config(config, whole, progress=False).results


@contextlib.contextmanager
def stopping(made, first_trial):
  """Stops the second group before this trial of it."""
  perform = Cursor.perform

  def stopping(self, action, trials, *arguments):
    if made[-1][1].epochs == 2 and trials.start == first_trial:
      raise Stopped
    perform(self, action, trials, *arguments)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Cursor, "perform", stopping)
    yield


def test_processes_share_out_points_and_seeds(in_turn, once, tmp_path, monkeypatch):
  """Shares of three trials and two: they cut through groups, and through the seeds of a point."""
  config, expected = in_turn
  monkeypatch.setattr(assembling, "Programs", once)
  for number in (0, 2):
    with pytest.raises(IncompleteRun, match=r"Missing: trials 4 to 6 of 8"):
      run_config(config, tmp_path, progress=False, process=(number, 3))
  made = []
  monkeypatch.setattr(sweep, "assemble", watching(made))
  with stopping(made, first_trial=1), pytest.raises(Stopped):
    run_config(config, tmp_path, progress=False, process=(1, 3))
  assert not (tmp_path / "points.json").exists()
  results = run_config(config, tmp_path, progress=False, process=(1, 3)).results
  assert [options.epochs for _, options, _ in made] == [1, 2, 2]
  for name in ("points", "chosen", "at_edge", "selected_on", "config"):
    assert results[name] == expected[name]
  table = json.loads((tmp_path / "points.json").read_text())
  assert [table["points"][str(place)] for place in range(4)] == results["points"]
  assert results["seconds"]["train"] > 0


def test_stopped_grid_goes_on_where_it_was(in_turn, once, tmp_path, monkeypatch):
  """Two groups of programs, in turn; stopped in the middle of the second."""
  config, expected = in_turn
  monkeypatch.setattr(assembling, "Programs", once)
  made = []
  monkeypatch.setattr(sweep, "assemble", watching(made))
  with stopping(made, first_trial=2), pytest.raises(Stopped):
    run_config(config, tmp_path / "stopped", progress=False)
  ended = json.loads((tmp_path / "stopped" / "points.json").read_text())["points"]
  assert set(ended) == {"0", "1", "2"}

  trained, train = [], Trainer.train

  @functools.wraps(train)
  def counted(self, place, *arguments):
    trained.append(place.trials.start)
    train(self, place, *arguments)

  monkeypatch.setattr(Trainer, "train", counted)
  results = run_config(config, tmp_path / "stopped", progress=False).results
  assert [options.epochs for _, options, _ in made] == [1, 2, 2]
  assert set(trained) == {2, 3}
  assert results["points"] == expected["points"]
  assert results["chosen"] == expected["chosen"]


def test_the_log_of_a_point_is_on_disk_before_the_table_ends_it(
  in_turn, once, tmp_path, monkeypatch
):
  """What the table has ended is never trained again: a loss of power must not take its log."""
  config, _ = in_turn
  monkeypatch.setattr(assembling, "Programs", once)
  done = []
  for owner, name in ((Log, "write"), (Log, "sync"), (PointTable, "keep")):
    original = getattr(owner, name)

    def told(*arguments, original=original, name=name, **options):
      done.append(name)
      return original(*arguments, **options)

    monkeypatch.setattr(owner, name, told)
  run_config(config, tmp_path, progress=False)
  before = [earlier for earlier, later in itertools.pairwise(done) if later == "keep"]
  assert before == ["sync"] * 4


def _lost(path):
  path.unlink()


def _swapped(path):
  table = json.loads(path.read_text())
  table["points"]["0"], table["points"]["3"] = table["points"]["3"], table["points"]["0"]
  path.write_text(json.dumps(table))


def _of_another_form(path):
  table = json.loads(path.read_text())
  table["points"]["1"]["average_accuracy"] = 3
  del table["points"]["2"]
  path.write_text(json.dumps(table | {"seconds": []}))


@pytest.mark.parametrize("damage", [_lost, _swapped, _of_another_form])
def test_a_table_that_is_damaged_is_made_anew(in_turn, whole, once, tmp_path, monkeypatch, damage):
  config, expected = in_turn
  monkeypatch.setattr(assembling, "Programs", once)
  shutil.copytree(whole, tmp_path / "run")
  (tmp_path / "run" / "results.json").unlink()
  damage(tmp_path / "run" / "points.json")
  monkeypatch.setattr(Trainer, "train", None)  # nothing is trained again
  results = run_config(config, tmp_path / "run", progress=False).results
  assert results["points"] == expected["points"]
  assert results["chosen"] == expected["chosen"]


def test_only_the_first_tasks_choose_and_the_others_can_be_run_alone(tiny, tmp_path, monkeypatch):
  made = []
  monkeypatch.setattr(sweep, "assemble", watching(made))
  config = tiny(**OPTIONS, num_tasks=3, sweep={"learning_rate": [0.02]}, sweep_tasks=2)
  results = run_config(config, tmp_path, progress=False).results
  [(stream, _, trainer)] = made
  assert stream.task_names == ["identity", "permutation 1"]
  assert np.shape(trainer.record.accuracy) == (2, 2, 2)
  assert accuracies(results["points"][0]) is not None
  alone = build_stream(validate(tiny(num_tasks=3, first_task=2)))
  assert alone.task_names == ["permutation 2"]
  with pytest.raises(ConfigError, match=r"first_task=3.*choose 0 <= first_task"):
    build_stream(validate(tiny(num_tasks=3, first_task=3)))


def test_grids_and_runs_are_not_mixed_up(trained, tiny):
  workdir, _ = trained
  with pytest.raises(WorkdirError, match=r"config\.sweep is \{.*\} there and None here"):
    run_config(tiny(**OPTIONS, plots=True), workdir, progress=False)
  with pytest.raises(WorkdirError, match=r"config\.sweep\.learning_rate is \[.*\] there and"):
    run_config(tiny(**OPTIONS, plots=True, sweep=GRID | {"learning_rate": [0.1]}), workdir)


def test_from_the_command_line(launch, tmp_path):
  settings = [
    "--config=configs/digits.py:sgd",
    "--config.num_tasks=2",
    "--config.train_examples_per_task=60",
    "--config.validation_fraction=0.5",
    "--config.seeds=1",
    "--config.mlp.hidden=(8,)",
    '--config.sweep={"learning_rate": [0.1, 0.2], "epochs": [1]}',
    f"--workdir={tmp_path}",
  ]
  ended = launch(*settings)
  assert ended.code == 0, ended.stderr
  assert "Chosen: --config.learning_rate=0." in ended.stdout
  assert "learning_rate is at the edge of what was tried" in ended.stdout
  assert launch(*settings).stdout == ended.stdout
  ended = launch(*settings[:-1], "--config.sweep={'learning_rte': [1]}")
  assert ended.code == 1
  assert ended.stderr.splitlines()[-1].startswith("error: config.sweep: no grid over")


def test_neither_a_trace_nor_several_processes(tiny, tmp_path, monkeypatch):
  config = tiny(**OPTIONS, sweep=GRID)
  with pytest.raises(ConfigError, match=r"config\.sweep does not go with --profile"):
    run_config(config, tmp_path, profile=True)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(
    ConfigError, match=r"a grid does not go with 2 processes that share each batch"
  ):
    run_config(config, tmp_path)
