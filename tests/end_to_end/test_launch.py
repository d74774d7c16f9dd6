"""The command: what a run leaves, and one clear line for whatever cannot work."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SMALL = (
  "--config.num_tasks=2",
  "--config.train_examples_per_task=50",
  "--config.test_examples_per_task=40",
  "--config.mlp.hidden=(8,)",
  "--config.seeds=2",
)
LAUNCH = str(pathlib.Path(__file__).resolve().parents[2] / "launch.py")
PICTURES = ("accuracy_matrix", "accuracy_over_time", "forgetting", "task_relatedness")


@pytest.fixture(scope="module")
def finished(launch, tmp_path_factory):
  """The default config file, shrunk from the command line."""
  workdir = tmp_path_factory.mktemp("run") / "with a space"
  return workdir, launch(*SMALL, f"--workdir={workdir}")


def error_of(ended) -> str:
  """The one line of a run that could not start."""
  assert ended.code == 1, ended
  lines = ended.stderr.splitlines()
  assert len(lines) == 1, ended.stderr
  assert lines[0].startswith("error: ")
  return lines[0]


def test_a_run_leaves_its_files(finished):
  workdir, ended = finished
  assert ended.code == 0, ended.stderr
  assert "average accuracy" in ended.stdout
  assert "Traceback" not in ended.stderr
  for name in ("config.json", "metrics.jsonl", "results.json", "checkpoints"):
    assert (workdir / name).exists(), name
  for name in PICTURES:
    assert (workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG")
  assert sum(entry.name.isdigit() for entry in (workdir / "checkpoints").iterdir()) == 2
  for line in (workdir / "metrics.jsonl").read_text().splitlines():
    json.loads(line)
  config = json.loads((workdir / "config.json").read_text())
  assert config["num_tasks"] == 2
  assert config["mlp"]["hidden"] == [8]
  assert config["method"] == "tag"


def test_compiled_programs_are_kept_for_the_next_start(finished):
  _, ended = finished
  assert ended.code == 0
  compiled = pathlib.Path(os.environ["TAGJAX_CACHE_DIR"]) / "compiled"
  assert any(path.name.endswith("-cache") for path in compiled.rglob("*"))


def test_results_have_their_keys_and_shapes(finished):
  workdir, _ = finished
  results = json.loads((workdir / "results.json").read_text())
  matrices = results["accuracy_matrix"]
  assert [[len(row) for row in matrix] for matrix in matrices] == [[2, 2], [2, 2]]
  for matrix in matrices:
    assert matrix[0][1] is None
    assert all(0 <= value <= 1 for value in (matrix[0][0], *matrix[1]))
  for name in ("average_accuracy", "forgetting", "learning_accuracy", "backward_transfer"):
    assert set(results[name]) == {"mean", "std", "ci95", "per_seed"}
    assert len(results[name]["per_seed"]) == 2
  assert results["average_accuracy"]["per_seed"] == pytest.approx(
    [sum(matrix[1]) / 2 for matrix in matrices]
  )
  assert set(results["seconds"]) == {"compile", "train", "evaluate", "total"}
  assert all(value > 0 for value in results["seconds"].values())
  relatedness = results["task_relatedness"]
  assert [[len(row) for row in matrix] for matrix in relatedness] == [[2, 2], [2, 2]]
  for matrix in relatedness:
    assert matrix[0] == [None, None]
    assert matrix[1][0] > 0
    assert matrix[1][1] is None


def test_a_finished_run_returns_its_results_again(finished, launch):
  workdir, first = finished
  before = {name: os.stat(workdir / name).st_mtime_ns for name in ("results.json", "metrics.jsonl")}
  again = launch(*SMALL, f"--workdir={workdir}")
  assert again.code == 0
  assert again.stdout == first.stdout
  assert again.stderr.startswith("this run has ended already, at ")
  assert again.stderr.endswith(f"choose another folder than {workdir}\n")
  assert again.stderr.count("\n") == 1
  assert before == {name: os.stat(workdir / name).st_mtime_ns for name in before}


def test_another_config_is_refused_and_loses_nothing(finished, launch):
  workdir, _ = finished
  before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
  text = error_of(launch(*SMALL, "--config.tag.b=7", "--config.epochs=2", f"--workdir={workdir}"))
  assert "config.epochs is 1 there and 2 here" in text
  assert "config.tag.b is 5.0 there and 7.0 here" in text
  assert "config.seeds" not in text
  before.pop(workdir / ".lock")
  assert before == {path: path.stat().st_mtime_ns for path in before}


WRONG = {
  "unknown key": (["--config.learning_rat=1"], ["config.learning_rat ", "mean learning_rate"]),
  "unknown inner key": (
    ["--config.stable_sgd.momentun=0.5"],
    ["config.stable_sgd.momentun ", "mean stable_sgd.momentum"],
  ),
  "wrong type": (["--config.epochs=many"], ["config.epochs='many'"]),
  "wrong bool": (["--config.drop_last=perhaps"], ["config.drop_last=perhaps"]),
  "unknown flag": (["--confg=x.py"], ["confg", "config"]),
  "positional": (["configs/digits.py"], ["'configs/digits.py'", "--config.KEY=VALUE"]),
  "config file": (["--config=configs/missing.py"], ["configs/missing.py"]),
  "no key": (["--config.=3"], ["--config.=3 names no key"]),
  "no user": (
    ["--config.benchmark=split_cifar10", "--config.data_dir=~nosuchuser/x"],
    ["'~nosuchuser/x'", "user who does not exist"],
  ),
  "no user's cache": (["--compilation_cache=~nosuchuser"], ["'~nosuchuser'"]),
  "nan": (["--config.method=er", "--config.er.strength=nan"], ["config.er.strength=nan"]),
  "years": (["--config.epochs=1000000000000"], ["config.epochs=1000000000000", "at most"]),
  "tasks of a grid": (
    [
      "--config.sweep={'epochs': [1, 2]}",
      "--config.sweep_tasks=99",
      "--config.validation_fraction=0.2",
    ],
    ["config.sweep_tasks=99"],
  ),
  "method of file": (["--config=configs/digits.py:tga"], ["'tga'", "mean tag"]),
  "method": (["--config.method=rmsprob"], ["config.method='rmsprob'", "mean rmsprop"]),
  "benchmark": (["--config.benchmark=split_digit"], ["'split_digit'", "mean split_digits"]),
  "model": (["--config.model=mpl"], ["config.model='mpl'", "mlp"]),
  "classes": (
    ["--config.benchmark=split_digits", "--config.num_tasks=3"],
    ["config.num_tasks=3", "1, 2, 5, 10"],
  ),
  "text of classes": (
    ["--config.benchmark=split_digits", "--config.classes=2-12"],
    ["config.classes='2-12'", "0 to 9"],
  ),
  "sequence of tasks": (["--config.task_order=(1, 7)"], ["config.task_order=(1, 7)", "0 to 1"]),
  "blur": (["--config.blurry_fraction=0.001"], ["config.blurry_fraction=0.001", "larger"]),
  "folders": (["--config.benchmark=image_folders"], ["config.image_folders", "name the"]),
  "negative tasks": (["--config.num_tasks=-1"], ["config.num_tasks=-1"]),
  "negative batch": (["--config.batch_size=-10"], ["config.batch_size=-10"]),
  "negative examples": (
    ["--config.train_examples_per_task=-1"],
    ["config.train_examples_per_task=-1"],
  ),
  "negative width": (["--config.mlp.hidden=(-8,)"], ["config.mlp.hidden", "positive"]),
  "devices": (
    ["--config.data_parallel=64", "--config.batch_size=64"],
    ["config.data_parallel=64", "device"],
  ),
  "search": (
    ["--config.search.learning_rte=1e-4..1,log", "--config.validation_fraction=0.2"],
    ["config.search", "'learning_rte'", "mean learning_rate"],
  ),
  "no cpu device": (["--cpu_devices=0"], ["--cpu_devices=0", "at least 1"]),
  # The tests ask for four by XLA_FLAGS.
  "two numbers of devices": (["--cpu_devices=3"], ["--cpu_devices=3", "XLA_FLAGS", "for 4"]),
  "no batch left": (
    ["--config.drop_last=True", "--config.batch_size=64"],
    ["config.batch_size=64", "drop_last"],
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_are_one_line(case, launch, tmp_path):
  arguments, parts = WRONG[case]
  # ml_collections wants the file before the keys; of a key given twice the last counts.
  ordered = sorted((*SMALL, *arguments), key=lambda text: not text.startswith("--config="))
  text = error_of(launch(*ordered, f"--workdir={tmp_path / 'run'}"))
  for part in parts:
    assert part in text
  left = {path.name for path in (tmp_path / "run").glob("*")}
  assert left <= {".lock"}  # so the mended command may use the same folder


@pytest.mark.parametrize(
  ("program", "part"),
  [
    ("def get_config(:", "SyntaxError"),
    ("import nothing_of_this_name", "ModuleNotFoundError"),
    ("def get_config():\n  raise RuntimeError('mine')", "RuntimeError: mine"),
    ("def get_config():\n  raise ValueError('mine')", "ValueError: mine"),
    ("def get_config():\n  return None", "returns NoneType"),
    ("def get_config():\n  return {'a': 1}", "returns dict"),
    ("def get_config():\n  raise SystemExit(3)", "sys.exit(3)"),
    ("import sys\nsys.exit()", "sys.exit(None)"),
    ("x = 3", "get_config"),
    ("def get_config(one, two):\n  return None", "missing 2 required"),
    ("def get_config():\n  return {}['key']", "KeyError"),
  ],
)
def test_faults_of_a_config_file_are_one_line_with_its_name(launch, tmp_path, program, part):
  file = tmp_path / "mine.py"
  file.write_text(program)
  text = error_of(launch(f"--config={file}", f"--workdir={tmp_path / 'run'}"))
  assert part in text
  assert "mine.py" in text
  assert not (tmp_path / "run").exists()


def test_an_unwritable_workdir_is_one_line(launch, tmp_path):
  (tmp_path / "file").write_text("mine")
  text = error_of(launch(*SMALL, f"--workdir={tmp_path / 'file' / 'run'}"))
  assert "file/run" in text
  assert "--workdir" in text
  assert (tmp_path / "file").read_text() == "mine"


def test_a_missing_data_set_is_one_line_within_seconds(launch, tmp_path):
  ended = launch(
    "--config=configs/cifar_tag.py",
    f"--workdir={tmp_path / 'run'}",
    TFDS_DATA_DIR=str(tmp_path / "empty"),
    # A proxy that refuses: without a network, whatever this machine has.
    https_proxy="http://127.0.0.1:9",
    http_proxy="http://127.0.0.1:9",
    HTTPS_PROXY="http://127.0.0.1:9",
    HTTP_PROXY="http://127.0.0.1:9",
    no_proxy="",
  )
  assert ended.code == 1
  # The only error of several lines: it lists what to fetch, and where to put it.
  assert ended.stderr.startswith("error: cifar100 is not prepared and cannot be downloaded")
  assert str(tmp_path / "empty") in ended.stderr
  assert "Traceback" not in ended.stderr
  assert ended.seconds < 30  # 5 s, on a machine that does nothing else


def test_a_loss_that_is_not_finite_names_its_place(launch, tmp_path):
  ended = launch(
    *SMALL, "--config.method=sgd", "--config.learning_rate=1e30", f"--workdir={tmp_path}"
  )
  assert ended.code == 1
  text = ended.stderr.splitlines()[-1]
  assert text.startswith("error: the loss is ")
  assert "task 0, step 2" in text
  assert "config.learning_rate" in text
  assert "Traceback" not in ended.stderr
  assert not (tmp_path / "results.json").exists()


def test_an_earlier_checkpoint_survives_divergence(launch, tmp_path):
  # The learning rate of task t is lr * decay^(t+1): 0.01 in the first task, infinite in the next.
  ended = launch(
    *SMALL,
    "--config.method=stable_sgd",
    "--config.learning_rate=1e-32",
    "--config.stable_sgd.decay=1e30",
    f"--workdir={tmp_path}",
  )
  assert ended.code == 1
  assert "seed 1, task 1, step" in ended.stderr.splitlines()[-1]
  positions = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
  assert positions == ["4"]  # begin, train, consolidate, evaluate of the first task


FAULTY = """
import jax, jax.numpy as jnp, optax

def broken():
  return optax.GradientTransformation(lambda params: (), lambda u, s, p=None: {}["mine"])

def greedy():
  def update(updates, state, params=None):
    many = jax.lax.iota(jnp.float32, 2**20)[:, None] * jnp.ones(2**24)  # 64 TB
    least = jnp.sort(jax.tree.leaves(updates)[0].ravel()[0] + many)[0, 0]
    return jax.tree.map(lambda leaf: leaf * least, updates), state
  return optax.GradientTransformation(lambda params: (), update)
"""


def test_too_little_memory_is_one_line_and_claims_no_folder(launch, tmp_path):
  (tmp_path / "faulty.py").write_text(FAULTY)
  run = tmp_path / "run"
  ended = launch(
    *SMALL, "--config.method=faulty:greedy", f"--workdir={run}", PYTHONPATH=str(tmp_path)
  )
  assert ended.code == 1
  text = ended.stderr.splitlines()[-1]
  assert text.startswith("error: there is not enough memory (703687441")
  assert "config.memory.batch_size" in text
  assert "Traceback" not in ended.stderr
  assert {path.name for path in run.iterdir()} <= {".lock", "checkpoints", "metrics.jsonl"}


def test_a_fault_of_a_part_is_one_line_and_a_file(launch, tmp_path):
  (tmp_path / "faulty.py").write_text(FAULTY)
  run = tmp_path / "run"
  ended = launch(
    *SMALL, "--config.method=faulty:broken", f"--workdir={run}", PYTHONPATH=str(tmp_path)
  )
  assert ended.code == 1
  assert "Traceback" not in ended.stderr
  text = ended.stderr.splitlines()[-1]
  assert text.startswith("error: KeyError: 'mine' (")
  assert "faulty.py, line 5" in text
  assert text.endswith(f"its traceback is in {run / 'traceback.txt'}")
  assert '{}["mine"]' in (run / "traceback.txt").read_text()


def test_interrupted_while_it_starts_is_one_line(launch, tmp_path):
  process = launch.start(*SMALL, f"--workdir={tmp_path / 'run'}")
  while not (tmp_path / "run").exists():
    time.sleep(0.01)
  os.kill(process.pid, signal.SIGHUP)
  ended = process.wait()
  assert ended.code == 130
  assert ended.stderr.splitlines()[-1].startswith(("SIGHUP: stopped", "stopped and saved"))
  assert "Traceback" not in ended.stderr


def test_the_command_itself(tmp_path):
  """Not through the quick launcher: from another folder, with the error on stderr."""
  ended = subprocess.run(
    [sys.executable, LAUNCH, "--config.learning_rat=1"],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    check=False,
  )
  assert ended.returncode == 1
  assert ended.stdout == ""
  text = "error: unknown key config.learning_rat (did you mean learning_rate"
  assert ended.stderr.startswith(text)
  assert ended.stderr.count("\n") == 1
  assert list(tmp_path.iterdir()) == []
