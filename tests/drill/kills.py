"""Rows of the drill in which processes are killed, or run beside each other, or elsewhere."""

import contextlib
import functools
import io
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import faults
from trials import SMALL, Ended, Trial, lives, then, whole

from tagjax import verify
from tagjax.report import compare

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERY = 0.01  # seconds from look to look

KINDS = {
  "tag": ("--config.method=tag",),
  "er+tag": ("--config.method=er+tag",),
  "gem+tag": ("--config.method=gem+tag",),
  "si+derpp+tag": ("--config.method=si+derpp+tag",),
  "grid": (
    "--config.validation_fraction=0.2",
    "--config.sweep={'learning_rate': [0.1, 0.01], 'tag.b': [1.0, 5.0], 'epochs': [1, 2]}",
  ),
  "streamed": ("--config.method=er+tag", "--config.input=stream"),
}


def names_in(folder: pathlib.Path) -> set[str]:
  """All names below the folder, some of which may vanish meanwhile."""
  return {os.path.join(at, name) for at, own, files in os.walk(folder) for name in (*own, *files)}


class At:
  """A moment of a run: seconds from its start, or when so many names have appeared in its folder.

  Args:
    folder: of the run.
    seconds: from the start.
    names: that were seen there, temporary ones too.
  """

  def __init__(self, folder: pathlib.Path, seconds: float = 0.0, names: int = 0):
    self._folder, self._seconds, self._names = folder, seconds, names

  def wait(self, pid: int) -> bool:
    """Waits for the moment; returns whether the process still lives."""
    begun, seen = time.monotonic(), set()
    while lives(pid):
      seen |= names_in(self._folder) if self._names else set()
      if time.monotonic() - begun >= self._seconds and len(seen) >= self._names:
        return True
      time.sleep(EVERY)
    return False


def _kill(launch: Any, arguments: tuple[str, ...], at: At, *sent: int) -> int:
  """Starts the command, sends signals at a moment, and gives the command again."""
  process = launch.start(*arguments)
  if at.wait(process.pid):
    for number in sent:
      with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
      time.sleep(0.003)
  ended = process.wait()
  return then(launch, arguments, "Traceback" not in ended.stderr, ended)


def _killed(
  folder: pathlib.Path, launch: Any, name: str, more: tuple[str, ...], number: int
) -> Iterator[Trial]:
  """So many kills of a kind of run, the first ones by time, the others by what it has written."""
  chance, begun = random.Random(name), time.monotonic()
  (own := folder / name).mkdir()
  arguments, expected = whole(own, launch, *more)
  seconds, names = time.monotonic() - begun, len(names_in(own / "whole"))
  for place in range(number):
    run = own / str(place)
    early = place < max(1, number // 4)
    at = (
      At(run, seconds=chance.uniform(0, seconds / 2))
      if early
      else At(run, names=chance.randint(1, names))
    )
    same = lambda run=run, expected=expected: faults.outcome(run) == expected  # noqa: E731
    call = functools.partial(_kill, launch, (*arguments, f"--workdir={run}"), at, signal.SIGKILL)
    yield Trial(f"{name}, kill {place}", (), ends=True, unharmed=same, call=call)


def kills(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """`kill -9` at random moments of six kinds of runs; the same command then gives the same bits."""
  for name, more in KINDS.items():
    yield from _killed(folder, launch, name, more, 3)


def kills_with_one_checkpoint(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """The same where one checkpoint is kept, of each second step, of two seeds in turn."""
  more = (
    *("--config.keep_checkpoints=1", "--config.checkpoint_every=2", "--config.chunk_steps=1"),
    *("--config.seeds=2", "--config.seeds_together=1", "--config.learning_curve_batches=2"),
  )
  yield from _killed(folder, launch, "one checkpoint", more, 5)


class Cold:
  """The real command, in a process that has loaded nothing."""

  def __init__(self, folder: pathlib.Path, *prefix: str, **env: str):
    self._folder, self._count = folder, 0
    self._prefix = prefix or (sys.executable,)
    self._env = {**os.environ, "PYTHONPATH": str(ROOT), **env}

  def start(self, *arguments: str) -> "ColdProcess":
    self._count += 1
    files = [open(self._folder / f"{self._count}.{name}", "w+") for name in ("out", "err")]  # noqa: SIM115  (closed by wait)
    command = [*self._prefix, "-W", "ignore", "launch.py", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=files[0], stderr=files[1])
    return ColdProcess(process, files)

  def __call__(self, *arguments: str) -> Ended:
    return self.start(*arguments).wait()


class ColdProcess:
  """A process of the real command."""

  def __init__(self, process: subprocess.Popen, files: list[io.TextIOWrapper]):
    self.pid, self._process, self._files, self._begun = (
      process.pid,
      process,
      files,
      time.monotonic(),
    )

  def wait(self) -> Ended:
    code, told = self._process.wait(), []
    for file in self._files:
      file.seek(0)
      told.append(file.read())
      file.close()
    return Ended(code, *told, time.monotonic() - self._begun)


def cold_starts(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """`kill -9` of the real command, whose folder of compiled programs is empty at first."""
  del launch
  chance, begun = random.Random("cold"), time.monotonic()
  command = Cold(folder, TAGJAX_CACHE_DIR=str(folder / "cache"))
  arguments, expected = whole(folder, command)
  seconds = time.monotonic() - begun
  shutil.rmtree(folder / "cache" / "compiled", ignore_errors=True)
  for place in range(3):
    run = folder / str(place)
    at = At(run, seconds=chance.uniform(0, seconds)) if place < 2 else At(run, names=20 * place)
    same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
    call = functools.partial(_kill, command, (*arguments, f"--workdir={run}"), at, signal.SIGKILL)
    yield Trial(f"cold start, kill {place}", (), ends=True, unharmed=same, call=call)


SENT = {
  "SIGINT": (signal.SIGINT,),
  "SIGTERM": (signal.SIGTERM,),
  "SIGHUP": (signal.SIGHUP,),
  "SIGPIPE": (signal.SIGPIPE,),
  "SIGUSR1": (signal.SIGUSR1,),
  "five SIGINT": (signal.SIGINT,) * 5,
}


def signals_after_a_checkpoint(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Signals once there is a checkpoint; the same command then gives the same bits."""
  arguments, expected = whole(folder, launch)
  for name, sent in SENT.items():
    run = folder / name
    same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
    at = At(run / "checkpoints", names=2)
    call = functools.partial(_kill, launch, (*arguments, f"--workdir={run}"), at, *sent)
    yield Trial(name, (), ends=True, unharmed=same, call=call)


def quotas(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """No file may grow beyond some KB from a moment on; the same command then gives the same bits."""
  arguments, expected = whole(folder, launch)
  for most in (1, 4):
    for names in (1, 30):
      run = folder / f"{most} {names}"
      same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
      at = At(run, names=names)
      call = functools.partial(_limit, launch, (*arguments, f"--workdir={run}"), at, most * 1000)
      yield Trial(f"{most} KB, {names} names", (), ends=True, unharmed=same, call=call)


def _limit(launch: Any, arguments: tuple[str, ...], at: At, most: int) -> int:
  process = launch.start(*arguments)
  if at.wait(process.pid):
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
  ended = process.wait()
  lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
  is_well = ended.code == 0 or (ended.code == 1 and len(lines) == 1)
  return then(launch, arguments, is_well and "Traceback" not in ended.stderr, ended)


def two_in_one_folder(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """The same command twice, 0 to 200 ms apart: one runs, the other is refused in one line."""
  arguments, expected = whole(folder, launch)
  for apart in (0, 10, 30, 60, 100, 150, 200):
    run = folder / str(apart)
    same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
    call = functools.partial(_twice, launch, (*arguments, f"--workdir={run}"), apart / 1000)
    yield Trial(f"{apart} ms apart", (), ends=True, unharmed=same, call=call)


def _twice(launch: Any, arguments: tuple[str, ...], apart: float) -> int:
  first = launch.start(*arguments)
  time.sleep(apart)
  both = [process.wait() for process in (first, launch.start(*arguments))]
  ran = [ended for ended in both if ended.code == 0 and "has ended already" not in ended.stderr]
  refused = [ended for ended in both if ended not in ran]
  words = ("another process is running", "has ended already")
  told = [
    len(lines := ended.stderr.splitlines()) == 1 and any(one in lines[0] for one in words)
    for ended in refused
  ]
  print([ended.stderr for ended in both], file=sys.stderr)
  return int(len(ran) != 1 or not all(told))


def readers_beside_a_run(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Log and results are read while a run goes on: never a half line, never half a file."""
  run = folder / "run"
  process = launch.start(*SMALL, "--config.num_tasks=30", f"--workdir={run}")
  while lives(process.pid) and not (run / "metrics.jsonl").exists():
    time.sleep(EVERY)
  number = 0
  while lives(process.pid) and number < 120:
    number += 1
    read = functools.partial(_read, run, number)
    yield Trial(f"read {number}", (), ends=True, call=read)
    time.sleep(0.02)
  ended = process.wait()
  yield Trial("the run itself", (), ends=True, call=lambda: ended.code)


def _read(run: pathlib.Path, number: int) -> int:
  lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
  for line in lines[:-1]:
    json.loads(line)
  if lines[-1]:
    return 1  # a half line
  if (run / "results.json").exists():
    json.loads((run / "results.json").read_text())
  if number % 10 == 0:
    try:
      return compare.main([str(run)]) if number % 20 else verify.main([str(run)])
    except SystemExit as stop:
      return 0 if stop.code in (None, 0) else 1
  return 0


PREPARE = "import runpy\nrunpy.run_module('tagjax.datasets', run_name='__main__')\n"


def _prepare(launch: Any, script: pathlib.Path, cache: pathlib.Path, what: str = "prepare") -> Any:
  script.write_text(PREPARE)
  return launch.start(what, "digits", script=script, TAGJAX_CACHE_DIR=str(cache))


def several_prepare(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Two to four processes prepare one data set, or three runs find an empty cache."""
  for number in (2, 3, 4):
    cache = folder / f"cache {number}"
    call = functools.partial(_prepare_together, launch, folder / "prepare.py", cache, number)
    yield Trial(f"{number} processes prepare", (), ends=True, call=call)
  cache = folder / "cache of runs"
  starts = [(*SMALL, f"--workdir={folder / str(place)}") for place in range(3)]

  def run_together() -> int:
    own = [launch.start(*arguments, TAGJAX_CACHE_DIR=str(cache)) for arguments in starts]
    return max(abs(process.wait().code) for process in own)

  same = lambda: len({repr(faults.outcome(folder / str(place))) for place in range(3)}) == 1  # noqa: E731
  yield Trial("3 runs with an empty cache", (), ends=True, unharmed=same, call=run_together)


def _prepare_together(launch: Any, script: pathlib.Path, cache: pathlib.Path, number: int) -> int:
  own = [_prepare(launch, script, cache) for _ in range(number)]
  codes = [process.wait().code for process in own]
  return max(map(abs, [*codes, _prepare(launch, script, cache, "verify").wait().code]))


def kills_while_preparing(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """`kill -9` while a data set is prepared; then it is prepared, and verified."""
  chance, begun = random.Random("prepare"), time.monotonic()
  assert _prepare(launch, folder / "prepare.py", folder / "whole").wait().code == 0
  seconds = time.monotonic() - begun

  def killed(cache: pathlib.Path, at: At) -> int:
    process = _prepare(launch, folder / "prepare.py", cache)
    if at.wait(process.pid):
      os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return _prepare_together(launch, folder / "prepare.py", cache, 1)

  for number in range(8):
    cache = folder / str(number)
    names = chance.randint(1, 8)
    at = At(cache, seconds=chance.uniform(0, seconds)) if number < 4 else At(cache, names=names)
    yield Trial(f"kill {number}", (), ends=True, call=functools.partial(killed, cache, at))


def compiled_programs(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Damaged folders of compiled programs: compiled anew, with the same bits, and silently."""
  kept = folder / "kept"
  arguments, expected = whole(folder, launch, f"--compilation_cache={kept}")
  arguments = arguments[:-1]
  files = sorted(path.relative_to(kept) for path in kept.rglob("*-cache"))
  assert files
  chance = random.Random("compiled")

  def damage(path: pathlib.Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "bit":
      content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif how == "cut":
      del content[len(content) // 2 :]
    elif how == "zeros":
      content[:] = bytes(len(content))
    elif how == "another":
      content[:] = (kept / chance.choice(files)).read_bytes()
    path.write_bytes(content)

  for how in ("bit", "cut", "zeros", "another"):
    for number, chosen in enumerate((files, files, chance.sample(files, 1))):
      cache = folder / f"{how} {number}"
      shutil.copytree(kept, cache)
      for name in chosen:
        damage(cache / name, how)
      run = folder / f"run {how} {number}"
      same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
      own = (*arguments, f"--compilation_cache={cache}", f"--workdir={run}")
      name = f"{how}, {len(chosen)} of {len(files)} files"
      yield Trial(name, own, ends=True, unharmed=same)


def determinism(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """The same run under other circumstances: the same bits."""
  more = ("--config.seeds=2", "--config.method=er+tag")
  arguments, expected = whole(folder, launch, *more)
  real: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "the real command, another hash seed": ((), {"PYTHONHASHSEED": "7"}),
    "another locale": ((), {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"}),
    "python -O": ((sys.executable, "-O"), {}),
    "one core": (("taskset", "-c", "0", sys.executable), {}),
  }
  for number, (name, (prefix, env)) in enumerate(real.items()):
    run = folder / f"real {number}"
    (own := folder / f"told {number}").mkdir()
    command = Cold(own, *prefix, **env)

    def call(command: Cold = command, run: pathlib.Path = run) -> int:
      ended = command(*arguments, f"--workdir={run}")
      print(ended.stderr, file=sys.stderr)
      return int(ended.code != 0)

    same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
    yield Trial(name, (), ends=True, unharmed=same, call=call)
  others: dict[str, tuple[str, ...]] = {
    "again": (),
    "no folder of compiled programs": ("--compilation_cache=",),
    "four devices": ("--cpu_devices=4",),
    "one seed after the other": ("--config.seeds_together=1",),
    "chunks of one step": ("--config.chunk_steps=1",),
    "examples streamed": ("--config.input=stream",),
    "a checkpoint after each step": ("--config.checkpoint_every=1",),
  }
  for number, (name, own_arguments) in enumerate(others.items()):
    run = folder / f"forked {number}"
    is_setting = any(one.startswith("--config.") for one in own_arguments)  # results tell of it
    of = _matrices if is_setting else faults.outcome
    same = lambda run=run, of=of: of(run) == of(folder / "whole")  # noqa: E731
    own = (*arguments, *own_arguments, f"--workdir={run}")
    yield Trial(name, own, ends=True, unharmed=same)


def _matrices(run: pathlib.Path) -> Any:
  """What settings that change the log's lines leave as it is."""
  return json.loads((run / "results.json").read_text())["accuracy_matrix"]
