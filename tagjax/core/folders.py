"""The project's own folder."""

import os
import pathlib


def cache_dir() -> pathlib.Path:
  """The project's own folder: `$TAGJAX_CACHE_DIR`, `$XDG_CACHE_HOME/tagjax`, `~/.cache/tagjax`."""
  chosen = os.environ.get("TAGJAX_CACHE_DIR")
  if not chosen:
    chosen = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tagjax"
  return pathlib.Path(chosen).expanduser().absolute()
