"""How much memory a device, or the machine, can still give."""

import os
import pathlib
from collections.abc import Iterator

import jax

from tagjax.training import control_group


def available_memory(device: jax.Device, root: str | os.PathLike = "/") -> int | None:
  """Bytes that can still be taken: those of the accelerator, or of the machine for a CPU.

  Args:
    device: where the run will lie.
    root: of the file system with `proc` and `sys`.

  Returns:
    On an accelerator what its allocator may still take. On a CPU what Linux calls available, or
    what the control group of the process (a container, a batch job) leaves if that is less. None
    where neither is known.
  """
  if device.platform != "cpu":
    stats = device.memory_stats() or {}
    known = "bytes_limit" in stats
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if known else None
  root = pathlib.Path(root)
  found = [*_of_machine(root), *_of_groups(root)]
  return max(min(found), 0) if found else None


def _of_machine(root: pathlib.Path) -> Iterator[int]:
  for line in control_group.read(root / "proc/meminfo").splitlines():
    if line.startswith("MemAvailable:"):
      yield int(line.split()[1]) * 1024


_GROUP_FILES = (
  # Of version 2 and version 1: limit, use, and the name of what the use could give back.
  ("memory.max", "memory.current", "inactive_file"),
  ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _of_groups(root: pathlib.Path) -> Iterator[int]:
  """What the process's control group leaves, and each group that this one is part of."""
  for folder in control_group.folders(root, "memory"):
    for limit, use, spare in _GROUP_FILES:
      texts = [control_group.read(folder / name) for name in (limit, use)]
      if all(text.isdigit() for text in texts):  # "max": there is no limit
        lines = control_group.read(folder / "memory.stat").splitlines()
        stats = dict(line.split() for line in lines)
        yield int(texts[0]) - int(texts[1]) + int(stats.get(spare, 0))
