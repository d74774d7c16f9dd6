"""Grids: each point is its own run, whatever happens to its neighbours and to the process."""

import json

import numpy as np
import pytest

from tagjax.benchmarks import Experience
from tagjax.config.run import run_config
from tagjax.core.errors import ConfigError
from tagjax.training import trainer as drivers
from tagjax.training.trainer import Driver

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
  """The drivers that were made while the module's grid was trained."""
  return []


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory, made):
  """The grid, trained; test examples are out of its reach."""
  workdir = tmp_path_factory.mktemp("sweep")

  class Watched(Driver):
    def __init__(self, *arguments):
      super().__init__(*arguments)
      made.append(self)

  def untouchable(self):
    raise AssertionError("a grid looked at test examples")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sweep, "Driver", Watched)
    patch.setattr(Experience, "test", property(untouchable))
    results = sweep.run(tiny(**OPTIONS, sweep=GRID, plots=True), workdir, progress=False)
  return workdir, results


def accuracies(point):
  return point["average_accuracy"] and point["average_accuracy"]["per_seed"]


def test_points_are_in_the_order_of_the_grid(trained):
  _, results = trained
  values = [tuple(point["values"].values()) for point in results["points"]]
  assert values == [(b, rate) for b in GRID["tag.b"] for rate in GRID["learning_rate"]]


def test_one_compilation_serves_the_grid(trained, made):
  assert len(made) == 1
  assert made[0].lanes_together == 12
  assert set(made[0].programs.traces.values()) == {1}


def test_each_point_is_its_own_run_up_to_rounding(trained, tiny, tmp_path):
  _, results = trained
  point = results["points"][2]
  changes = {key.replace(".", "__"): float(value) for key, value in point["values"].items()}
  alone = tiny(**(OPTIONS | changes), evaluate_on="validation")
  expected = run_config(alone, tmp_path, progress=False)
  for name in ("average_accuracy", "forgetting", "learning_accuracy"):
    np.testing.assert_allclose(point[name]["per_seed"], expected[name]["per_seed"], atol=0.03)


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
  results = sweep.run(config, tmp_path, progress=False)
  assert results["chosen"] is None
  assert (tmp_path / "sweep.png").exists()


class Stopped(Exception):  # noqa: N818  (what a test did, not a fault)
  pass


def test_stopped_grid_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
  """Two groups of programs, in turn; stopped in the middle of the second."""
  config = tiny(
    **OPTIONS, sweep={"epochs": [1, 2], "learning_rate": [0.02, 0.01]}, seed_axis="loop"
  )
  programs = Driver(config).programs  # the number of epochs changes nothing in them
  monkeypatch.setattr(drivers, "build_programs", lambda *_, **__: programs)
  expected = sweep.run(config, tmp_path / "whole", progress=False)

  made, perform = [], Driver.perform

  class Watched(Driver):
    def __init__(self, *arguments):
      super().__init__(*arguments)
      made.append(self.config.epochs)

  def stopping(self, action, log, line):
    if self.config.epochs == 2 and action.lane == 2:
      raise Stopped
    perform(self, action, log, line)

  monkeypatch.setattr(sweep, "Driver", Watched)
  with monkeypatch.context() as patch:
    patch.setattr(Driver, "perform", stopping)
    with pytest.raises(Stopped):
      sweep.run(config, tmp_path / "stopped", progress=False)
  ended = json.loads((tmp_path / "stopped" / "points.json").read_text())["points"]
  assert set(ended) == {"0", "1", "2"}
  trained = []
  monkeypatch.setattr(
    Driver, "perform", lambda self, action, *rest: (trained.append(action.lane),
                                                    perform(self, action, *rest))[1]
  )  # fmt: skip
  results = sweep.run(config, tmp_path / "stopped", progress=False)
  assert made == [1, 2, 2]
  assert set(trained) == {2, 3}
  assert results["points"] == expected["points"]
  assert results["chosen"] == expected["chosen"]


def test_only_the_first_tasks_choose_and_the_others_can_be_run_alone(tiny, tmp_path, monkeypatch):
  made = []

  class Watched(Driver):
    def __init__(self, *arguments):
      super().__init__(*arguments)
      made.append(self)

  monkeypatch.setattr(sweep, "Driver", Watched)
  config = tiny(**OPTIONS, num_tasks=3, sweep={"learning_rate": [0.02]}, sweep_tasks=2)
  results = sweep.run(config, tmp_path, progress=False)
  assert made[0].stream.task_names == ["identity", "permutation 1"]
  assert np.shape(made[0].record.accuracy) == (2, 2, 2)
  assert accuracies(results["points"][0]) is not None
  assert Driver(tiny(num_tasks=3, first_task=2)).stream.task_names == ["permutation 2"]
  with pytest.raises(ConfigError, match="first_task=3, end_task=None: choose 0 <= first_task"):
    Driver(tiny(num_tasks=3, first_task=3))


def test_grids_and_runs_are_not_mixed_up(tiny, tmp_path):
  with pytest.raises(ConfigError, match=r"tagjax\.sweep\.run"):
    run_config(tiny(**OPTIONS, sweep=GRID), tmp_path, progress=False)
  with pytest.raises(ConfigError, match=r"config\.sweep is not set"):
    sweep.run(tiny(**OPTIONS), tmp_path, progress=False)


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
    sweep.run(config, tmp_path, profile=True)
  monkeypatch.setattr(sweep.jax, "process_count", lambda: 2)
  with pytest.raises(ConfigError, match=r"config\.sweep does not go with 2 processes"):
    sweep.run(config, tmp_path)
