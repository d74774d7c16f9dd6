"""What a preparation shows while it lasts: a bar on stderr, if that is a terminal."""

import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.progress import (
  BarColumn,
  DownloadColumn,
  MofNCompleteColumn,
  Progress,
  ProgressColumn,
  TextColumn,
  TimeRemainingColumn,
)
from rich.text import Text

from tagjax.datasets import folders

_POLL_SECONDS = 0.5


class Bar:
  """One bar, for one piece of work after another. A context manager."""

  def __init__(self, console: Console | None = None):
    """Shows nothing where `console` (stderr, if not given) is no terminal."""
    console = console or Console(stderr=True)
    self._progress = Progress(
      TextColumn("{task.description}", markup=False),
      BarColumn(bar_width=20),
      _Amount(),
      TimeRemainingColumn(compact=True),
      console=console,
      transient=True,
      disable=not console.is_terminal or console.is_dumb_terminal,
      # Redirected, a print() to stdout would come out on stderr.
      redirect_stdout=False,
    )
    self._task = None

  def __enter__(self) -> "Bar":
    self._progress.start()
    return self

  def __exit__(self, *exception) -> None:
    del exception
    self._progress.stop()

  def reading(self, path: pathlib.Path) -> Callable[[int], None]:
    """Shows the check of a file; returns what is to be told the number of bytes just read."""
    self._begin(f"checking {path.name}", folders.size(path), _BYTES)
    return self._advance

  @contextlib.contextmanager
  def downloading(self, name: str, folder: pathlib.Path, total: int) -> Iterator[None]:
    """Shows how `folder` grows by `total` bytes; TFDS tells only its own bars how far it is."""
    before, done = folders.size(folder), threading.Event()
    self._begin(f"downloading {name}", total, _BYTES)

    def watch():
      while not done.wait(_POLL_SECONDS):
        self._progress.update(self._task, completed=folders.size(folder) - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
      yield
    finally:
      done.set()
      watcher.join()

  def examples(
    self, description: str, examples: Iterable, total: int | None, then: str | None = None
  ) -> Iterator:
    """Yields `examples` and shows how many of `total` it were.

    Args:
      description: what is done with them.
      examples: what is yielded.
      total: their number, if known.
      then: what goes on after the last one, for a time unknown.
    """
    self._begin(description, total, _EXAMPLES)
    for example in examples:
      yield example
      self._advance(1)
    if then is not None:
      self._begin(then, None, _EXAMPLES)

  def _begin(self, description: str, total: int | None, unit: str) -> None:
    if self._task is not None:
      self._progress.remove_task(self._task)
    self._task = self._progress.add_task(description, total=total, unit=unit)

  def _advance(self, count: int) -> None:
    self._progress.advance(self._task, count)


_BYTES, _EXAMPLES = "bytes", "examples"


class _Amount(ProgressColumn):
  """How much is done, in the unit of the work."""

  def __init__(self):
    super().__init__()
    self._columns = {_BYTES: DownloadColumn(binary_units=True), _EXAMPLES: MofNCompleteColumn()}

  def render(self, task):
    return self._columns[task.fields["unit"]].render(task) if task.total is not None else Text()
