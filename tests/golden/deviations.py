"""How far the library is from a trace, and the command line of a check that tells it."""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Deviations:
  """The largest deviations so far by what they are of, relative to the largest number of it."""

  def __init__(self, tolerance: float) -> None:
    self.tolerance = tolerance
    self.largest: dict[str, float] = {}

  def add(self, what: str, found: Any, expected: Any) -> None:
    """Compares two arrays; NaN must stand where it is expected, and other shapes are far apart."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    self.largest[what] = max(self.largest.get(what, 0.0), _relative(found, expected))

  def worst(self) -> float:
    """The largest of all."""
    return max(self.largest.values(), default=0.0)

  def is_small(self) -> bool:
    """Whether none is above the tolerance."""
    return self.worst() <= self.tolerance

  def line(self, name: str) -> str:
    """What is told of a part of a trace."""
    parts = [f"{what} {error:.1e}" for what, error in self.largest.items()]
    said = "ok" if self.is_small() else "FAILED"
    return "  ".join([f"{name:16} {self.worst():.1e} {said:6}", *parts])


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
  if found.shape != expected.shape or (np.isnan(found) != np.isnan(expected)).any():
    return float("inf")
  far = np.nanmax(np.abs(found - expected), initial=0.0)
  return float(far / max(np.nanmax(np.abs(expected), initial=0.0), 1e-30))


def command(description: str, check: Callable[[str, float], bool]) -> int:
  """Reads `FILE [--x64] [--tolerance]` and checks the file; the exit status."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("file", help="the trace")
  parser.add_argument("--x64", action="store_true", help="compute in float64")
  parser.add_argument("--tolerance", type=float, help="relative; 1e-5, 1e-9 with --x64")
  options = parser.parse_args()
  options.x64 |= jax.config.jax_enable_x64
  jax.config.update("jax_enable_x64", options.x64)
  return 0 if check(options.file, options.tolerance or (1e-9 if options.x64 else 1e-5)) else 1
