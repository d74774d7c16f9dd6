"""How a run, a grid and a search end: with their plots, and then with results.json."""

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from tagjax.distributed import processes
from tagjax.report.plotter import Plotter
from tagjax.storage.json_files import write_json_atomic
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training import freed_memory


class Ending:
  """Writes the results; as a context manager, what draws gets ready while the run trains.

  In the end what the run has freed is given back to the system.

  Args:
    folder: of the run, the grid or the search.
    plots: whether they are drawn.
  """

  def __init__(self, folder: Workdir | NoWorkdir, plots: bool):
    self._folder = folder
    self._plotter = None
    if folder.path is not None and plots and processes.is_writer():
      self._plotter = Plotter(folder.path)
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> "Ending":
    if self._plotter is not None:
      self._stack.enter_context(self._plotter)
    return self

  def __exit__(self, *error: object) -> None:
    self._stack.close()
    freed_memory.give_back()

  def write(self, results: Mapping[str, Any]) -> None:
    """Writes the plots, and last results.json: its presence says that the run has ended.

    Plots that cannot be drawn are told in a line, and do not keep the results from being written.
    """
    if self._folder.path is None or not processes.is_writer():
      return
    if self._plotter is not None and (reason := self._plotter.draw(results)):
      print(
        f"note: the plots cannot be drawn: {reason}. All else is in {self._folder.path}",
        file=sys.stderr,
      )
    write_json_atomic(self._folder.results, results)
