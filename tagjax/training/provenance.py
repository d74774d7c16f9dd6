"""Where a run came from: its code, its packages, its machine."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("tagjax", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
"""The packages whose versions `provenance` lists."""


def provenance() -> dict[str, Any]:
  """Which code ran on what.

  Returns:
    `commit` (None outside a git checkout of tagjax, or without git), `dirty` (whether tracked
    files differ from the commit; None without one), `source` (a digest of tagjax's own modules),
    `python`, `packages` with their versions, `machine`, `cores` that the process may use,
    `processor`, and `devices`: their `platform`, `kind` and `count`.
  """
  devices = jax.devices()
  reading = threading.Thread(target=source_digest)  # while git is waited for
  reading.start()
  commit, dirty = _git_commit(Path(__file__).parent)
  reading.join()
  return {
    "commit": commit,
    "dirty": dirty,
    "source": source_digest(),
    "python": platform.python_version(),
    "packages": {name: _version(name) for name in PACKAGES},
    "machine": f"{platform.system()} {platform.machine()}",
    "cores": _cores(),
    "processor": _processor(),
    "devices": {
      "platform": devices[0].platform,
      "kind": devices[0].device_kind,
      "count": len(devices),
    },
  }


@functools.cache
def source_digest() -> str:
  """A digest of all modules of tagjax: 12 hexadecimal digits; takes a hundredth of a second."""
  root = Path(__file__).parents[1]
  digest = hashlib.sha256()
  for path in sorted(root.rglob("*.py")):
    digest.update(f"{path.relative_to(root)}\0".encode())
    digest.update(path.read_bytes())
  return digest.hexdigest()[:12]


def _cores() -> int | None:
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _processor() -> str:
  """The model of the processor: another one may round in another way."""
  try:
    with open("/proc/cpuinfo") as file:
      start = file.read(4096)
  except OSError:
    return platform.processor()
  found = re.search(r"^model name\s*:\s*(.*)$", start, re.MULTILINE)
  return found[1] if found else platform.processor()


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit(folder: Path) -> tuple[str | None, bool | None]:
  # An installed tagjax may lie inside somebody else's checkout: its files must be tracked there.
  if _git(folder, "ls-files", "--error-unmatch", "../__init__.py") is None:
    return None, None
  commit = _git(folder, "rev-parse", "HEAD")
  changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
  return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
  try:
    done = subprocess.run(
      ["git", "-C", str(folder), *arguments],
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
