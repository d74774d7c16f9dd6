"""How far the library is from a trace, and the command line of a check that tells it."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Deviations:
  """The largest deviations so far by what they are of.

  Attributes:
    tolerance: what is still small.
    smallest: each number counts by its own size and this together; None: all of an array count by
      the largest number of it.
    largest: the deviations.
    decisions: how many have been compared.
    differing: the decisions that are others than in the trace, a text each.
  """

  def __init__(self, tolerance: float, smallest: float | None = None) -> None:
    self.tolerance = tolerance
    self.smallest = smallest
    self.largest: dict[str, float] = {}
    self.decisions = 0
    self.differing: list[str] = []

  def add(self, what: str, found: Any, expected: Any) -> None:
    """Compares two arrays; NaN must stand where it is expected, and other shapes are far apart."""
    self.largest[what] = max(self.largest.get(what, 0.0), self._relative(found, expected))

  def add_steps(self, what: str, found: list, expected: Any) -> None:
    """Compares values after each step; a trace may have some steps only, each has its nearest."""
    if len(found) == len(expected):
      self.add(what, np.stack(found), expected)
      return
    for row in expected:
      self.add(what, min(found, key=functools.partial(self._relative, expected=row)), row)

  def same(self, what: str, found: Any, expected: Any) -> None:
    """Compares a decision."""
    found, expected = np.asarray(found), np.asarray(expected)
    self.decisions += 1
    if found.tolist() != expected.tolist():
      self.differing.append(f"{what}: {found} here, {expected} in the trace")

  def worst(self) -> float:
    """The largest of all."""
    return max(self.largest.values(), default=0.0)

  def is_small(self) -> bool:
    """Whether none is above the tolerance, and nothing differs."""
    return self.worst() <= self.tolerance and not self.differing

  def line(self, name: str) -> str:
    """What is told of a part of a trace."""
    parts = [f"{what} {error:.1e}" for what, error in self.largest.items()]
    said = "ok" if self.is_small() else "FAILED"
    if self.decisions and not self.differing:
      parts.append(f"all {self.decisions} decisions as in the trace")
    return "  ".join([f"{name:16} {self.worst():.1e} {said:6}", *parts, *self.differing])

  def _relative(self, found: np.ndarray, expected: np.ndarray) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape or (np.isnan(found) != np.isnan(expected)).any():
      return float("inf")
    far, size = np.abs(found - expected), np.abs(expected)
    if self.smallest is None:
      return float(np.nanmax(far, initial=0.0) / max(np.nanmax(size, initial=0.0), 1e-30))
    return float(np.nanmax(far / (size + self.smallest), initial=0.0))


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
