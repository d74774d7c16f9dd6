"""Signals end a process with one line, or ask the run that goes on to save."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from tagjax.core.interrupts import INTERRUPTED, stop_on_signals

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(program, **options):
  begin = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup
    "from tagjax.core import interrupts\n"
  )
  # From Python 3.12 on a fork beside a thread is warned of.
  ignoring = ["-W", "ignore::DeprecationWarning"]
  return subprocess.Popen(
    [sys.executable, *ignoring, "-c", begin + textwrap.dedent(program)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    **options,
  )


def ended(process, *numbers):
  """Sends a signal for each line that the process prints; its status, output and errors."""
  printed = []
  for number in numbers:
    printed.append(process.stdout.readline().strip())
    process.send_signal(number)
  out, err = process.communicate(timeout=60)
  return process.returncode, printed + out.split(), err


@pytest.mark.parametrize("number", SIGNALS)
def test_before_there_is_a_run_one_line_and_the_end(number):
  # Whatever catches exceptions here would swallow a KeyboardInterrupt.
  program = """
    interrupts.watch()
    print("ready", flush=True)
    while True:
      try:
        time.sleep(60)
      except BaseException:
        pass
  """
  code, out, err = ended(start(program), number)
  assert (code, out) == (INTERRUPTED, ["ready"])
  assert err.startswith(f"{number.name}: stopped; the same command goes on")
  assert err.count("\n") == 1


WAITING = """
  interrupts.watch()
  with interrupts.stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop.requested:
      time.sleep(0.01)
    print("saving", flush=True)
    time.sleep({seconds})
  print("saved", flush=True)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_is_asked_to_stop(number):
  code, out, err = ended(start(WAITING.format(seconds=0)), number)
  assert (code, out) == (0, ["ready", "saving", "saved"])
  assert err == f"{number.name}: saving, then stopping (once more: stop at once)\n"


def test_asked_twice_it_ends_at_once():
  code, out, err = ended(start(WAITING.format(seconds=60)), signal.SIGINT, signal.SIGINT)
  assert (code, out) == (INTERRUPTED, ["ready", "saving"])
  assert err.count("\n") == 2
  assert "Traceback" not in err


def test_nohup_is_respected_and_forked_processes_are_as_any():
  program = """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts.watch()
    child = os.fork()
    if not child:
      print("ready", flush=True)
      time.sleep(60)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
  """
  code, out, err = ended(start(program))
  assert (code, out, err) == (0, ["ready", "-15"], "")


def test_in_a_notebook_the_second_one_is_an_interrupt(capsys):
  before = [signal.getsignal(number) for number in SIGNALS]
  with stop_on_signals() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)
  assert before == [signal.getsignal(number) for number in SIGNALS]
  assert capsys.readouterr().err.startswith("SIGTERM: saving, then stopping")
