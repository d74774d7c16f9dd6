"""examples/lab: a package outside tagjax, through every door; and a built-in method among them."""

import functools
import importlib
import inspect
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import optax
import pytest

import tagjax
from tagjax.config.run import run_config
from tagjax.core import register
from tagjax.report.run import Run
from tagjax.training import sweep

from .test_resume import outcome, stop_at
from .test_seeds import read_log

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "examples" / "lab"
OURS = "--config.method=lab_cl.pull:pull+tag"
SETTINGS = (
  "--config.learning_rate=0.05",
  "--config.pull.strength=3",
  "--config.seeds=2",
  "--config.plots=False",
)


@pytest.fixture(scope="module")
def scratch():
  """Modules imported from outside, and what they declare, are forgotten afterwards."""
  declared, modules = set(register.declared(*register.KINDS)), set(sys.modules)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(LAB), *sys.path])
    yield patch
  for name in set(register.declared(*register.KINDS)) - declared:
    register.forget(name)
  for name in set(sys.modules) - modules:
    if name.startswith(("lab_cl", "copied_")):
      del sys.modules[name]


@pytest.fixture(scope="module")
def lab(scratch):
  return importlib.import_module("lab_cl")


@pytest.fixture(scope="module")
def stream(lab):
  return importlib.import_module("lab_cl.data").stream()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """What pip leaves of the lab: a folder for PYTHONPATH with its entry points."""
  folder = tmp_path_factory.mktemp("site")
  info = folder / "lab_cl-0.1.0.dist-info"
  info.mkdir()
  (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-cl\nVersion: 0.1.0\n")
  (info / "entry_points.txt").write_text("[tagjax]\nlab = lab_cl\n")
  return os.pathsep.join([str(LAB), str(folder)])


@pytest.fixture(scope="module")
def runs(launch, installed, tmp_path_factory):
  """The same run through each door: folders by the name of the door."""
  root = tmp_path_factory.mktemp("runs")
  three = "--config.num_tasks=3"  # the default config file says 10, the stream itself 3
  named = (
    "--config.method=pull+tag",
    "--config.model=lab_linen",
    "--config.benchmark=bells",
    three,
  )
  ours = (OURS, "--config.benchmark=lab_cl.data:stream", three)
  doors = {
    "entry point": (installed, named),
    "own config": ("", [f"--config={LAB / 'config.py'}:pull+tag"]),
    "attributes": (str(LAB), [*ours, "--config.model=lab_cl.nets:LinenNet"]),
    "nnx": (str(LAB), [*ours, "--config.model=lab_cl.nets:NnxNet"]),
  }
  for door, (path, arguments) in doors.items():
    ended = launch(*arguments, *SETTINGS, f"--workdir={root / door}", PYTHONPATH=path)
    assert ended.code == 0, (door, ended.stderr)
  return root


def accuracy(folder) -> np.ndarray:
  return Run.load(folder).accuracy


def test_the_lab_is_small():
  lines = [line for path in LAB.glob("lab_cl/*.py") for line in path.read_text().splitlines()]
  assert len(lines) <= 60


@pytest.mark.parametrize("door", ["own config", "attributes"])
def test_every_door_leads_to_the_same_run(runs, door):
  first, other = ((runs / name / "metrics.jsonl").read_text() for name in ("entry point", door))
  assert other == first
  settings = [Run.load(runs / name).settings for name in ("entry point", door)]
  assert {one["pull.strength"] for one in settings} == {3.0}


def test_fit_of_its_objects_is_the_run_of_its_names(runs, lab, stream, tmp_path):
  method = tagjax.chain(lab.pull.pull(3.0), tagjax.methods.tag_method(0.05, len(stream)))
  for door, model in (
    ("attributes", lab.nets.LinenNet(4)),
    ("nnx", functools.partial(lab.nets.NnxNet, 4)),
  ):
    workdir = tmp_path / door
    run = tagjax.fit(stream, model, method, workdir=workdir, seeds=2, progress=False, plots=False)
    assert (workdir / "metrics.jsonl").read_text() == (runs / door / "metrics.jsonl").read_text()
    np.testing.assert_array_equal(run.accuracy, accuracy(runs / door))
    assert (run.accuracy[:, 0, 0] > 0.7).all()  # chance is 0.25


def test_its_method_does_what_it_says(lab, stream):
  """A function of hyperparameters: the same programs with several strengths."""

  def method_of(hyper):
    return tagjax.chain(lab.pull.pull(hyper["strength"]), optax.sgd(0.2))

  def final(method, **options):
    return tagjax.fit(stream, lab.nets.LinenNet(4), method, progress=False, **options).accuracy[0]

  naive = final(optax.sgd(0.2))
  off, on, stiff = (final(method_of, hyper={"strength": each}) for each in (0.0, 0.5, 4.99))
  np.testing.assert_allclose(off, naive, atol=0.015)
  np.testing.assert_array_equal(on[0], off[0])  # the first task has nothing behind it
  assert on[2, 0] > off[2, 0]
  assert stiff[2, 0] > 0.95 * stiff[0, 0]  # a step of 0.2 * 4.99 of the way: it stays


@pytest.mark.product
def test_a_killed_run_of_the_lab_goes_on(launch, tmp_path):
  arguments = [
    f"--config={LAB / 'config.py'}:pull+sgd",
    *SETTINGS,
    "--config.seeds=1",
    "--config.epochs=4",
    "--config.chunk_steps=2",
    "--config.checkpoint_every=4",
  ]
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  assert launch(*arguments, f"--workdir={whole}").code == 0
  process = launch.start(*arguments, f"--workdir={killed}")
  assert stop_at(process, killed, 25, signal.SIGKILL).code == -signal.SIGKILL
  assert not (killed / "results.json").exists()
  ended = launch(*arguments, f"--workdir={killed}")
  assert ended.code == 0, ended.stderr
  assert outcome(killed) == outcome(whole)


def test_a_grid_over_its_own_option_compiles_once(lab, tmp_path, monkeypatch):
  made, assemble = [], sweep.assemble

  def keeping(*arguments, **options):
    made.append(assemble(*arguments, **options))
    return made[-1]

  monkeypatch.setattr(sweep, "assemble", keeping)
  settings = {
    "method": "lab_cl.pull:pull+tag",
    "model": "lab_cl.nets:NnxNet",
    "benchmark": "lab_cl.data:stream",
    "validation_fraction": 0.3,
    "learning_rate": 0.05,
    "sweep": {"pull.strength": [0.0, 3.0, 300.0]},
  }
  grid = run_config(settings, tmp_path, progress=False)
  [(trainer, _)] = made
  assert trainer.groups == [range(3)]
  assert set(trainer.programs.traces.values()) == {1}
  assert [point["values"]["pull.strength"] for point in grid.results["points"]] == [0.0, 3.0, 300.0]
  assert grid.chosen["pull.strength"] in (0.0, 3.0)  # 0.05 * 300: it jumps over the anchor
  frame = grid.to_frame()
  assert len(set(frame["average_accuracy"])) > 1


def test_its_runs_are_compared(runs, capsys):
  found = tagjax.load_runs(runs / "entry point", runs / "nnx")
  table = found.metrics()
  assert list(table["config.model"]) == ["lab_linen", "lab_cl.nets:NnxNet"]
  assert (table["method"] == "pull+tag").any()
  assert "config.pull.strength" not in table  # they do not differ in it
  found.compare(allow_differences=True)
  assert "average accuracy" in capsys.readouterr().out


WRONG = {
  "misspelt option": ([OURS, "--config.pull.strenght=3"], ["pull.strenght", "mean pull.strength"]),
  "type": ([OURS, "--config.pull.strength=hard"], ["config.pull.strength=hard"]),
  "module": (["--config.method=lab_cl.pul:pull+tag"], ["lab_cl.pul:pull", "No module named"]),
  "attribute": (["--config.method=lab_cl.pull:pul+tag"], ["has no attribute 'pul'"]),
  "name": (["--config.method=pul+tag"], ["config.method='pul' is unknown"]),
  "kind": (["--config.model=lab_cl.pull:pull"], ["lab_cl.pull:pull", "modifier"]),
  "width": (
    [OURS, "--config.model=lab_cl.nets:NnxNet", "--config.NnxNet.width=-1"],
    ["NnxNet", "-1"],
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(launch, tmp_path, case):
  arguments, parts = WRONG[case]
  bells = "--config.benchmark=lab_cl.data:stream"
  ended = launch(bells, *arguments, f"--workdir={tmp_path / 'run'}", PYTHONPATH=str(LAB))
  assert ended.code == 1
  assert ended.stderr.startswith("error: ")
  assert ended.stderr.count("\n") == 1, ended.stderr
  for part in parts:
    assert part in ended.stderr


@pytest.mark.parametrize(
  ("path", "arguments"),
  [
    (
      str(LAB),
      ["--config.benchmark=lab_cl.data:stream", OURS, "--config.model=lab_cl.nets:NnxNet"],
    ),
    ("", [f"--config={LAB / 'config.py'}"]),
  ],
  ids=["attributes", "own config"],
)
def test_the_options_of_its_stream_are_options_too(launch, tmp_path, path, arguments):
  settings = ["--config.bells.noise=0", "--config.num_tasks=2", "--config.plots=False"]
  ended = launch(*arguments, *settings, f"--workdir={tmp_path}", PYTHONPATH=path)
  assert ended.code == 0, ended.stderr
  run = Run.load(tmp_path)
  assert run.settings["bells.noise"] == 0
  assert run.num_tasks == 2


def test_an_entry_point_of_an_installed_package_is_found(installed):
  """The command itself, with what pip would have left."""
  ended = subprocess.run(
    [sys.executable, str(ROOT / "launch.py"), "--list=methods"],
    capture_output=True,
    text=True,
    check=True,
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join([installed, os.environ.get("PYTHONPATH", "")]),
    },
  )
  [line] = [line for line in ended.stdout.splitlines() if line.split()[:1] == ["pull"]]
  assert "Pulls the parameters" in line


@pytest.mark.product
def test_a_copy_of_a_method_of_ours_gives_the_same_bits(scratch, tiny, tmp_path):
  """The source of EWC, in a module of somebody else's, under a name of its own."""
  source = inspect.getsource(sys.modules[tagjax.methods.ewc.__wrapped__.__module__])
  copied = source.replace('@register("ewc"', '@register("copied_ewc"')
  assert copied != source
  (tmp_path / "copied_method.py").write_text(copied)
  scratch.syspath_prepend(tmp_path)
  common = {"learning_rate": 0.01, "epochs": 2, "seeds": 2}
  ours = tiny(method="ewc+tag", ewc__strength=50.0, **common)
  run_config(ours, tmp_path / "ours", progress=False)
  theirs = common | {
    "method": "copied_method:ewc+tag",
    "copied_ewc.strength": 50.0,
    **{key: ours[key] for key in ("num_tasks", "train_examples_per_task", "plots")},
    "test_examples_per_task": ours.test_examples_per_task,
    "mlp.hidden": ours.mlp.hidden,
  }
  run_config(theirs, tmp_path / "theirs", progress=False)
  assert read_log(tmp_path / "theirs") == read_log(tmp_path / "ours")
  matrices = [
    json.loads((tmp_path / name / "results.json").read_text())["accuracy_matrix"]
    for name in ("ours", "theirs")
  ]
  assert matrices[0] == matrices[1]
  naive = tiny(method="tag", **common)
  run_config(naive, tmp_path / "naive", progress=False)
  assert read_log(tmp_path / "naive") != read_log(tmp_path / "ours")  # it does something
