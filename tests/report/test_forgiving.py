"""Output that nobody reads, or that has no room, is lost without a word."""

import io
import os
import subprocess
import sys

import pytest

from tagjax.report.forgiving import Forgiving

PROGRAM = """
import os, sys
from tagjax.report.forgiving import Forgiving
sys.stdout, sys.stderr = Forgiving(sys.stdout), Forgiving(sys.stderr)
sys.stdin.readline()  # until the reader has gone
for _ in range(3):
  print("x" * 100_000)
  print("x" * 100_000, file=sys.stderr, flush=True)
os.write(2, b"of a library")
open(sys.argv[1], "w").write("the end")
"""


def start(tmp_path, **streams):
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
  command = [sys.executable, "-c", PROGRAM, str(tmp_path / "end")]
  return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root, **streams)


@pytest.mark.parametrize("lost", ["pipe", "full"])
def test_a_process_goes_on_to_its_end(tmp_path, lost):
  if lost == "pipe":
    process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.close()
  else:
    with open("/dev/full", "w") as full:
      process = start(tmp_path, stdout=full, stderr=full)
  process.stdin.write(b"\n")
  process.stdin.close()
  assert process.wait(60) == 0
  assert (tmp_path / "end").read_text() == "the end"


def test_what_can_be_written_is():
  inner = io.StringIO()
  stream = Forgiving(inner)
  print("text", file=stream, flush=True)
  assert inner.getvalue() == "text\n"
  assert not stream.isatty()


def test_a_stream_without_a_descriptor_drops_too():
  class Broken(io.StringIO):
    def write(self, text):
      raise BrokenPipeError

    flush = write

  print("text", file=Forgiving(Broken()))
