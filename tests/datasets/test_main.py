import os
import re
import signal
import subprocess
import sys

import pytest

from tagjax import datasets
from tagjax.datasets import __main__ as command
from tagjax.datasets import catalog, overview
from tagjax.datasets.builders import digits


def test_list_is_a_table_of_all(capfd):
  assert command.main(["list"]) == 0
  lines = capfd.readouterr().out.splitlines()
  for name in datasets.names():
    (line,) = [line for line in lines if line.split()[:1] == [name]]
    assert catalog.entry(name).title in line
    assert catalog.entry(name).licence in line


def test_on_a_narrow_terminal_no_column_is_left_out(capfd, monkeypatch):
  monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "60")
  assert command.main(["list"]) == 0
  header = re.sub(r"\x1b\[[0-9;]*m", "", capfd.readouterr().out).splitlines()[1]
  assert header.split() == list(overview.row("digits"))


def test_status_takes_several_names_all_or_none(capfd):
  assert command.main(["status", "mnist", "digits"]) == 0
  some = capfd.readouterr().out
  assert re.findall(r"^(\w+):", some, re.MULTILINE) == ["mnist", "digits"]
  assert command.main(["status"]) == 0
  everything = capfd.readouterr().out
  assert re.findall(r"^(\w+):", everything, re.MULTILINE) == datasets.names()
  assert command.main(["status", "all"]) == 0
  assert capfd.readouterr().out == everything


def test_prepare_says_a_line_and_then_that_it_is_done(capfd, cache_dir):
  assert command.main(["prepare", "digits"]) == 0
  out, err = capfd.readouterr()
  assert out == ""
  folder = cache_dir / "tfds" / "digits" / "1.0.0"
  assert err.startswith(f"digits is prepared in {folder} (")
  assert "made in" in err
  assert command.main(["prepare", "digits"]) == 0
  assert "made in" not in capfd.readouterr().err


def test_prepare_takes_a_data_dir(tmp_path, offline, capfd):
  assert command.main(["prepare", "cifar10", f"--data_dir={tmp_path / 'other'}"]) == 1
  err = capfd.readouterr().err
  assert err.startswith("datasets: cifar10 is not prepared and cannot be downloaded (")
  assert str(tmp_path / "other" / "downloads" / "manual" / "cifar10") in err


def test_verify_ends_with_1_where_something_is_wrong(capfd, cache_dir):
  assert command.main(["prepare", "digits"]) == 0
  assert command.main(["verify", "digits"]) == 0
  lines = capfd.readouterr().out.splitlines()
  assert lines[0] == "digits"
  assert all(line.startswith("  ok ") for line in lines[1:])
  shard = next((cache_dir / "tfds" / "digits" / "1.0.0").glob("*test*"))
  shard.write_bytes(bytes(shard.stat().st_size))
  assert command.main(["verify", "digits", "mnist"]) == 1
  out = capfd.readouterr().out
  assert len(re.findall("^  WRONG  ", out, re.MULTILINE)) == 2
  assert "delete that folder" in out
  assert "prepare mnist" in out


@pytest.mark.parametrize("name", ["status", "prepare", "verify"])
def test_unknown_names_get_the_nearest_before_anything_is_done(name, capfd, cache_dir):
  assert command.main([name, "digits", "minst"]) == 1
  out, err = capfd.readouterr()
  assert out == ""
  assert err.startswith("datasets: unknown data set 'minst' (did you mean mnist")
  assert err.count("\n") == 1
  assert not cache_dir.exists()


@pytest.mark.parametrize("arguments", [[], ["prepare"], ["verify"], ["list", "mnist"], ["lst"]])
def test_what_cannot_be_understood_ends_with_2(arguments, capfd):
  with pytest.raises(SystemExit) as end:
    command.main(arguments)
  assert end.value.code == 2
  assert "usage: python -m tagjax.datasets" in capfd.readouterr().err


def test_help_names_the_commands_and_the_folders(capfd):
  with pytest.raises(SystemExit):
    command.main(["--help"])
  text = capfd.readouterr().out
  for part in ("list", "status", "prepare", "verify", "TFDS_DATA_DIR", "TAGJAX_CACHE_DIR"):
    assert part in text


def test_ctrl_c_is_one_line(monkeypatch, capfd):
  def interrupted(self, *args):
    signal.raise_signal(signal.SIGINT)
    yield

  with monkeypatch.context() as patch:
    patch.setattr(digits.Digits, "_generate_examples", interrupted)
    assert command.main(["prepare", "digits"]) == 130
  assert capfd.readouterr().err == "datasets: stopped; the same command starts again\n"
  assert command.main(["prepare", "digits"]) == 0


def test_as_a_command_into_a_pipe_that_closes():
  read, write = os.pipe()
  os.close(read)
  process = subprocess.Popen(
    [sys.executable, "-m", "tagjax.datasets", "status", "mnist"],
    stdout=write,
    stderr=subprocess.PIPE,
  )
  os.close(write)
  _, error = process.communicate(timeout=120)
  assert (process.returncode, error) == (0, b"")
