"""A folder belongs to one config and one process; its log can be cut back."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from tagjax.core.errors import WorkdirError
from tagjax.storage import json_files
from tagjax.storage.workdir import Workdir, digest_of


def test_another_config_is_refused_with_the_keys_that_differ(tmp_path):
  folder = Workdir(tmp_path / "run")
  folder.claim({"a": 1, "tag": {"b": 5.0}, "seeds": 1})
  folder.check({"a": 1, "tag": {"b": 5.0}, "seeds": 1})
  with pytest.raises(WorkdirError) as error:
    folder.check({"a": 1, "tag": {"b": 7.0}, "seeds": 2})
  text = str(error.value)
  assert "config.seeds is 1 there and 2 here; config.tag.b is 5.0 there and 7.0 here" in text
  assert "config.a" not in text


def test_unwritable_folder_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(WorkdirError, match="cannot write to workdir"):
    Workdir(tmp_path / "file" / "run")


def test_a_second_process_is_kept_out(tmp_path):
  program = (
    "import sys; from tagjax.storage.workdir import Workdir\n"
    "from tagjax.core.errors import WorkdirError\n"
    "try:\n  with Workdir(sys.argv[1]).lock(): print('in')\n"
    "except WorkdirError: print('kept out')"
  )
  command = [sys.executable, "-c", program, str(tmp_path)]
  with Workdir(tmp_path).lock():
    assert subprocess.check_output(command, text=True) == "kept out\n"
  assert subprocess.check_output(command, text=True) == "in\n"


def test_log_is_cut_to_the_checkpoint(tmp_path):
  folder = Workdir(tmp_path)
  log = folder.open_log(0)
  log.write(step=1)
  length = log.sync()
  log.write(step=2)
  log.close()
  log = folder.open_log(length)
  log.write(step=3)
  log.close()
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [1, 3]


@pytest.mark.parametrize(
  ("there", "told"),
  [(None, "holds 0 of its 15"), ("{}\n", "3 of its 15"), ("x" * 15, "other lines")],
)
def test_a_log_that_lost_lines_is_written_anew_of_what_is_known(tmp_path, capsys, there, told):
  folder, path = Workdir(tmp_path / "run"), tmp_path / "run" / "metrics.jsonl"
  first = folder.open_log(0)
  first.write(step=1000)
  length, sha256 = first.sync(), first.sha256()
  first.close()
  path.unlink() if there is None else path.write_text(there)
  log = folder.open_log(length, sha256, [{"task": 0}])
  log.write(step=2)
  assert (log.sync(), log.sha256()) == (digest_of(path)[1], digest_of(path)[0])
  log.close()
  assert path.read_text() == '{"task": 0}\n{"step": 2}\n'
  assert told in capsys.readouterr().err
  damaged = tmp_path / "run" / "metrics.damaged.jsonl"
  assert (damaged.read_text() if damaged.exists() else None) == there
  # A whole one is cut, and no warning is given.
  cut = folder.open_log(12, digest_of(path, 12)[0], [{"task": 7}])
  cut.close()
  assert path.read_text() == '{"task": 0}\n'
  assert capsys.readouterr().err == ""


def test_a_lock_that_is_deleted_or_replaced_is_noticed(tmp_path):
  folder = Workdir(tmp_path / "run")
  folder.check_lock()
  with folder.lock():
    folder.check_lock()
    (tmp_path / "run" / ".lock").unlink()
    with pytest.raises(WorkdirError, match="was deleted or replaced"):
      folder.check_lock()
    Workdir(tmp_path / "run")
    with pytest.raises(WorkdirError, match="was deleted or replaced"):
      folder.check_lock()
  folder.check_lock()


@pytest.mark.parametrize(
  "name", [".lock", "metrics.jsonl", "results.json", "checkpoints", "groups", "loss.png"]
)
def test_links_among_the_files_of_a_run_are_refused(tmp_path, name):
  target = tmp_path / "precious"
  target.write_text("keep me")
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / name).symlink_to(target)
  with pytest.raises(
    WorkdirError, match=rf"{name} in workdir .* is a link to .*precious"
  ) as caught:
    Workdir(tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert target.read_text() == "keep me"


def test_links_of_the_user_are_left_alone(tmp_path):
  (tmp_path / "real").mkdir()
  (tmp_path / "run").symlink_to(tmp_path / "real")
  (tmp_path / "real" / "notes").symlink_to(tmp_path)
  with Workdir(tmp_path / "run").lock():
    pass


def test_a_link_that_comes_later_is_not_followed(tmp_path):
  folder, target = Workdir(tmp_path / "run"), tmp_path / "precious"
  target.write_text("keep me")
  for name, use in (
    (".lock", folder.lock().__enter__),
    ("metrics.jsonl", lambda: folder.open_log(0)),
  ):
    (folder.path / name).unlink(missing_ok=True)
    (folder.path / name).symlink_to(target)
    with pytest.raises(WorkdirError, match="is no regular file"):
      use()
  assert target.read_text() == "keep me"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_pipes_and_folders_are_no_files_of_a_run(tmp_path, make, name):
  make(tmp_path / name)
  with pytest.raises(WorkdirError, match="is no regular file"):
    Workdir(tmp_path).open_log(0)


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
  mine = tmp_path / ".notes.tmp"
  mine.touch()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    patch.setattr(os, "unlink", lambda path: None)  # killed before it could
    with pytest.raises(KeyboardInterrupt):
      json_files.write_json_atomic(tmp_path / "results.json", {})
  assert len(list(tmp_path.iterdir())) == 2
  with Workdir(tmp_path).lock():
    assert {path.name for path in tmp_path.iterdir()} == {".lock", mine.name}


def test_logs_are_joined_in_order(tmp_path):
  parts = [Workdir(tmp_path / name) for name in ("b", "a")]
  for folder in parts:
    log = folder.open_log(0)
    log.write(name=folder.path.name)
    log.close()
  whole = Workdir(tmp_path / "whole")
  for _ in range(2):  # anew, not longer
    whole.join_logs(parts)
  lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["name"] for line in lines] == ["b", "a"]


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
  def flock(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)
  with pytest.raises(WorkdirError, match=r"cannot lock .* \(No locks available\): choose"):
    Workdir(tmp_path).lock().__enter__()
