"""The C library keeps what was freed, until it is told to give it back."""

import ctypes

import numpy as np
import psutil
import pytest

from tagjax.storage.workdir import NoWorkdir
from tagjax.training import freed_memory
from tagjax.training.ending import Ending

MIB = 2**20


def resident() -> int:
  return psutil.Process().memory_info().rss


@pytest.fixture
def freed():
  """Resident bytes once 64 MiB were freed below a block that is still in use."""
  blocks = [np.ones(2**13) for _ in range(1024)]  # of 64 KiB: not mapped one by one
  last = np.ones(2**13)
  del blocks
  yield resident()
  del last


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_was_freed_goes_back_when_a_run_ends(freed):
  with Ending(NoWorkdir(), plots=False):
    pass
  assert resident() < freed - 32 * MIB


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_libraries_are_left_alone(error, monkeypatch):
  def none(name):
    raise error

  monkeypatch.setattr(ctypes, "CDLL", none)
  freed_memory.give_back()
