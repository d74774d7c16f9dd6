"""Processes of launch.py and of other scripts that start quickly."""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch.py"

# Imports what a run imports, and then becomes the script in a new process for each request.
SERVER = """
import json, os, runpy, sys, traceback, warnings
import jax, tagjax.cli, tagjax.config.run, tagjax.report.tables, tagjax.report.plots
import tagjax.training.compilation_cache
import orbax.checkpoint, scipy.special
for line in sys.stdin:
  request = json.loads(line)
  if "wait" in request:
    _, status, used = os.wait4(request["wait"], 0)
    taken = used.ru_utime + used.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_maxrss, taken]), flush=True)
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
  sys.argv = [request["script"], *request["arguments"]]
  sys.path[0] = os.path.dirname(request["script"])
  os.chdir(request["folder"])
  if request["strict"]:
    warnings.simplefilter("error")
  code = 0
  try:
    runpy.run_path(request["script"], run_name="__main__")
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
  peak: int  # of resident memory, in KiB
  processor: float  # seconds of it


class Process:
  """A process of a script."""

  def __init__(self, launcher, pid, folder):
    self.pid, self._launcher, self._folder = pid, launcher, folder
    self._begun = time.perf_counter()

  def wait(self) -> Ended:
    code, peak, taken = self._launcher.ask(wait=self.pid)
    out, err = ((self._folder / name).read_text() for name in ("stdout", "stderr"))
    return Ended(code, out, err, time.perf_counter() - self._begun, peak, taken)


class Launcher:
  """Starts launch.py, or another script, with the given arguments and environment variables.

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

  def start(self, *arguments, script=LAUNCH, folder=ROOT, strict=False, **env) -> Process:
    """`folder`: where the process works; `strict`: warnings are errors."""
    self._count += 1
    outputs = self._folder / str(self._count)
    outputs.mkdir()
    names = {name: str(outputs / name) for name in ("stdout", "stderr")}
    pid = self.ask(
      script=str(script),
      arguments=[str(argument) for argument in arguments],
      folder=str(folder),
      strict=strict,
      env=env,
      quickly=jax.config.values["jax_disable_most_optimizations"],
      **names,
    )
    return Process(self, pid, outputs)

  def __call__(self, *arguments, **options) -> Ended:
    return self.start(*arguments, **options).wait()

  def close(self):
    self._server.stdin.close()
    self._server.wait()
    self._server.stdout.close()
