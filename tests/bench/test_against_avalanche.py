import json

import pytest

from bench import against_avalanche as bench


def ours(whole: float, accuracies: list[float]) -> dict:
  start = {"compile": 2.0, "train": 4.0, "evaluate": 0.1, "accuracy": accuracies}
  return {"first": start | {"whole": whole}, "second": start | {"whole": whole / 2}}


def theirs(*accuracies: float) -> list[dict]:
  """Each run in a round of its own."""
  run = {"train": 8.0, "whole": 12.0}
  return [{"wall": 12.0, "runs": [run | {"accuracy": value}]} for value in accuracies]


def test_rows_compare_both_sides():
  found = {
    "tagjax": {"er": {"1": ours(6.0, [90.0]), "20": ours(10.0, [90.0, 92.0])}},
    "avalanche": {"er": theirs(91.0)},
  }
  one, many = bench.rows(found)
  assert one[:8] == ["er", "1", "8.0", "12.0", "2.0", "4.0", "6.0", "3.0"]
  assert one[8:] == ["2.0", "2.0 to 4.0", "91.0", "90.0"]
  # 20 runs of which one was measured.
  assert many[2:4] == ["≈ 160.0", "≈ 240.0"]
  assert many[8:] == ["40.0", "24.0 to 48.0", "91.0", "91.0 ± 1.4"]
  text = bench.render(found)
  assert "Goal: 20 seeds of ER 15 times faster, whole process: 24.0 to 48.0, reached." in text
  assert "1 seed of ER 3 times faster, whole process: 2.0 to 4.0, reached from the second" in text


def test_rounds_of_several_processes_count_by_their_wall():
  run = {"train": 8.0, "whole": 12.0, "accuracy": 90.0}
  rounds = [{"wall": 15.0, "runs": [run, run]}] * 2
  assert bench.their_figures(rounds, 4)["whole"] == 30.0
  assert bench.their_figures(rounds, 4)["measured"]
  assert bench.their_figures(rounds, 20)["whole"] == pytest.approx(150.0)


def test_without_avalanche_its_half_is_missing(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(bench, "versions_of", lambda python: None)
  out = tmp_path / "table.json"
  out.write_text(json.dumps({"tagjax": {"sgd": {"1": ours(6.0, [90.0])}}}))
  bench.main([f"--out={out}", "--methods=sgd", "--seeds=1"])  # the one cell is there
  printed = capsys.readouterr()
  assert "pip install avalanche-lib==0.6.0" in printed.err
  assert "Avalanche: **not measured**." in out.with_suffix(".md").read_text()
  assert printed.out.count("| not measured |") > 0


def test_settings_are_those_of_our_config():
  settings = bench.settings_of("ewc")
  assert (settings["learning_rate"], settings["batch_size"]) == (0.05, 10)
  assert settings["hidden"] == [100, 100]
  assert settings["ewc"] == 10 * bench.OVERRIDES["ewc"]["ewc.strength"]
  assert bench.settings_of("er")["exemplars"] == 100
