"""Thousands of small tasks with kills all the time: does anything grow? `make soak`; hours.

Three parts, of which the first two must be flat:

* `killed`: runs by the real command, each of the same few tasks. Whatever trains is killed at a
  random moment, by `kill -9` or SIGTERM, and the same command is given again, until it ends. The
  moments are of its processor time, so that a busy machine does not kill it earlier. Its results,
  its log and the names in its folder must be those of a run that nothing happened to.
* `one process`: the same runs, one after another in a process that lives on, as a notebook does.
* `growing`: one stream of many tasks, with SGD, with TAG, whose state has a row for each task, and
  with TAG without checkpoints. It is shown, not judged: what TAG takes beyond SGD is what its tasks
  cost, and what it takes with checkpoints only is what writing them costs.

Each sample is of the end of a task, or of a run in one process: resident memory, open files, files
and bytes in the folder of the run, seconds of processor time a task, which other processes hardly
change. At the end of a run that was killed, what all runs have left in the folders of temporary
files and of compiled programs counts with its folder. For each run stand the most memory and open
files, the files and bytes at its end, and the median of the seconds. A line is fitted to these, and
is flat if the whole 95 % interval of its slope lies below what is allowed for 1,000 tasks; too few
runs to tell are not flat. Exit status 1 if a line is not, or if a run has ended wrongly.

Each part has a JSON file, written after each run. A soak that was stopped goes on with the same
command: `killed` after the last whole run, the others, each of one process, from their beginning.
`--report` runs nothing and judges what is there. `--docs` writes the section of docs/reliability.md
with its figures and plot as well.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import random
import runpy
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
FIGURES = ROOT / "docs/figures/soak.json"
PLOT = ROOT / "docs/images/soak.png"
PAGE = ROOT / "docs/reliability.md"
START, END = "<!-- written by tests/drill/soak.py --report --docs -->\n", "<!-- end -->\n"
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
UNSAVED = "tag without checkpoints"
METHODS = {"growing, sgd": "sgd", "growing, tag": "tag", f"growing, {UNSAVED}": "tag"}
PARTS = ("killed", "one process", *METHODS)
# By which part of its level a line may rise in 1,000 tasks, and what stands for a run.
ALLOWED = {
  "memory": 0.02,
  "open_files": 0.05,
  "files": 0.05,
  "bytes": 0.02,
  "seconds": 0.1,
}
SCALES = {"memory": 2**20, "bytes": 2**20}
OF_A_RUN = {"memory": max, "open_files": max, "files": list.pop, "bytes": list.pop}
MOST_STARTS = 200  # of one run
AT_AN_END = 10  # tasks of a growing stream
EVERY = 0.02  # seconds from look to look
STANDS_STILL = 300.0  # seconds that a process may take to begin and use a few, or to stop
WAITS = 0.04  # of the time between kills
_IN_ONE_PROCESS, _UNSAVED = "--in_one_process", "--unsaved"


class Sample(NamedTuple):
  """What is there at the end of a task.

  Attributes:
    run: which run it is of, from 0.
    tasks: how many have ended so far, over all runs.
    memory: bytes of the process that are resident.
    open_files: of the process.
    files: in the folder of the run, and what is left elsewhere.
    bytes: of these files.
    seconds: of processor time a task, since the one before ended in the same process; NaN if none
      did.
  """

  run: int
  tasks: int
  memory: float
  open_files: float
  files: float
  bytes: float
  seconds: float


@dataclasses.dataclass
class Part:
  """What is known of a part so far.

  Attributes:
    options: that it was started with; what was started with others is no part of it.
    runs: that have ended.
    samples: of these runs.
    starts: of processes.
    kills: how many, by signal.
    wrong: what went wrong.
    origins: commit, processor and cores, of each start of the soak that differs from the last.
    state_bytes: of what one run trains, tasks to come included.
  """

  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  runs: int = 0
  samples: list[Sample] = dataclasses.field(default_factory=list)
  starts: int = 0
  kills: dict[str, int] = dataclasses.field(default_factory=lambda: {"SIGKILL": 0, "SIGTERM": 0})
  wrong: list[str] = dataclasses.field(default_factory=list)
  origins: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  state_bytes: int = 0

  @property
  def tasks(self) -> int:
    """That have ended in its runs."""
    return int(self.samples[-1].tasks) if self.samples else 0

  def came_from(self, workdir: pathlib.Path) -> None:
    """Keeps what a run says of its origin and its state."""
    results = json.loads((workdir / "results.json").read_text())
    self.state_bytes = results.get("growth", {}).get("allocated_bytes", 0)
    found = results["provenance"]
    origin = {name: found.get(name) for name in ("commit", "dirty", "processor", "cores")}
    if not self.origins or self.origins[-1] != origin:
      self.origins.append(origin)

  def of_runs(self) -> list[Sample]:
    """What stands for each run."""
    by_run: dict[int, list[Sample]] = {}
    for sample in self.samples:
      by_run.setdefault(sample.run, []).append(sample)
    return [_of_run(own) for own in by_run.values()]

  def to_json(self, whole: bool = True) -> dict[str, Any]:
    """All samples, or what stands for each run."""
    samples = self.samples if whole else self.of_runs()
    rows = [[_number(value) for value in sample] for sample in samples]
    return {**vars(self), "fields": Sample._fields, "samples": rows}

  @classmethod
  def from_json(cls, found: dict[str, Any]) -> "Part":
    rows = [[np.nan if value is None else value for value in row] for row in found["samples"]]
    known = {field.name for field in dataclasses.fields(cls)}
    kept = {name: value for name, value in found.items() if name in known}
    return cls(**kept | {"samples": [Sample(*row) for row in rows]})


def _number(value: float) -> float | None:
  """JSON knows no NaN, and a fraction of a byte says nothing."""
  if not np.isfinite(value):
    return None
  return int(value) if value == int(value) else round(float(value), 5)


def _of_run(samples: Sequence[Sample]) -> Sample:
  found = samples[-1]._asdict()
  for name in ALLOWED:
    known = [value for one in samples if np.isfinite(value := getattr(one, name))]
    found[name] = float(OF_A_RUN.get(name, np.median)(known)) if known else np.nan
  return Sample(**found)


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


def slopes_of(runs: Sequence[Sample]) -> dict[str, Slope]:
  """The slopes of all figures over the runs, for each of which one sample stands.

  The first tenth of the runs, at least one, is left out: it compiles, and caches fill.
  """
  runs = runs[max(1, len(runs) // 10) :]
  found = {}
  for name in ALLOWED:
    known = [one for one in runs if np.isfinite(getattr(one, name))]
    found[name] = slope_of([one.tasks for one in known], [getattr(one, name) for one in known])
  return found


def contents(*folders: pathlib.Path) -> tuple[int, int]:
  """How many files there are, and their bytes; some may vanish meanwhile."""
  files = size = 0
  for path, _, names in (found for folder in folders for found in os.walk(folder)):
    for name in names:
      with contextlib.suppress(OSError):
        size += os.stat(os.path.join(path, name)).st_size
        files += 1
  return files, size


def of_process(pid: int) -> tuple[int, int, float] | None:
  """Its resident memory, open files and seconds of processor time; None once it has ended."""
  import psutil

  try:
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
      return None
    memory, files, times = process.memory_info().rss, process.num_fds(), process.cpu_times()
  except psutil.Error:
    return None
  if not memory:  # it has given all back, and is about to end
    return None
  return memory, files, times.user + times.system


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
  pid: int,
  workdir: pathlib.Path,
  run: int,
  before: int,
  most: float = np.inf,
  patience: float = np.inf,
) -> Iterator[Sample]:
  """A sample at the end of each task, until the process ends.

  Or has used the processor for `most` seconds, or has been watched for `patience` seconds.
  """
  begun, last, ended = time.monotonic(), None, tasks_ended(workdir)
  while time.monotonic() - begun < patience and (found := of_process(pid)) is not None:
    memory, files, used = found
    if used > most:
      break
    if (now := tasks_ended(workdir)) > ended:
      seconds = np.nan if last is None else (used - last) / (now - ended)
      yield Sample(run, before + now, memory, files, *contents(workdir), seconds)
      last, ended = used, now
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
  part: Part | None = None,
  save: Callable[[Part], None] = lambda part: None,
  beside: Sequence[pathlib.Path] = (),
) -> Part:
  """Runs of the command, killed after `kill_every` seconds of processor time on average.

  Args:
    start: starts the command with arguments, as `Launcher.start`.
    arguments: of the command, without its workdir.
    root: an empty folder.
    runs: how many are brought to their end, those of `part` included.
    kill_every: seconds; exponentially distributed. What follows, up to `WAITS` of it, is time on
      the clock: a process that waits for the disk uses no processor.
    seed: of these moments, and of the choice among the signals, for each run anew.
    part: what an earlier soak got done; None: nothing.
    save: called after each run.
    beside: folders in which all runs may leave files.
  """
  part = part or Part()
  whole = root / "whole"
  ended = start(*arguments, f"--workdir={whole}").wait()
  assert ended.code == 0, ended.stderr
  part.came_from(whole)
  expected, names = faults.outcome(whole), names_in(whole)
  for run in range(part.runs, runs):
    workdir, before, chance = root / str(run), part.tasks, random.Random(f"{seed} {run}")
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
    tasks, left = before + tasks_ended(workdir), contents(workdir, *beside)
    part.samples.append(Sample(run, tasks, np.nan, np.nan, *left, np.nan))
    part.runs = run + 1
    save(part)
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
  most, wait = chance.expovariate(1 / kill_every), chance.uniform(0, WAITS * kill_every)
  number = chance.choice((signal.SIGKILL, signal.SIGTERM))
  part.samples += watch(process.pid, workdir, run, before, most, STANDS_STILL)
  time.sleep(wait)
  if of_process(process.pid) is None:
    ended = process.wait()
    return fault_of_end(ended, None), ended.code == 0
  if not handles(process.pid, number):
    number = signal.SIGKILL  # the same to a process that has only just begun
  os.kill(process.pid, number)  # its number is nobody else's: it is waited for below only
  part.kills[number.name] += 1
  part.samples += watch(process.pid, workdir, run, before, patience=STANDS_STILL)
  if of_process(process.pid) is not None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return f"has not ended {STANDS_STILL:g} s after {number.name}", False
  ended = process.wait()
  return fault_of_end(ended, number), ended.code == 0


def names_in(workdir: pathlib.Path) -> list[str]:
  """What lies in the folder of a run."""
  return sorted(path.name for path in workdir.iterdir())


def in_one_process(
  start: Callable,
  settings: dict[str, Any],
  root: pathlib.Path,
  runs: int,
  save: Callable[[Part], None] = lambda part: None,
) -> Part:
  """The same runs, one after another in one process."""
  part, told = Part(starts=1), root / "told.jsonl"
  process = start(_IN_ONE_PROCESS, root, runs, json.dumps(settings), script=pathlib.Path(__file__))

  def take() -> None:
    lines = told.read_text().splitlines(keepends=True) if told.exists() else []
    for line in lines[part.runs :]:
      if line.endswith("\n"):
        found = json.loads(line)
        part.samples.append(Sample(*found["sample"]))
        part.origins = [found["origin"]]
        part.runs += 1
        if not found["same"]:
          part.wrong.append(f"run {part.runs - 1}: other results than those of the first")
        save(part)

  while of_process(process.pid) is not None:
    take()
    time.sleep(0.5)
  take()
  if fault := fault_of_end(process.wait(), None):
    part.wrong.append(fault)
  if part.runs != runs:
    part.wrong.append(f"{part.runs} of {runs} runs ended")
  return part


def train_in_turn(root: pathlib.Path, runs: int, settings: dict[str, Any]) -> None:
  """What the one process does; tells of each run in a line of `told.jsonl`."""
  from tagjax.config.defaults import base_config
  from tagjax.config.run import run_config

  config, expected, part = base_config(), None, Part()
  config.update_from_flattened_dict(settings | {"mlp.hidden": tuple(settings["mlp.hidden"])})
  for run in range(runs):
    folder, begun = root / str(run), time.process_time()
    run_config(config, folder, progress=False)
    seconds = (time.process_time() - begun) / config.num_tasks
    found = faults.outcome(folder)
    expected = expected or found
    part.came_from(folder)
    memory, files, _ = of_process(os.getpid())
    tasks = (run + 1) * config.num_tasks
    sample = Sample(run, tasks, memory, files, *contents(folder), seconds)
    told = {"sample": sample, "same": found == expected, "origin": part.origins[-1]}
    with (root / "told.jsonl").open("a") as file:
      file.write(json.dumps(told) + "\n")
    shutil.rmtree(folder)


def growing(start: Callable, arguments: Sequence[str], root: pathlib.Path) -> Part:
  """One stream, whose programs an earlier start has compiled; each task counts as a run."""
  part = Part(starts=1, runs=1)
  process = start(*arguments, f"--workdir={root / 'compiles'}")
  next((one for one in watch(process.pid, root / "compiles", 0, 0) if one.tasks > 1), None)
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  process = start(*arguments, f"--workdir={root / 'run'}")
  for sample in watch(process.pid, root / "run", 0, 0):
    part.samples.append(sample._replace(run=sample.tasks))
  if fault := fault_of_end(process.wait(), None):
    part.wrong.append(fault)
  else:
    part.came_from(root / "run")
  return part


def train_unsaved(arguments: Sequence[str]) -> None:
  """The command, which writes no checkpoint."""
  from tagjax.storage.checkpoint import Checkpoints

  Checkpoints.save = lambda *_: None  # the state is still copied to the host
  sys.argv = ["launch.py", *arguments]
  runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")


def make(name: str, options: argparse.Namespace, start: Callable, root: pathlib.Path) -> None:
  """Makes a part, or what is missing of it, and keeps it."""
  (root / name).mkdir()
  of, settings = options_of(name, options), SETTINGS | {"num_tasks": options.tasks_of_a_run}
  runs = max(1, options.tasks // options.tasks_of_a_run)
  path = file_of(options.folder, name)
  part = read(path, of)

  def save(part: Part) -> None:
    part.options = of
    write(part, path)

  if name == "killed":
    beside = [pathlib.Path(os.environ[key]) for key in ("TAGJAX_CACHE_DIR", "TMPDIR")]
    every, seed, flags = options.kill_every, options.seed, flags_of(settings)
    if part is None or part.runs < runs:
      killed(start, flags, root / name, runs, every, seed, part, save, beside)
  elif name == "one process":
    if part is None or part.runs < runs:
      save(in_one_process(start, settings, root / name, runs, save))
  elif part is None:
    own = GROWING | {"method": METHODS[name], "num_tasks": options.growing_tasks}
    unsaved = (_UNSAVED,) * name.endswith(UNSAVED)
    script = {"script": pathlib.Path(__file__)} if unsaved else {}
    started = functools.partial(start, **script)
    save(growing(started, (*unsaved, *flags_of(own)), root / name))


def options_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
  """The options that a part depends on, apart from how many runs it has."""
  names = {
    "killed": ("tasks_of_a_run", "kill_every", "seed"),
    "one process": ("tasks_of_a_run",),
  }.get(name, ("growing_tasks",))
  return {name: getattr(options, name) for name in names}


def file_of(folder: pathlib.Path, name: str) -> pathlib.Path:
  return folder / f"{name.replace(', ', '_').replace(' ', '_')}.json"


def read(path: pathlib.Path, of: dict[str, Any] | None = None) -> Part | None:
  """What is known of a part; None: nothing.

  Raises:
    SystemExit: if it was started with other options than `of`.
  """
  if not path.exists():
    return None
  part = Part.from_json(json.loads(path.read_text()))
  if of is not None and part.options != of:
    sys.exit(f"error: {path} is of {part.options}, not {of}: give these, or another --folder")
  return part


def write(part: Part, path: pathlib.Path) -> None:
  """All samples, kills and faults; killed at any moment, it leaves the old ones or the new ones."""
  path.parent.mkdir(parents=True, exist_ok=True)
  written = path.with_suffix(".tmp")
  written.write_text(json.dumps(part.to_json()) + "\n")
  written.replace(path)


def table(parts: dict[str, Part]) -> tuple[str, bool]:
  """The slopes of all that must be flat, in Markdown, and whether they are."""
  lines = ["| part | figure | level | rises in 1,000 tasks | 95 % interval | allowed | flat |"]
  lines.append("|---|---|---:|---:|---:|---:|---|")
  well = True
  for part, found in parts.items():
    if part in METHODS:
      continue
    for name, slope in slopes_of(found.of_runs()).items():
      flat = slope.is_flat(ALLOWED[name])
      well = well and flat
      scale = SCALES.get(name, 1)
      numbers = (*slope, ALLOWED[name] * slope.level)
      level, rise, low, high, allowed = (f"{value / scale:z.3f}" for value in numbers)
      title = f"{name.replace('_', ' ')}{', MiB' * (name in SCALES)}"
      verdict = "yes" if flat else "no"
      lines.append(
        f"| {part} | {title} | {level} | {rise} | {low} to {high} | {allowed} | {verdict} |"
      )
  return "\n".join(lines), well


def growth_table(parts: dict[str, Part]) -> str:
  """What the growing streams take in their first and last tasks, in Markdown."""
  ends = f"first {AT_AN_END}", f"last {AT_AN_END}"
  head = "| stream | state | " + " | ".join(f"memory, {end} tasks" for end in ends)
  lines = [f"{head} | folder at the end |", "|---|---:|---:|---:|---:|"]
  for name, part in parts.items():
    if name in METHODS:
      memory = [one.memory / 2**20 for one in part.of_runs()]
      spans = [
        f"{min(own):.0f} to {max(own):.0f}" for own in (memory[:AT_AN_END], memory[-AT_AN_END:])
      ]
      state, folder = part.state_bytes / 2**20, part.samples[-1].bytes / 2**20
      cells = f"{state:.1f} | {spans[0]} | {spans[1]} | {folder:.1f}"
      lines.append(f"| {name.removeprefix('growing, ')} | {cells} |")
  return "\n".join(lines)


def counts(parts: dict[str, Part]) -> str:
  """How much was done and killed, and what went wrong; of a growing stream, only if it did."""
  lines = []
  for name, part in parts.items():
    if name in METHODS and not part.wrong:
      continue
    kills = " and ".join(f"{count} {number}" for number, count in part.kills.items() if count)
    wrong = f"{len(part.wrong)} wrong" if part.wrong else "none wrong"
    lines.append(
      f"- {name}: {part.tasks:,} tasks in {_many(part.runs, 'run')}, "
      f"{_many(part.starts, 'start')}, {kills or 'no kills'}, {wrong}"
    )
    options = " ".join(f"--{name}={value}" for name, value in part.options.items())
    lines.append(f"  (`{options}`; {_told(part.origins)})")
  return "\n".join(lines)


def _told(origins: Sequence[dict[str, Any]]) -> str:
  """The code and the machine."""
  commits = ", ".join(str(one["commit"])[:9] for one in origins)
  return f"{commits}; {origins[-1]['processor']}, {origins[-1]['cores']} cores" if origins else "?"


def _many(number: int, noun: str) -> str:
  return f"{number:,} {noun}{'s' * (number != 1)}"


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
    runs = found.of_runs()
    tasks = [one.tasks for one in runs]
    for panel, name in zip(column, ALLOWED, strict=True):
      values = [getattr(one, name) / SCALES.get(name, 1) for one in runs]
      panel.plot(tasks, values, ".", markersize=3)
      panel.set_ylim(0, 1.1 * max([one for one in values if one > 0], default=1))
      if not np.any(np.isfinite(values)):
        panel.set_axis_off()
      panel.set_ylabel(f"{name.replace('_', ' ')}{', MiB' * (name in SCALES)}")
    column[0].set_title(part)
    column[-1].set_xlabel("tasks")
  figure.savefig(path, dpi=80)
  pyplot.close(figure)


def section(parts: dict[str, Part]) -> str:
  """What the page says of the figures, between two lines that mark it."""
  text, _ = table(parts)
  text += f"\n\nMiB, of one stream each:\n\n{growth_table(parts)}"
  plot, figures = (path.relative_to(PAGE.parent) for path in (PLOT, FIGURES))
  picture = f"![memory, files and seconds over the tasks]({plot})"
  return f"{counts(parts)}\n\n{text}\n\n{picture}\n\nFigures: [{figures}]({figures}).\n"


def write_page(parts: dict[str, Part]) -> None:
  """The figures, their plot, and the section of the page."""
  figures = {name: part.to_json(whole=False) for name, part in parts.items()}
  FIGURES.write_text(json.dumps(figures) + "\n")
  draw(parts, PLOT)
  before, rest = PAGE.read_text().split(START)
  _, after = rest.split(END)
  PAGE.write_text(f"{before}{START}\n{section(parts)}\n{END}{after}")


def arguments_of(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--tasks", type=int, default=2000, help="of the first two parts, each")
  parser.add_argument("--tasks_of_a_run", type=int, default=10)
  parser.add_argument("--growing_tasks", type=int, default=120, help="of the growing streams")
  parser.add_argument("--kill_every", type=float, default=5.0, metavar="SECONDS", help="of use")
  parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
  parser.add_argument("--only", choices=("killed", "one process", "growing"))
  parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/soak"))
  parser.add_argument("--report", action="store_true", help="run nothing, judge what is there")
  parser.add_argument("--docs", action="store_true", help="write docs/reliability.md as well")
  options = parser.parse_args(argv)
  if min(options.tasks, options.tasks_of_a_run, options.growing_tasks) < 1:
    parser.error("counts of tasks must be at least 1")
  if options.kill_every <= 0:
    parser.error(f"--kill_every={options.kill_every:g} must be positive")
  return options


def soak(name: str, options: argparse.Namespace, root: pathlib.Path) -> None:
  """Makes a part in an empty folder; what its runs may leave elsewhere stays for the next start."""
  import launcher  # the tests' own

  for key, folder in {"TAGJAX_CACHE_DIR": "cache", "TMPDIR": "temporary"}.items():
    left = file_of(options.folder, name).with_suffix("") / folder
    left.mkdir(parents=True, exist_ok=True)
    os.environ[key] = str(left)
  (root / "launch").mkdir()
  launch, last = launcher.Launcher(root / "launch"), None

  def start(*arguments: Any, **how: Any) -> launcher.Process:
    nonlocal last
    last = launch.start(*arguments, **how)
    return last

  try:
    make(name, options, start, root)
  finally:
    if last is not None and of_process(last.pid) is not None:
      os.kill(last.pid, signal.SIGKILL)
    launch.close()


def main(argv: Sequence[str]) -> int:
  """Prints the table; returns the exit status."""
  options = arguments_of(argv)
  options.folder = options.folder.absolute()
  if not options.report:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
      for name in PARTS:
        if options.only in (None, name.split(",")[0]):
          with tempfile.TemporaryDirectory(prefix="tagjax-soak-") as root:
            soak(name, options, pathlib.Path(root))
    except KeyboardInterrupt:
      sys.exit("stopped: the same command goes on, --report judges what is there")
  found = {name: read(file_of(options.folder, name)) for name in PARTS}
  parts = {name: part for name, part in found.items() if part is not None}
  if not parts:
    sys.exit(f"error: {options.folder} holds nothing yet")
  draw(parts, options.folder / "soak.png")
  text, well = table(parts)
  print(text, growth_table(parts), counts(parts), sep="\n\n")
  for name, part in parts.items():
    for fault in part.wrong:
      print(f"  {name}: {fault}", file=sys.stderr)
  if options.docs:
    write_page(parts)
  print(f"{options.folder}: samples and soak.png")
  return 0 if well and not any(part.wrong for part in parts.values()) else 1


if __name__ == "__main__":
  if sys.argv[1:2] == [_IN_ONE_PROCESS]:
    train_in_turn(pathlib.Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
    sys.exit(0)
  if sys.argv[1:2] == [_UNSAVED]:
    train_unsaved(sys.argv[2:])
    sys.exit(0)
  sys.exit(main(sys.argv[1:]))
