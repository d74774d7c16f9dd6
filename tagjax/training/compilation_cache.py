"""Compiled programs kept on disk, so that the second start of an experiment need not compile."""

import platform
import sys

import jax

from tagjax.core import paths
from tagjax.core.folders import cache_dir
from tagjax.datasets.folders import is_writable

# Programs not used for longest are deleted beyond this; one takes a megabyte or so.
_MAX_BYTES = 2 * 2**30


def keep_compiled(folder: str | None = None) -> None:
  """Makes this process keep what it compiles in `folder`, and take from there what it can.

  For a process of its own (`launch.py`): it changes JAX's configuration. A program is found again
  if the code, the shapes, the versions and the flags of XLA are the same. A folder that cannot be
  written costs a line on stderr and the cache, nothing else. Whoever can write to the folder can
  make this process run code of theirs.

  Args:
    folder: None: `$JAX_COMPILATION_CACHE_DIR`, else `compiled/HOST` in `tagjax`'s cache folder; a
      program for the CPU of one host may not run on that of another. `""`: keep nothing.

  Raises:
    PathError: if it begins with a user who does not exist.
  """
  if folder == "":
    jax.config.update("jax_enable_compilation_cache", False)
    return
  default = cache_dir() / "compiled" / (platform.node() or "host")
  path = paths.absolute(folder or getattr(jax.config, "jax_compilation_cache_dir", None) or default)
  if not is_writable(path):
    print(f"cannot write {path}: compiled programs are not kept", file=sys.stderr)
    jax.config.update("jax_enable_compilation_cache", False)
    return
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_compilation_cache_max_size", _MAX_BYTES)
  # The many small programs of a run take seconds together.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
