"""How the process of the command ends."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
from tagjax import cli

class Large:
  def __del__(self):
    print("taken apart")

large = Large()
with cli.leaving_at_once():
  atexit.register(print, "last words")
  print("begun")
  {ends}
"""


@pytest.mark.parametrize(
  ("ends", "code", "told"),
  [
    ("sys.exit()", 0, ""),
    ("sys.exit(0)", 0, ""),
    ("sys.exit(130)", 130, ""),
    ("sys.exit('error: mine')", 1, "error: mine\n"),
  ],
)
def test_it_ends_at_once_and_loses_nothing(ends, code, told):
  ended = run(ends)
  assert (ended.returncode, ended.stdout, ended.stderr) == (code, "begun\nlast words\n", told)


def test_what_nobody_expects_ends_as_ever():
  ended = run("raise RuntimeError('mine')")
  assert ended.returncode == 1
  assert ended.stdout == "begun\nlast words\ntaken apart\n"
  assert ended.stderr.endswith("RuntimeError: mine\n")


def run(ends):
  command = [sys.executable, "-c", PROGRAM.replace("{ends}", ends)]
  return subprocess.run(command, capture_output=True, text=True, check=False)
