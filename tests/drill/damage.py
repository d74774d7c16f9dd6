"""Rows of the drill in which files of a run, or of a data set, are damaged.

Many trials: they are made in one process, in which what does not depend on the folder is made once.
"""

import contextlib
import functools
import os
import pathlib
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import faults
import numpy as np
from trials import Trial

from tagjax.core.errors import TagjaxError
from tagjax.datasets import load, prepare

DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {}


def _damage(change: Callable[[bytearray, random.Random], None]) -> Callable:
  DAMAGES[change.__name__.strip("_").replace("_", " ")] = change
  return change


@_damage
def _a_bit(content: bytearray, chance: random.Random) -> None:
  if content:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


@_damage
def _a_byte(content: bytearray, chance: random.Random) -> None:
  if content:
    content[chance.randrange(len(content))] = chance.randrange(256)


@_damage
def _cut(content: bytearray, chance: random.Random) -> None:
  del content[chance.randrange(len(content) + 1) :]


@_damage
def _zeros(content: bytearray, chance: random.Random) -> None:
  content[:] = bytes(len(content))


@_damage
def _random(content: bytearray, chance: random.Random) -> None:
  content[:] = chance.randbytes(len(content))


@_damage
def _appended(content: bytearray, chance: random.Random) -> None:
  content += chance.randbytes(100)


def damage(path: pathlib.Path, how: str, chance: random.Random) -> None:
  """Damages a file, deletes it, or puts a folder in its place."""
  if how in DAMAGES:
    content = bytearray(path.read_bytes())
    DAMAGES[how](content, chance)
    path.write_bytes(content)
    return
  path.unlink()
  if how == "a folder":
    path.mkdir()


HOW = (*DAMAGES, "deleted", "a folder")


class Interrupted:
  """A run that was stopped after its first task, and what it would have ended with.

  Args:
    root: for its folders.
  """

  def __init__(self, root: pathlib.Path):
    self._config = faults.configs()["run"]
    self.folder = root / "interrupted"
    whole = root / "whole"
    assert self.again(whole) == 0
    self.expected = faults.outcome(whole)
    self.stop()

  def again(self, folder: pathlib.Path) -> int:
    """The command; 1 with a line."""
    from tagjax.config.run import run_config
    from tagjax.core.faults import line_of

    try:
      run_config(self._config, folder, progress=False)
    except Exception as error:
      line = line_of(error, folder)
      # A fault of the program has one line too, which names the file of its traceback.
      print(f"{'Traceback ' * ('its traceback is in' in line)}error: {line}", file=sys.stderr)
      return 1
    return 0

  def stop(self) -> None:
    """Trains until two checkpoints are there."""
    from tagjax.config.run import run_config
    from tagjax.training.fit import Cursor

    class Stopped(Exception):  # noqa: N818  (what happened, not a fault)
      pass

    save, saved = Cursor.save, []

    def stopping(cursor: Cursor) -> None:
      save(cursor)
      saved.append(cursor.position)
      if len(set(saved)) == 3:
        raise Stopped

    Cursor.save = stopping  # type: ignore[method-assign]
    try:
      with contextlib.suppress(Stopped):
        run_config(self._config, self.folder, progress=False)
    finally:
      Cursor.save = save  # type: ignore[method-assign]

  def copy(self, folder: pathlib.Path) -> pathlib.Path:
    shutil.copytree(self.folder, folder)
    return folder


@contextlib.contextmanager
def interrupted(root: pathlib.Path) -> Iterator[Interrupted]:
  """See `Interrupted`; runs of the block are made once, see `tests/drill/faults.py`."""
  with faults.made_once():
    yield Interrupted(root)


def checkpoints(folder: pathlib.Path) -> Iterator[Trial]:
  """Damage to checkpoints: the run goes on to the same bits, or one line says that none is left."""
  with interrupted(folder) as run:
    before, newest = sorted(map(int, os.listdir(run.folder / "checkpoints")))
    for name, change in _of_checkpoints(run, before, newest):
      own = run.copy(folder / name.replace("/", " "))
      change(own / "checkpoints")
      names = _names(own)

      def same(own: pathlib.Path = own, names: set[str] = names) -> bool:
        if (own / "results.json").exists():
          return faults.outcome(own) == run.expected
        return names <= _names(own)  # nothing was lost

      yield Trial(name, (), ends=True, unharmed=same, call=functools.partial(run.again, own))
      shutil.rmtree(own)


def _names(folder: pathlib.Path) -> set[str]:
  return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _of_checkpoints(
  run: Interrupted, before: int, newest: int
) -> Iterator[tuple[str, Callable[[pathlib.Path], Any]]]:
  chance = random.Random("checkpoints")
  places = {"newest": (newest,), "both": (before, newest)}
  root = run.folder / "checkpoints"
  files = [
    {
      str(path.relative_to(root / str(at)))
      for path in (root / str(at)).rglob("*")
      if path.is_file()
    }
    for at in (before, newest)
  ]
  for which, positions in places.items():
    for file in sorted(files[0] & files[1] if which == "both" else files[1]):
      for how in HOW:

        def change(at: pathlib.Path, positions=positions, file=file, how=how) -> None:
          for position in positions:
            damage(at / str(position) / file, how, chance)

        yield f"{how}, {file}, {which}", change

  def swapped(at: pathlib.Path) -> None:
    (at / str(newest)).rename(at / "x")
    (at / str(before)).rename(at / str(newest))
    (at / "x").rename(at / str(before))

  def mixed(part: str, at: pathlib.Path) -> None:
    shutil.rmtree(at / str(newest) / part)
    shutil.copytree(at / str(before) / part, at / str(newest) / part)

  def copied(position: int, at: pathlib.Path) -> None:
    shutil.copytree(at / str(newest), at / str(position))

  def emptied(position: int, at: pathlib.Path) -> None:
    shutil.rmtree(at / str(position))
    (at / str(position)).mkdir()

  yield "swapped", swapped
  for part in ("state", "progress"):
    yield f"{part} of the one before", functools.partial(mixed, part)
  for position in (newest + 1, newest + 1000, 1):
    if position not in (before, newest):
      yield f"copied to {position}", functools.partial(copied, position)
  yield "newest gone", lambda at: shutil.rmtree(at / str(newest))
  yield "the one before gone", lambda at: shutil.rmtree(at / str(before))
  yield "newest empty", functools.partial(emptied, newest)
  yield "both empty", lambda at: [emptied(one, at) for one in (before, newest)]


def logs(folder: pathlib.Path) -> Iterator[Trial]:
  """Damage to the log before a run goes on: no line is wrong, and no accuracy is missing."""
  with interrupted(folder) as run:
    log = (run.folder / "metrics.jsonl").read_bytes()
    accuracies = [line for line in run.expected[1][0].splitlines() if "accuracy_after_task" in line]
    chance = random.Random("logs")
    contents: dict[str, bytes | None] = {"gone": None, "empty": b""}
    for tenth in range(1, 10):
      contents[f"cut to {tenth} tenths"] = log[: len(log) * tenth // 10]
    for how, change in DAMAGES.items():
      for number in range(2):
        content = bytearray(log)
        change(content, chance)
        contents[f"{how} {number}"] = bytes(content)
    contents["its lines in another order"] = b"".join(reversed(log.splitlines(keepends=True)))
    contents["twice"] = log + log
    for name, content in contents.items():
      own = run.copy(folder / name)
      (own / "metrics.jsonl").unlink()
      if content is not None:
        (own / "metrics.jsonl").write_bytes(content)

      def same(own: pathlib.Path = own) -> bool:
        results, (found,) = faults.outcome(own)
        lines = found.splitlines()
        told = [line for line in lines if "accuracy_after_task" in line]
        return (
          results == run.expected[0]
          and told == accuracies
          and set(lines) <= set(run.expected[1][0].splitlines())
        )

      yield Trial(name, (), ends=True, unharmed=same, call=functools.partial(run.again, own))


def prepared_files(folder: pathlib.Path) -> Iterator[Trial]:
  """Damage to the files of a prepared data set: refused in one line, or the same examples."""
  before = os.environ.get("TAGJAX_CACHE_DIR", "")
  original = folder / "original"
  os.environ["TAGJAX_CACHE_DIR"] = str(original)
  try:
    prepare.prepare("digits")
    expected = _examples()
    (features,) = original.rglob("features.json")
    files = sorted(path.relative_to(original) for path in features.parent.iterdir())
    chance = random.Random("prepared")
    for file in files:
      for how in HOW:
        cache = folder / f"{how} {file.name}"
        shutil.copytree(original, cache)
        damage(cache / file, how, chance)
        os.environ["TAGJAX_CACHE_DIR"] = str(cache)
        found: list[Any] = []
        same = lambda found=found: all(map(np.array_equal, found, expected))  # noqa: E731
        call = functools.partial(_read, found)
        yield Trial(f"{how}, {file.name}", (), ends=True, unharmed=same, call=call)
        shutil.rmtree(cache)
  finally:
    os.environ["TAGJAX_CACHE_DIR"] = before


def _examples() -> list[np.ndarray]:
  loaded = load("digits")
  return [getattr(getattr(loaded, split), name) for split in SPLITS for name in ("image", "label")]


SPLITS = ("train", "test")


def _read(found: list[Any]) -> int:
  try:
    found.extend(_examples())
  except TagjaxError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0
