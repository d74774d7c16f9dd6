"""Plots drawn by a process of its own, which loads Matplotlib while the run trains.

Loading it takes half a second of Python, and so does drawing: in a thread the run would wait for
both, since one thread at a time runs Python.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tagjax.core.errors import reason
from tagjax.storage.json_files import as_json

_DRAW = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_DRAW += "from tagjax.report import plotter; plotter.draw_what_comes(sys.argv[2])"


class Plotter:
  """Draws the plots of a run, a grid or a search into a folder.

  As a context manager it starts the process; without, it draws in this one. So it does where
  Matplotlib is loaded already, and where no process can be started. If the run ends without
  results, in whatever way, the process ends too and draws nothing.

  Args:
    directory: where the plots go.
  """

  def __init__(self, directory: str | os.PathLike):
    self._directory = os.fspath(directory)
    self._process: subprocess.Popen | None = None

  def __enter__(self) -> "Plotter":
    if "matplotlib.figure" not in sys.modules and sys.executable:
      path = json.dumps([os.path.abspath(entry) for entry in sys.path])
      with contextlib.suppress(OSError):
        self._process = subprocess.Popen(
          [sys.executable, "-c", _DRAW, path, self._directory],
          stdin=subprocess.PIPE,
          stdout=subprocess.DEVNULL,
          stderr=subprocess.PIPE,
          text=True,
          encoding="utf-8",
          start_new_session=True,  # what interrupts the run would interrupt it too, loudly
        )
    return self

  def __exit__(self, *error: object) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.communicate()
      self._process = None

  def draw(self, results: Mapping[str, Any]) -> str | None:
    """Draws, and returns when all plots are there.

    Args:
      results: what results.json holds.

    Returns:
      Why they could not be drawn, in one line; None if they could.
    """
    process, self._process = self._process, None
    if process is None:
      return _draw(results, self._directory)
    # A line and not all until the end of the file: whom this process has forked may keep it open.
    _, errors = process.communicate(f"{json.dumps(as_json(dict(results)))}\n")
    if process.returncode == 0:
      return None
    return (errors.strip().splitlines() or [f"its process ended with {process.returncode}"])[-1]


def draw_what_comes(directory: str) -> None:
  """In the process: loads what draws, then reads results from a line of the input."""
  from tagjax.report import drawing, plots  # noqa: F401  (while the run trains)

  figure = drawing.new_plot(1, 1)
  figure.add_subplot()
  figure.savefig(io.BytesIO())  # loads fonts and the writer of images
  if line := sys.stdin.readline().strip():
    os._exit(_draw_at_once(json.loads(line), directory))  # the run waits for it: at once


def _draw_at_once(results: Mapping[str, Any], directory: str) -> int:
  """Each plot in a process of its own, so that all cores draw; 0 if all could be drawn."""
  from tagjax.report import plots

  if not hasattr(os, "fork"):
    return _told(_draw(results, directory))
  children = []
  for name in plots.plots_of(results):
    if (child := os.fork()) == 0:
      os._exit(_told(_draw(results, directory, [name])))
    children.append(child)
  ends = [os.waitpid(child, 0)[1] for child in children]
  return int(any(ends))


def _told(error: str | None) -> int:
  """Prints what failed, if anything did; the code to exit with."""
  if error is not None:
    print(error, file=sys.stderr, flush=True)
  return int(error is not None)


def _draw(
  results: Mapping[str, Any], directory: str, names: Iterable[str] | None = None
) -> str | None:
  """Why it failed, if it did."""
  from tagjax.report import plots

  try:
    plots.save_all(results, directory, names)
  except Exception as error:
    return reason(error)
  return None
