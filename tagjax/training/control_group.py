"""The control groups of the process (a container, a batch job): where Linux tells their limits."""

import pathlib
from collections.abc import Iterator
from typing import Literal


def folders(root: pathlib.Path, controller: Literal["cpu", "memory"]) -> Iterator[pathlib.Path]:
  """The folders of the process's groups, and of each group that these are part of.

  Args:
    root: of the file system with `proc` and `sys`.
    controller: what they limit; version 1 has folders of its own for it.
  """
  lines = [line.split(":", 2) for line in read(root / "proc/self/cgroup").splitlines()]
  own = {path.strip("/") for _, names, path in lines if not names or controller in names.split(",")}
  # A container sees its own group at the top, whatever its path says.
  paths = {pathlib.Path(path) for path in own | {""}}
  groups = {part for path in paths for part in (path, *path.parents)}
  for top in ("sys/fs/cgroup", f"sys/fs/cgroup/{controller}"):
    for group in sorted(groups):
      yield root / top / group


def read(path: pathlib.Path) -> str:
  """The text of a file without its last line break, empty if there is none to read."""
  try:
    return path.read_text().strip()
  except OSError:
    return ""
