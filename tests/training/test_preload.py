"""Imports made in a thread while the device computes."""

import sys
import threading

from tagjax.training import preload


def test_the_modules_are_there_when_the_thread_has_ended(tmp_path, monkeypatch):
  for name in ("first_of_two", "second_of_two"):
    (tmp_path / f"{name}.py").write_text("")
  monkeypatch.syspath_prepend(tmp_path)
  preload.preload(("first_of_two", "second_of_two"))
  for thread in threading.enumerate():
    if thread.name == "preload":
      assert thread.daemon  # it keeps no process from ending
      thread.join()
  assert {"first_of_two", "second_of_two"} <= set(sys.modules)


def test_the_names_are_those_of_modules():
  preload._load(preload.CHECKPOINTS)
