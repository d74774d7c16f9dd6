"""The project's own folder."""

import os
import pathlib


def cache_dir() -> pathlib.Path:
  """The project's own folder: `$TAGJAX_CACHE_DIR`, `$XDG_CACHE_HOME/tagjax`, `~/.cache/tagjax`."""
  own = os.environ.get("TAGJAX_CACHE_DIR")
  common = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(own or f"{common}/tagjax").expanduser().absolute()
