"""Imports that a run needs later, made while the device compiles and computes."""

import importlib
import threading
from collections.abc import Iterable

CHECKPOINTS = ("orbax.checkpoint",)


def preload(modules: Iterable[str]) -> None:
  """Imports the modules in a thread.

  Together they take most of a second, in which the run would otherwise stand still: compiling and
  computing need no interpreter. Whoever imports one of them meanwhile waits for it, as Python's
  import lock sees to.
  """
  threading.Thread(target=_load, args=(tuple(modules),), name="preload", daemon=True).start()


def _load(modules: tuple[str, ...]) -> None:
  for name in modules:
    importlib.import_module(name)
