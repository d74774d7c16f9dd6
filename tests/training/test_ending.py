"""What a run leaves when it ends."""

import json

import pytest

from tagjax.report import plotter
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training.ending import Ending


@pytest.fixture
def drawn(monkeypatch):
  """What was drawn, and whether results.json was there."""
  drawn = []

  def draw(results, directory):
    drawn.append((results, Workdir(directory).has_results()))
    return "ValueError: odd results" if "odd" in results else None

  monkeypatch.setattr(plotter, "_draw", draw)
  return drawn


def test_results_are_written_last(drawn, tmp_path):
  Ending(Workdir(tmp_path), plots=True).write({"accuracy": 1})
  assert drawn == [({"accuracy": 1}, False)]
  assert json.loads((tmp_path / "results.json").read_text()) == {"accuracy": 1}


def test_plots_that_cannot_be_drawn_are_a_line(drawn, tmp_path, capsys):
  Ending(Workdir(tmp_path), plots=True).write({"odd": 1})
  assert capsys.readouterr().err == (
    f"note: the plots cannot be drawn: ValueError: odd results. All else is in {tmp_path}\n"
  )
  assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize("folder", [True, False])
def test_no_plots(folder, drawn, tmp_path):
  Ending(Workdir(tmp_path) if folder else NoWorkdir(), plots=not folder).write({})
  assert drawn == []
  assert (tmp_path / "results.json").exists() == folder
