"""What was kept of the options answers as long as nothing has changed, and never wrongly."""

import importlib
import importlib.metadata
import os
import pickle
import subprocess
import sys

import pytest

from tagjax.config import index
from tagjax.config.defaults import known_options
from tagjax.core.register import Option

KNOWN = index.Known({"depth": Option("depth", int | None, None, "how deep")}, {"model": ("mlp",)})
OTHER = index.Known({}, {})


@pytest.fixture
def kept(tmp_path, monkeypatch):
  """`kept()` of a new process: what it gives if importing gives what it is told."""
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "cache"))
  (tmp_path / "declares_cl.py").write_text("first = 1\n")
  monkeypatch.syspath_prepend(tmp_path)
  importlib.import_module("declares_cl")

  def kept(value):
    index.kept.cache_clear()
    return index.kept(lambda: value)

  yield kept
  index.kept.cache_clear()
  del sys.modules["declares_cl"]


def the_file(tmp_path):
  (path,) = (tmp_path / "cache" / "options").iterdir()
  return path


def test_it_is_read_again_with_its_types(kept):
  assert kept(KNOWN) == KNOWN
  assert kept(OTHER) == KNOWN


@pytest.mark.parametrize(
  "change",
  [
    lambda path: path.write_text("first = 1\nsecond = 2\n"),
    lambda path: os.utime(path, ns=(1, 1)),  # of the same size
    lambda path: path.unlink(),
  ],
)
def test_a_file_that_it_was_read_from_has_changed(kept, change, tmp_path):
  kept(KNOWN)
  change(tmp_path / "declares_cl.py")
  assert kept(OTHER) == OTHER


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: data[: len(data) // 2],
    lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    lambda data: b"",
    lambda data: pickle.dumps(({}, KNOWN)),
  ],
)
def test_a_damaged_file_is_made_anew(kept, damage, tmp_path):
  kept(KNOWN)
  path = the_file(tmp_path)
  path.write_bytes(damage(path.read_bytes()))
  assert kept(OTHER) == OTHER
  assert kept(KNOWN) == OTHER


def test_a_file_that_everybody_may_write_is_not_read(kept, tmp_path):
  for path in (lambda: the_file(tmp_path), lambda: the_file(tmp_path).parent):
    kept(KNOWN)
    path().chmod(0o777)
    assert kept(OTHER) == OTHER
    path().chmod(0o755)
    the_file(tmp_path).unlink()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no such users")
def test_nor_one_that_is_another_users(kept, monkeypatch):
  kept(KNOWN)
  monkeypatch.setattr(os, "getuid", lambda: 12345)
  assert kept(OTHER) == OTHER


def test_another_path_and_other_entry_points_have_a_file_of_their_own(kept, monkeypatch, tmp_path):
  kept(KNOWN)
  with monkeypatch.context() as patch:
    patch.syspath_prepend(tmp_path / "elsewhere")
    assert kept(OTHER) == OTHER
  point = importlib.metadata.EntryPoint("lab", "lab_cl", index.GROUP)
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [point])
  assert kept(OTHER) == OTHER


def test_a_folder_that_cannot_be_written_costs_the_file_only(kept, tmp_path):
  (tmp_path / "cache").write_text("mine")
  assert kept(KNOWN) == KNOWN
  assert kept(OTHER) == OTHER


@pytest.mark.slow
def test_errors_need_no_jax_from_the_second_start_on(tmp_path):
  """And all options are those that are declared."""
  told = (
    "import pickle, sys; from tagjax.config.defaults import known_options as known; known(); "
    "open(sys.argv[1], 'wb').write(pickle.dumps((known(), 'jax' in sys.modules)))"
  )
  environment = {**os.environ, "TAGJAX_CACHE_DIR": str(tmp_path / "cache")}
  for start in ("first", "second"):
    command = [sys.executable, "-c", told, tmp_path / start]
    subprocess.run(command, env=environment, check=True)
  first, second = (pickle.loads((tmp_path / start).read_bytes()) for start in ("first", "second"))
  assert first == (known_options(), True)
  assert second == (known_options(), False)
