"""Tables of docs/class_incremental.md."""

import json

import pytest

from bench import class_incremental as bench


def test_every_result_file_is_cited():
  (page,) = bench.PAGES
  cited = page.read_text(encoding="utf-8")
  marks = " ".join(mark[0] for mark in bench.MARK.finditer(cited)).replace(":", " ").split()
  for file in bench.RESULTS.glob("*/*.json"):
    assert file.stem in marks, file


@pytest.fixture
def results(tmp_path, monkeypatch):
  """A run of ER; files of results are below `tmp_path`."""
  monkeypatch.setattr(bench, "RESULTS", tmp_path)
  return {
    "config": {"method": "er+sgd", "protocol": "sequential", "er": {"strength": 1.0}},
    "provenance": {"commit": "0123456789abc"},
  }


def write(results, run):
  (bench.RESULTS / "mine").mkdir(exist_ok=True)
  (bench.RESULTS / f"mine/{run}.json").write_text(json.dumps(results))


def test_a_row_has_mean_and_spread_over_seeds(results):
  accuracy = {"mean": 0.5, "std": 0.123, "per_seed": [0.4, 0.6]}
  write(results | {"average_accuracy": accuracy, "plain_accuracy": accuracy}, "er")
  page = "a\n\n<!-- table: runs mine er -->\n\n| old |\n|---|\n\nb\n"
  made = bench.tables_made(page)
  assert "| ER | 50.0 ± 12.3 | - | - | - | 50.0 ± 12.3 | - | 012345678 |\n\nb\n" in made
  assert "old" not in made
  assert bench.tables_made(made) == made


def test_changes_are_of_the_same_seeds(results):
  before = {"mean": 0.5, "std": 0.1, "per_seed": [0.4, 0.6]}
  after = {"mean": 0.7, "std": None, "per_seed": [0.7]}
  keys = ("average_accuracy", "plain_accuracy", "task_aware_accuracy")
  write(results | {"seeds": [1, 2]} | dict.fromkeys(keys, before), "er")
  changed = {**results["config"], "er": {"strength": 2.0}, "new": 1}
  write(results | {"seeds": [2], "config": changed} | dict.fromkeys(keys, after), "er-2")
  rows = bench.changes_table("mine", ["er-2:er"])
  assert rows[2].startswith("| ER: `er.strength=2.0` | 60.0 → 70.0 | 60.0 → 70.0 |")


def test_results_are_taken_without_the_folder_of_their_runs(results, tmp_path):
  folder = tmp_path / "somewhere"
  (folder / "er").mkdir(parents=True)
  (folder / "er/results.json").write_text(
    json.dumps(results | {"command": f"--workdir={folder}/er"})
  )
  bench.take("mine", folder)
  assert bench.read("mine", "er")["command"] == "--workdir=runs/class_incremental/mine/er"
