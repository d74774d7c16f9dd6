"""The errors that a user can mend: one line that says what, where, and the way out."""

import difflib
import os
import traceback
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


class IncompleteRun(TagjaxError):  # noqa: N818  (what happened, not a fault)
  """The trials of this process have ended; those of other processes have not."""


def reason(error: BaseException) -> str:
  """The error with its kind and the place in the user's code where it was raised, in one line.

  >>> reason(ValueError("too large"))
  'ValueError: too large'
  """
  frames = traceback.extract_tb(error.__traceback__)
  own = [frame for frame in frames if not any(part in frame.filename for part in _NOT_THEIRS)]
  place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
  return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


_NOT_THEIRS = ("site-packages", "importlib", os.path.dirname(os.path.dirname(__file__)))


def nearest(name: Any, options: Iterable[str]) -> str:
  """What to add to a message about an unknown name; empty if no option is near.

  >>> nearest("tga", ["sgd", "tag"])
  ' (did you mean tag?)'
  """
  close = difflib.get_close_matches(str(name), list(options), n=3)
  return f" (did you mean {' or '.join(close)}?)" if close else ""
