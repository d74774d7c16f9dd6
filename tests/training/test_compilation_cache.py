"""Kept programs: found again by a second process, and never in the way."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from tagjax.training.compilation_cache import keep_compiled
keep_compiled(*sys.argv[1:])
import jax, jax.monitoring
seen = []
jax.monitoring.register_event_listener(lambda name, **_: seen.append(name))
print(jax.jit(lambda x: x @ x + 1.0)(jax.numpy.ones((3, 3)))[0, 0])
print(sum("cache_hits" in name for name in seen), jax.config.jax_compilation_cache_dir)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
  """Runs PROGRAM in a process of its own: `(value, cache hits, folder, stderr)`."""
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)

  def start(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    value, rest = ended.stdout.splitlines()
    hits, folder = rest.split(" ", 1)
    return float(value), int(hits), folder, ended.stderr

  return start


def test_the_second_process_finds_what_the_first_kept(start, tmp_path):
  value, hits, folder, _ = start()
  assert (value, hits) == (4.0, 0)
  assert Path(folder).parent == tmp_path / "cache" / "compiled"
  value, hits, _, _ = start()
  assert value == 4.0
  assert hits > 0


def test_a_folder_can_be_named(start, tmp_path, monkeypatch):
  start(tmp_path / "mine")
  assert any((tmp_path / "mine").iterdir())
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
  start()
  assert any((tmp_path / "jax").iterdir())
  assert not (tmp_path / "cache").exists()


def test_empty_keeps_nothing(start, tmp_path):
  start("")
  value, hits, _, _ = start("")
  assert (value, hits) == (4.0, 0)
  assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_costs_one_line(start, tmp_path):
  (tmp_path / "file").write_text("")
  value, hits, _, errors = start(tmp_path / "file" / "folder")
  assert (value, hits) == (4.0, 0)
  assert len(errors.splitlines()) == 1
  assert "compiled programs are not kept" in errors


def test_damaged_programs_are_compiled_again(start, tmp_path):
  start(tmp_path)
  for path in tmp_path.glob("*-cache"):
    path.write_bytes(b"damaged")
  value, _, _, errors = start(tmp_path)
  assert value == 4.0
  assert "Traceback" not in errors
