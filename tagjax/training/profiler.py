"""A trace of the compiled programs at work, for TensorBoard (its profile plugin) or Perfetto."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

_CHUNKS = 3  # of steps: enough to see a pattern, little enough to open


class Trace:
  """Records the first chunks of steps after the one that compiles.

  Args:
    folder: where the trace goes; None: nothing is recorded.
  """

  def __init__(self, folder: Path | None):
    self._folder = folder
    self._chunks = 0

  @contextlib.contextmanager
  def around(self, kind: str) -> Iterator[None]:
    """Records an action of the plan, if it is its turn; all that happens between chunks too.

    Args:
      kind: of the action; those of kind `"train"` are chunks of steps.
    """
    if self._folder and kind == "train":
      if self._chunks == 1:
        jax.profiler.start_trace(self._folder, profiler_options=_options())
      self._chunks += 1
    yield
    if self._folder and self._chunks > _CHUNKS:
      self._finish()

  def close(self) -> None:
    """Ends a trace for which the run was too short; says so if there is none at all."""
    if self._folder and self._chunks == 1:
      print("--profile: the run has one chunk of steps only, which compiles", file=sys.stderr)
    elif self._folder and self._chunks > 1:
      self._finish()

  def _finish(self) -> None:
    jax.profiler.stop_trace()
    self._folder = None


def _options() -> jax.profiler.ProfileOptions:
  """Without every Python call: they would be most of the trace, and slow the run down."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  return options
