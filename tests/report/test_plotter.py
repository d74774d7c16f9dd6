"""Plots drawn by a process of its own."""

import sys

import pytest

from tagjax.report import plotter
from tagjax.report.results import summarise

RESULTS = summarise([[[0.9, None], [0.5, 0.8]]]) | {
  "config": {"method": "sgd", "benchmark": "mine"}
}


@pytest.fixture
def unloaded(monkeypatch):
  """As if nobody had loaded Matplotlib."""
  monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)


def names(folder):
  return sorted(path.name for path in folder.glob("*.png"))


def test_a_process_draws_what_this_one_draws(unloaded, tmp_path):
  for name in ("here", "there"):
    (tmp_path / name).mkdir()
  with plotter.Plotter(tmp_path / "there") as beside:
    assert beside.draw(RESULTS) is None
  assert plotter.Plotter(tmp_path / "here").draw(RESULTS) is None
  assert names(tmp_path / "here") == [
    "accuracy_matrix.png",
    "accuracy_over_time.png",
    "forgetting.png",
  ]
  for name in names(tmp_path / "here"):
    assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_without_results_nothing_is_drawn_and_the_process_ends(unloaded, tmp_path):
  with plotter.Plotter(tmp_path) as beside:
    process = beside._process
  assert process.returncode is not None
  assert names(tmp_path) == []


@pytest.mark.parametrize("enters", [True, False])
def test_why_nothing_could_be_drawn_is_one_line(enters, unloaded, tmp_path):
  beside = plotter.Plotter(tmp_path / "missing")
  if enters:
    with beside:
      reason = beside.draw(RESULTS)
  else:
    reason = beside.draw(RESULTS)
  assert reason.startswith("FileNotFoundError: ")
  assert "\n" not in reason
