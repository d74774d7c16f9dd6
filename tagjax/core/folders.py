"""The project's own folder."""

import os
import pathlib

from tagjax.core.paths import absolute


def cache_dir() -> pathlib.Path:
  """The project's own folder: `$TAGJAX_CACHE_DIR`, `$XDG_CACHE_HOME/tagjax`, `~/.cache/tagjax`."""
  own = os.environ.get("TAGJAX_CACHE_DIR")
  if own:
    return absolute(own)
  return absolute(pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tagjax")
