"""Paths as a user types them."""

import os
import pathlib

from tagjax.core.errors import TagjaxError


class PathError(TagjaxError, ValueError):
  """A path cannot be meant."""


def absolute(path: str | os.PathLike[str]) -> pathlib.Path:
  """The absolute path, with `~` for the home folder.

  Raises:
    PathError: if it begins with the name of a user who does not exist, or has a NUL in it.

  >>> absolute("/data/../runs").as_posix()
  '/data/../runs'
  """
  try:
    found = pathlib.Path(path).expanduser().absolute()
  except RuntimeError:
    raise PathError(f"the path {os.fspath(path)!r} begins with a user who does not exist") from None
  if "\0" in str(found):
    raise PathError(f"the path {os.fspath(path)!r} has a NUL in it")
  return found
