"""Tiny runs, and processes of launch.py that start quickly."""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import pytest

from tagjax.config.defaults import base_config
from tagjax.config.run import make_parts
from tagjax.config.validate import validate
from tagjax.training.assemble import assemble
from tagjax.training.trainer import Trial

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Imports what launch.py imports, and then becomes launch.py in a new process for each request.
SERVER = """
import json, os, runpy, sys, traceback
import jax, tagjax.config.run, tagjax.report.tables, tagjax.report.plots
root = os.getcwd()
for line in sys.stdin:
  request = json.loads(line)
  if "wait" in request:
    code = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
    print(json.dumps(code), flush=True)
    continue
  pid = os.fork()
  if pid:
    print(json.dumps(pid), flush=True)
    continue
  for number, name in enumerate((os.devnull, request["stdout"], request["stderr"])):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
  os.environ.update(request["env"])
  jax.config.update("jax_disable_most_optimizations", request["quickly"])
  sys.path[1:1] = [part for part in request["env"].get("PYTHONPATH", "").split(os.pathsep) if part]
  sys.argv = ["launch.py", *request["arguments"]]
  sys.path[0] = root
  code = 0
  try:
    runpy.run_path(os.path.join(root, "launch.py"), run_name="__main__")
  except SystemExit as stop:
    code = stop.code if isinstance(stop.code, int) else stop.code is not None
    if code and not isinstance(stop.code, int):
      print(stop.code, file=sys.stderr)
  except BaseException:
    traceback.print_exc()
    code = 1
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
"""


class Ended(NamedTuple):
  code: int
  stdout: str
  stderr: str
  seconds: float


class Process:
  """A process of launch.py."""

  def __init__(self, launcher, pid, folder):
    self.pid, self._launcher, self._folder = pid, launcher, folder
    self._begun = time.perf_counter()

  def wait(self) -> Ended:
    code = self._launcher.ask(wait=self.pid)
    out, err = ((self._folder / name).read_text() for name in ("stdout", "stderr"))
    return Ended(code, out, err, time.perf_counter() - self._begun)


class Launcher:
  """Starts launch.py with the given arguments and environment variables.

  It compiles as the test module does that starts it: quickly, or as users' programs are.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder, self._count = folder, 0
    # launch.py keeps its programs where it does by itself, not where the suite's are.
    own = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    self._server = subprocess.Popen(
      [sys.executable, "-W", "ignore", "-c", SERVER],
      env=own,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      cwd=ROOT,
    )

  def ask(self, **request):
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    return json.loads(self._server.stdout.readline())

  def start(self, *arguments, **env) -> Process:
    self._count += 1
    folder = self._folder / str(self._count)
    folder.mkdir()
    names = {name: str(folder / name) for name in ("stdout", "stderr")}
    pid = self.ask(
      arguments=[str(argument) for argument in arguments],
      env=env,
      quickly=jax.config.values["jax_disable_most_optimizations"],
      **names,
    )
    return Process(self, pid, folder)

  def __call__(self, *arguments, **env) -> Ended:
    return self.start(*arguments, **env).wait()

  def close(self):
    self._server.stdin.close()
    self._server.wait()
    self._server.stdout.close()


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
  launcher = Launcher(tmp_path_factory.mktemp("launch"))
  yield launcher
  launcher.close()


@pytest.fixture(scope="session")
def tiny():
  """A config of two small tasks of permuted digits, with changes by key (dots as `__`)."""

  def tiny(**changes):
    config = base_config()
    config.update_from_flattened_dict(
      {
        "num_tasks": 2,
        "train_examples_per_task": 45,
        "test_examples_per_task": 40,
        "mlp.hidden": (8,),
        "method": "sgd",
        "learning_rate": 0.1,
        "plots": False,
      }
      | {key.replace("__", "."): value for key, value in changes.items()}
    )
    return config

  return tiny


@pytest.fixture(scope="session")
def assembled():
  """What a config is made into, before anything is compiled: `(stream, trainer, forecast)`."""

  def assembled(config):
    stream, model, method, options, pretrained = make_parts(validate(config))
    trials = [Trial(options.seed + number) for number in range(options.seeds)]
    made = assemble(stream, model, method, trials, options, pretrained=pretrained)
    return stream, *made

  return assembled


@pytest.fixture(scope="session")
def real_data():
  """The folder with CIFAR-10, or skips."""
  for folder in (os.environ.get("TAGJAX_TESTS_REAL_DATA"), ROOT.parent / "shared/data/tfds"):
    if folder and (pathlib.Path(folder) / "cifar10").is_dir():
      return str(folder)
  pytest.skip("no CIFAR-10 in $TFDS_DATA_DIR or ../shared/data/tfds")
