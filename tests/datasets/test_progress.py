import io
import re

import pytest
from rich.console import Console

from tagjax.datasets import progress


@pytest.fixture
def screen():
  return io.StringIO()


@pytest.fixture
def bar(screen):
  console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
  return progress.Bar(console)


def _shown(screen) -> str:
  return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_examples_are_handed_through_and_counted(bar, screen):
  with bar:
    examples = bar.examples("reading train", range(5), 5, then="writing train")
    assert next(examples) == 0
    bar._progress.refresh()
    assert "reading train" in _shown(screen)
    assert "0/5" in _shown(screen)
    assert next(examples) == 1
    bar._progress.refresh()
    assert "1/5" in _shown(screen)
    assert "writing train" not in _shown(screen)
    assert list(examples) == [2, 3, 4]
    bar._progress.refresh()
    assert "writing train" in _shown(screen)
    assert "?" not in _shown(screen)


def test_a_download_is_seen_by_what_lies_in_its_folder(bar, screen, tmp_path, monkeypatch):
  monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
  (tmp_path / "before").write_bytes(bytes(500))
  with bar, bar.downloading("mnist", tmp_path, 3072):
    (tmp_path / "part").write_bytes(bytes(1536))
    for _ in range(1000):
      bar._progress.refresh()
      if "1.5/3.0 KiB" in _shown(screen):
        break
  assert "downloading mnist" in _shown(screen)
  assert "1.5/3.0 KiB" in _shown(screen)


def test_a_check_is_shown_in_bytes(bar, screen, tmp_path):
  (tmp_path / "file").write_bytes(bytes(4096))
  with bar:
    bar.reading(tmp_path / "file")(1024)
    bar._progress.refresh()
  assert "checking file" in _shown(screen)
  assert "1.0/4.0 KiB" in _shown(screen)


def test_nothing_is_shown_where_there_is_no_terminal(screen, tmp_path):
  with progress.Bar(Console(file=screen)) as bar:
    assert list(bar.examples("reading", range(3), 3)) == [0, 1, 2]
    bar.reading(tmp_path)(1)
    with bar.downloading("mnist", tmp_path, 10):
      pass
  assert screen.getvalue() == ""
