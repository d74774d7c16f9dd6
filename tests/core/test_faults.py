"""Whatever ends a process is one line that names the way out."""

import errno
import os
import pathlib
import re

import jax
import numpy as np
import pytest

from tagjax.core.errors import ConfigError
from tagjax.core.faults import line_of

XLA = jax.errors.JaxRuntimeError


@pytest.mark.parametrize(
  ("error", "parts"),
  [
    (ConfigError("epochs=0: choose"), ["epochs=0: choose"]),
    (OSError(errno.ENOSPC, "No space", "a/log"), ["no room", "a/log", "make room", "goes on"]),
    (OSError(errno.EDQUOT, "Quota"), ["no room", "a file in {folder}", "make room"]),
    (OSError(errno.EIO, "Input/output error", "x"), ["x (Input/output error)", "mend that"]),
    (PermissionError(errno.EACCES, "Permission denied", "x"), ["x (Permission denied)"]),
    (MemoryError(), ["not enough memory:", "config.batch_size", "config.seeds_together=1"]),
    (
      XLA("RESOURCE_EXHAUSTED: Out of memory allocating 197800000142928 bytes."),
      ["(197800000142928 bytes were", "config.compute_dtype=bfloat16", "config.memory.capacity"],
    ),
    (XLA("RESOURCE_EXHAUSTED: allocator ran out (1.5GiB)"), ["(1.5GiB were"]),
  ],
)
def test_faults_of_user_and_system_need_no_traceback(tmp_path, error, parts):
  line = line_of(error, tmp_path)
  for part in parts:
    assert part.format(folder=tmp_path) in line
  assert "\n" not in line
  assert list(tmp_path.iterdir()) == []


def test_a_real_lack_of_memory_is_known():
  with pytest.raises(MemoryError) as caught:
    np.zeros(2**60, np.uint8)
  assert "not enough memory" in line_of(caught.value)


def fails():
  raise KeyError("mine\n\x1b[2J")


def test_what_is_left_names_the_place_and_a_file_with_the_traceback(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
  (tmp_path / "tmp").mkdir()
  (tmp_path / "precious").write_text("keep me")
  for name, folder in (
    ("run", tmp_path / "run"),
    ("tmp", tmp_path / "missing"),
    ("tmp", None),
    ("tmp", tmp_path / "linked"),
  ):
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "linked").mkdir(exist_ok=True)
    link = tmp_path / "linked" / "traceback.txt"
    if not link.is_symlink():
      link.symlink_to(tmp_path / "precious")
    with pytest.raises(KeyError) as caught:
      fails()
    line = line_of(caught.value, folder)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "KeyError" in line
    assert "test_faults.py, line" in line
    path = re.search(r"its traceback is in (\S+)$", line)[1]
    assert os.path.dirname(path) == str(tmp_path / name)
    text = pathlib.Path(path).read_text()
    assert text.startswith("Traceback")
    assert "fails()" in text
  assert (tmp_path / "precious").read_text() == "keep me"


def test_without_any_room_it_is_still_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
  assert "no disk has room" in line_of(ValueError("mine"), tmp_path / "missing")
