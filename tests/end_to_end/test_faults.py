"""A sample of `python tests/drill/faults.py`: some calls fail, and some moments lose the power."""

import json
import os
import pathlib
import subprocess
import sys

import faults
import pytest


@pytest.mark.timeout(600)
def test_a_disk_that_fails_costs_one_line_and_no_bits(tmp_path):
  if faults.build(tmp_path) is None:
    pytest.skip("needs gcc and Linux")
  script, out = pathlib.Path(faults.__file__), tmp_path / "out.json"
  env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
  ended = subprocess.run(
    [sys.executable, "-W", "ignore", script, "--only=run", "--every=200", f"--out={out}"],
    capture_output=True,
    text=True,
    env=env,
    check=False,
  )
  assert ended.returncode == 0, ended.stdout + ended.stderr
  found = json.loads(out.read_text())["run"]
  rows = found["rows"].values()
  assert len(rows) == 2 * len(faults.KINDS) + 4
  assert all(row["trials"] == -(-row["there"] // row["every"]) > 0 for row in rows)
  assert not any(row["wrong"] for row in rows)
  assert "\n".join(faults.table("run", found["rows"])) in ended.stdout


def test_what_a_disk_keeps():
  disk = faults.Disk("/run")
  for what, one, two, at, data in (
    ("M", "/run/a", "", 0, b""),
    ("C", "/run/a/x", "", 0, b""),
    ("W", "/run/a/x", "", 0, b"1234"),
    ("S", "/run/a/x", "", 0, b""),
    ("W", "/run/a/x", "", 2, b"ab"),
    ("C", "/run/y", "", 0, b""),
    ("W", "/run/y", "", 0, b"5678"),
    ("R", "/run/a", "/run/b", 0, b""),
  ):
    disk.apply(what, one, two, at, data)
  assert dict(disk.states()) == {
    "killed": {"b": None, "b/x": b"12ab", "y": b"5678"},
    "contents lost": {"b": None, "b/x": b"1234", "y": b""},
    "half written": {"b": None, "b/x": b"1234", "y": b"56"},
    "names lost": {"a": None, "a/x": b"1234"},
  }
