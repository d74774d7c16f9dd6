"""The errors that a user can mend: one line that says what, where, and the way out."""


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
