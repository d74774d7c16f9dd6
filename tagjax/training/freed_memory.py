"""What a run has freed goes back to the system."""

import ctypes


def give_back() -> None:
  """Gives back to the system what the process has freed.

  glibc keeps it in the arenas of its threads for later: 157 of 485 MiB after each run of some small
  tasks (`bench/freed_memory.py`), and some more after each further run in the same process. Other C
  libraries are left alone.
  """
  try:
    trim = ctypes.CDLL(None).malloc_trim
  except (AttributeError, OSError, TypeError):
    return
  trim(0)
