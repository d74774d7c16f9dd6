"""The errors that a user can mend: one line that says what, where, and the way out."""

import difflib
from collections.abc import Iterable
from typing import Any


class TagjaxError(Exception):
  """Base of the errors that `launch.py` prints as one line instead of a traceback."""


class ConfigError(TagjaxError, ValueError):
  """A key of the config has a value that cannot work."""


class WorkdirError(TagjaxError):
  """The working directory cannot be used for this run."""


class DivergedError(TagjaxError, ArithmeticError):
  """The loss stopped being a finite number."""


class InterruptedRun(TagjaxError):  # noqa: N818  (what happened, not a fault)
  """The run was asked to stop and has saved where it was."""


def nearest(name: Any, options: Iterable[str]) -> str:
  """What to add to a message about an unknown name; empty if no option is near.

  >>> nearest("tga", ["sgd", "tag"])
  ' (did you mean tag?)'
  """
  close = difflib.get_close_matches(str(name), list(options), n=3)
  return f" (did you mean {' or '.join(close)}?)" if close else ""
