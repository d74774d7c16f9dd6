"""How many trials a run trains together, kept in its folder.

A checkpoint holds the trials of a group, and how many there is room for depends on the machine: the
same command goes on with the same groups elsewhere.
"""

import os
from pathlib import Path

from tagjax.distributed import processes
from tagjax.storage.json_files import read_json, write_json_atomic

_FILE = "group.json"


def kept(folder: str | os.PathLike | None) -> int | None:
  """What `keep` has written; None if nothing."""
  path = None if folder is None else Path(folder) / _FILE
  return read_json(path)["trials"] if path is not None and path.exists() else None


def keep(folder: str | os.PathLike | None, trials: int) -> None:
  """Writes the number of trials that are trained together; nowhere if there is no folder."""
  if folder is not None and processes.is_writer() and kept(folder) != trials:
    write_json_atomic(Path(folder) / _FILE, {"trials": trials})
