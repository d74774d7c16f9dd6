"""Thousands of small tasks with kills all the time: does anything grow? `make soak`; hours.

Three parts, of which the first two must be flat:

* `killed`: runs by the real command, each of the same few tasks. Whatever trains is killed at a
  random moment, by `kill -9` or SIGTERM, and the same command is given again, until it ends. Its
  results, its log and the names in its folder must be those of a run that nothing happened to.
* `one process`: the same runs, one after another in a process that lives on, as a notebook does.
* `growing`: one stream of many tasks, with SGD and with TAG, whose state has a row for each task.
  It is shown, not judged: what TAG takes beyond SGD is what its tasks cost.

Each sample is of the end of a task, or of a run in one process: resident memory, open files, files
and bytes in the folder of the run, seconds a task. For each run stand the most memory and open
files, the files and bytes at its end, and the median of the seconds. A line is fitted to these, and
is flat if the whole 95 % interval of its slope lies below what is allowed for 1,000 tasks; too few
runs to tell are not flat. Exit status 1 if a line is not, or if a run has ended wrongly.

All samples go to a JSON file, and the plot beside it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import faults
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
SETTINGS = {
  "method": "er+tag",
  "train_examples_per_task": 200,
  "test_examples_per_task": 40,
  "learning_rate": 0.1,
  "mlp.hidden": (16,),
  "seeds": 1,
  "plots": False,
}
GROWING = SETTINGS | {"mlp.hidden": (100, 100), "learning_rate": 0.002}
# By which part of its level a line may rise in 1,000 tasks, and what stands for a run.
ALLOWED = {"memory": 0.02, "open_files": 0.05, "files": 0.05, "bytes": 0.02, "seconds": 0.1}
OF_A_RUN = {"memory": max, "open_files": max, "files": list.pop, "bytes": list.pop}
MOST_STARTS = 200  # of one run
EVERY = 0.02  # seconds from look to look
STANDS_STILL = 100.0  # seconds after which a process that was asked to stop hangs
_IN_ONE_PROCESS = "--in_one_process"


class Sample(NamedTuple):
  """What is there at the end of a task.

  Attributes:
    run: which run it is of, from 0.
    tasks: how many have ended so far, over all runs.
    memory: bytes of the process that are resident.
    open_files: of the process.
    files: in the folder of the run.
    bytes: in the folder of the run.
    seconds: a task, since the one before ended in the same process; NaN if none did.
  """

  run: int
  tasks: int
  memory: float
  open_files: float
  files: float
  bytes: float
  seconds: float


class Part:
  """The samples of a part, how often it was started and killed, and what went wrong."""

  def __init__(self):
    self.samples: list[Sample] = []
    self.starts, self.wrong = 0, []
    self.kills = {"SIGKILL": 0, "SIGTERM": 0}


class Slope(NamedTuple):
  """How a line rises in 1,000 tasks: `low` to `high` is the 95 % interval."""

  level: float
  slope: float
  low: float
  high: float

  def is_flat(self, allowed: float) -> bool:
    """Whether it surely rises by less than that part of its level."""
    return bool(self.high <= allowed * abs(self.level))


def slope_of(tasks: Sequence[float], values: Sequence[float]) -> Slope:
  """The line through the values by least squares; its interval is infinite for too few."""
  from scipy import stats

  level = float(np.mean(values)) if len(values) else np.nan
  if len(tasks) < 3:
    return Slope(level, np.nan, -np.inf, np.inf)
  x, y = np.asarray(tasks) - np.mean(tasks), np.asarray(values) - level
  slope = x @ y / (x @ x)
  variance = np.sum((y - slope * x) ** 2) / (len(x) - 2) / (x @ x)
  half = stats.t.ppf(0.975, len(x) - 2) * np.sqrt(variance)
  return Slope(level, *(1000 * float(rise) for rise in (slope, slope - half, slope + half)))


def slopes_of(samples: Sequence[Sample]) -> dict[str, Slope]:
  """The slopes of all figures over the runs, for each of which one value stands.

  The first tenth of the runs, at least one, is left out: it compiles, and caches fill.
  """
  runs = sorted({sample.run for sample in samples})
  runs = runs[max(1, len(runs) // 10) :]
  found = {}
  for name in ALLOWED:
    tasks, values = [], []
    for run in runs:
      own = [one for one in samples if one.run == run and np.isfinite(getattr(one, name))]
      if own:
        tasks.append(np.mean([one.tasks for one in own]))
        values.append(float(OF_A_RUN.get(name, np.median)([getattr(one, name) for one in own])))
    found[name] = slope_of(tasks, values)
  return found


def contents(folder: pathlib.Path) -> tuple[int, int]:
  """How many files there are, and their bytes; some may vanish meanwhile."""
  files = size = 0
  for path, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(OSError):
        size += os.stat(os.path.join(path, name)).st_size
        files += 1
  return files, size


def of_process(pid: int) -> tuple[int, int] | None:
  """Its resident memory and open files; None once it has ended."""
  import psutil

  try:
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
      return None
    memory, files = process.memory_info().rss, process.num_fds()
  except psutil.Error:
    return None
  return (memory, files) if memory else None  # it has given all back, and is about to end


def handles(pid: int, number: signal.Signals) -> bool:
  """Whether the process has a handler of the signal."""
  status = pathlib.Path(f"/proc/{pid}/status").read_text()
  caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
  return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def tasks_ended(workdir: pathlib.Path) -> int:
  """As the log tells."""
  try:
    log = (workdir / "metrics.jsonl").read_bytes()
  except OSError:
    return 0
  return log.count(b'"accuracy_after_task"')


def watch(
  pid: int, workdir: pathlib.Path, run: int, before: int, most: float = np.inf
) -> Iterator[Sample]:
  """A sample at the end of each task, until the process ends or has lived for `most` seconds."""
  begun, last, ended = time.monotonic(), None, tasks_ended(workdir)
  while time.monotonic() - begun < most and (found := of_process(pid)) is not None:
    if (now := tasks_ended(workdir)) > ended:
      moment = time.monotonic()
      seconds = np.nan if last is None else (moment - last) / (now - ended)
      yield Sample(run, before + now, *found, *contents(workdir), seconds)
      last, ended = moment, now
    time.sleep(EVERY)


def flags_of(settings: dict[str, Any]) -> list[str]:
  """The settings as the command takes them."""
  return [f"--config.{key}={value}" for key, value in settings.items()]


def fault_of_end(ended: Any, number: int | None) -> str:
  """What is wrong with how a process ended that was sent the signal `number`, or none."""
  if "Traceback" in ended.stderr:
    return f"a traceback: {ended.stderr[-500:]}"
  legal = {None: (0,), signal.SIGKILL: (0, -signal.SIGKILL), signal.SIGTERM: (0, 130)}[number]
  return "" if ended.code in legal else f"code {ended.code}: {ended.stderr[-200:]!r}"


def killed(
  start: Callable,
  arguments: Sequence[str],
  root: pathlib.Path,
  runs: int,
  kill_every: float,
  seed: int = 0,
) -> Part:
  """Runs of the command, killed on average `kill_every` seconds after each start.

  Args:
    start: starts the command with arguments, as `Launcher.start`.
    arguments: of the command, without its workdir.
    root: an empty folder.
    runs: how many are brought to their end.
    kill_every: seconds; the moments are exponentially distributed.
    seed: of these moments, and of the choice among the signals.
  """
  part, chance = Part(), random.Random(seed)
  whole = root / "whole"
  ended = start(*arguments, f"--workdir={whole}").wait()
  assert ended.code == 0, ended.stderr
  expected, names, before = faults.outcome(whole), names_in(whole), 0
  for run in range(runs):
    workdir = root / str(run)
    for _ in range(MOST_STARTS):
      fault, is_done = _start_and_kill(
        start, arguments, workdir, run, before, part, chance, kill_every
      )
      if fault or is_done:
        break
    else:
      fault = f"has not ended after {MOST_STARTS} starts"
    if not fault and faults.outcome(workdir) != expected:
      fault = "other results than those of an uninterrupted run"
    if not fault and names_in(workdir) != names:
      fault = f"its folder holds {names_in(workdir)}, must hold {names}"
    if fault:
      part.wrong.append(f"run {run}: {fault}")
    before += tasks_ended(workdir)
    part.samples.append(Sample(run, before, np.nan, np.nan, *contents(workdir), np.nan))
    shutil.rmtree(workdir, ignore_errors=True)
  return part


def _start_and_kill(
  start: Callable,
  arguments: Sequence[str],
  workdir: pathlib.Path,
  run: int,
  before: int,
  part: Part,
  chance: random.Random,
  kill_every: float,
) -> tuple[str, bool]:
  """One start; what is wrong with its end, and whether the run is done."""
  process = start(*arguments, f"--workdir={workdir}")
  part.starts += 1
  most = chance.expovariate(1 / kill_every)
  number = chance.choice((signal.SIGKILL, signal.SIGTERM))
  part.samples += watch(process.pid, workdir, run, before, most)
  if of_process(process.pid) is None:
    ended = process.wait()
    return fault_of_end(ended, None), ended.code == 0
  if not handles(process.pid, number):
    number = signal.SIGKILL  # the same to a process that has only just begun
  os.kill(process.pid, number)  # its number is nobody else's: it is waited for below only
  part.kills[number.name] += 1
  part.samples += watch(process.pid, workdir, run, before, STANDS_STILL)
  if of_process(process.pid) is not None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return f"goes on {STANDS_STILL:g} s after {number.name}", False
  ended = process.wait()
  return fault_of_end(ended, number), ended.code == 0


def names_in(workdir: pathlib.Path) -> list[str]:
  """What lies in the folder of a run."""
  return sorted(path.name for path in workdir.iterdir())


def in_one_process(
  start: Callable, settings: dict[str, Any], root: pathlib.Path, runs: int
) -> Part:
  """The same runs, one after another in one process."""
  part = Part()
  part.starts = 1
  arguments = (_IN_ONE_PROCESS, root, runs, json.dumps(settings))
  ended = start(*arguments, script=pathlib.Path(__file__)).wait()
  if fault := fault_of_end(ended, None):
    part.wrong.append(fault)
  for line in ended.stdout.splitlines():
    found = json.loads(line)
    part.samples.append(Sample(*found["sample"]))
    if not found["same"]:
      part.wrong.append(f"run {found['sample'][0]}: other results than those of the first")
  if len(part.samples) != runs:
    part.wrong.append(f"{len(part.samples)} of {runs} runs ended")
  return part


def train_in_turn(root: pathlib.Path, runs: int, settings: dict[str, Any]) -> None:
  """What the one process does; prints a line for each run."""
  from tagjax.config.defaults import base_config
  from tagjax.config.run import run_config

  config, expected = base_config(), None
  config.update_from_flattened_dict(settings | {"mlp.hidden": tuple(settings["mlp.hidden"])})
  for run in range(runs):
    folder, begun = root / str(run), time.monotonic()
    run_config(config, folder, progress=False)
    seconds = (time.monotonic() - begun) / config.num_tasks
    found = faults.outcome(folder)
    expected = expected or found
    tasks = (run + 1) * config.num_tasks
    sample = Sample(run, tasks, *of_process(os.getpid()), *contents(folder), seconds)
    print(json.dumps({"sample": sample, "same": found == expected}), flush=True)
    shutil.rmtree(folder)


def growing(start: Callable, arguments: Sequence[str], root: pathlib.Path) -> Part:
  """One stream, not killed; each task counts as a run."""
  part = Part()
  part.starts = 1
  process = start(*arguments, f"--workdir={root / 'run'}")
  for sample in watch(process.pid, root / "run", 0, 0):
    part.samples.append(sample._replace(run=sample.tasks))
  if fault := fault_of_end(process.wait(), None):
    part.wrong.append(fault)
  return part


def parts_of(options: argparse.Namespace, start: Callable, root: pathlib.Path) -> dict[str, Part]:
  """All parts that are wanted, by their names."""
  settings = SETTINGS | {"num_tasks": options.tasks_of_a_run}
  runs = max(1, options.tasks // options.tasks_of_a_run)
  makers: dict[str, Callable[[pathlib.Path], Part]] = {
    "killed": lambda folder: killed(
      start, flags_of(settings), folder, runs, options.kill_every, options.seed
    ),
    "one process": lambda folder: in_one_process(start, settings, folder, runs),
  }
  for method in ("sgd", "tag"):
    own = flags_of(GROWING | {"method": method, "num_tasks": options.growing_tasks})
    makers[f"growing, {method}"] = lambda folder, own=own: growing(start, own, folder)
  parts = {}
  for name, make in makers.items():
    if options.only in (None, name.split(",")[0]):
      (root / name).mkdir()
      parts[name] = make(root / name)
      print(f"{name}: {len(parts[name].samples)} samples", file=sys.stderr, flush=True)
  return parts


def table(parts: dict[str, Part]) -> tuple[str, bool]:
  """The slopes in Markdown, and whether all that must be flat are."""
  lines = ["| part | figure | level | rises in 1,000 tasks | 95 % interval | flat |"]
  lines.append("|---|---|---:|---:|---:|---|")
  well = True
  for part, found in parts.items():
    for name, slope in slopes_of(found.samples).items():
      flat = slope.is_flat(ALLOWED[name])
      judged = not part.startswith("growing")
      well = well and (flat or not judged)
      scale = 2**20 if name in ("memory", "bytes") else 1
      level, rise, low, high = (f"{value / scale:.3f}" for value in slope)
      unit = ", MiB" if scale > 1 else ""
      verdict = ("yes" if flat else "no") if judged else ""
      lines.append(f"| {part} | {name}{unit} | {level} | {rise} | {low} to {high} | {verdict} |")
  return "\n".join(lines), well


def draw(parts: dict[str, Part], path: pathlib.Path) -> None:
  """A column for each part, a row for each figure."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  shape = (len(ALLOWED), len(parts))
  figure, axes = pyplot.subplots(
    *shape, figsize=(4 * shape[1], 8), sharex="col", squeeze=False, layout="constrained"
  )
  for column, (part, found) in zip(axes.T, parts.items(), strict=True):
    tasks = [sample.tasks for sample in found.samples]
    for panel, name in zip(column, ALLOWED, strict=True):
      scale = 2**20 if name in ("memory", "bytes") else 1
      panel.plot(tasks, [getattr(one, name) / scale for one in found.samples], ".", markersize=2)
      panel.set_ylim(bottom=0)
      panel.set_ylabel(f"{name}, MiB" if scale > 1 else name.replace("_", " "))
    column[0].set_title(part)
    column[-1].set_xlabel("tasks")
  figure.savefig(path, dpi=80)
  pyplot.close(figure)


def write(parts: dict[str, Part], options: argparse.Namespace, path: pathlib.Path) -> None:
  """All samples, slopes, kills and faults."""
  path.parent.mkdir(parents=True, exist_ok=True)
  found = {
    name: {
      "starts": part.starts,
      "kills": part.kills,
      "wrong": part.wrong,
      "slopes": {name: _finite(slope) for name, slope in slopes_of(part.samples).items()},
      "fields": Sample._fields,
      "samples": [_finite(sample) for sample in part.samples],
    }
    for name, part in parts.items()
  }
  text = json.dumps({"options": vars(options), "parts": found}, default=str)
  path.write_text(text + "\n")


def _finite(values: Sequence[float]) -> list[float | None]:
  """JSON knows no NaN."""
  return [value if np.isfinite(value) else None for value in values]


def arguments_of(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--tasks", type=int, default=2000, help="of the first two parts, each")
  parser.add_argument("--tasks_of_a_run", type=int, default=10)
  parser.add_argument("--growing_tasks", type=int, default=120, help="of the growing streams")
  parser.add_argument("--kill_every", type=float, default=5.0, metavar="SECONDS", help="on average")
  parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
  parser.add_argument("--only", choices=("killed", "one process", "growing"))
  parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("runs/soak.json"))
  options = parser.parse_args(argv)
  if min(options.tasks, options.tasks_of_a_run, options.growing_tasks) < 1:
    parser.error("counts of tasks must be at least 1")
  if options.kill_every <= 0:
    parser.error(f"--kill_every={options.kill_every:g} must be positive")
  return options


def main(argv: Sequence[str]) -> int:
  """Prints the table; returns the exit status."""
  import launcher  # the tests' own

  options = arguments_of(argv)
  options.json = options.json.absolute()
  with tempfile.TemporaryDirectory(prefix="tagjax-soak-") as temporary:
    root = pathlib.Path(temporary)
    os.environ.setdefault("TAGJAX_CACHE_DIR", str(root / "cache"))
    (root / "launch").mkdir()
    launch = launcher.Launcher(root / "launch")
    try:
      parts = parts_of(options, launch.start, root)
    finally:
      launch.close()
  write(parts, options, options.json)
  draw(parts, options.json.with_suffix(".png"))
  text, well = table(parts)
  print(text)
  for name, part in parts.items():
    kills = ", ".join(f"{count} {number}" for number, count in part.kills.items() if count)
    print(f"{name}: {part.starts} starts; {kills or 'no kills'}; {len(part.wrong)} wrong")
    for fault in part.wrong:
      print(f"  {name}: {fault}", file=sys.stderr)
  print(f"{options.json} and {options.json.with_suffix('.png').name}")
  return 0 if well and not any(part.wrong for part in parts.values()) else 1


if __name__ == "__main__":
  if sys.argv[1:2] == [_IN_ONE_PROCESS]:
    train_in_turn(pathlib.Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
    sys.exit(0)
  sys.exit(main(sys.argv[1:]))
