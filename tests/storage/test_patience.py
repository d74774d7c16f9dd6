"""A disk that does not answer is told once, and one that answers in time is not."""

import io
import threading

from tagjax.storage.patience import tell_if_slow


def running():
  return [one for one in threading.enumerate() if isinstance(one, threading.Timer)]


def test_who_waits_is_told_once_what_for(capfd):
  before = running()
  with tell_if_slow("/slow/disk", seconds=0.0):
    for timer in set(running()) - set(before):
      timer.join()
  assert capfd.readouterr().err == (
    "warning: /slow/disk has not answered for 0 s: waiting for the disk. Ctrl-C twice ends the "
    "run, and the last finished checkpoint stays\n"
  )


def test_an_answer_in_time_is_silent_and_leaves_nothing_behind(capfd):
  before = running()
  with tell_if_slow("/fast/disk", seconds=600.0):
    (timer,) = set(running()) - set(before)
  timer.join(5.0)
  assert not timer.is_alive()
  assert capfd.readouterr().err == ""


def test_where_nobody_reads_the_line_is_dropped(monkeypatch):
  """An error in the thread would be a warning, and so fail the test."""
  closed = io.StringIO()
  closed.close()
  monkeypatch.setattr("sys.stderr", closed)
  with tell_if_slow("/slow/disk", seconds=0.0):
    for timer in running():
      timer.join()
