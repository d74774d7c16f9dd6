"""Results of strangers: another form is one line, and what a terminal would obey is left out."""

import json
import os

import pytest
from rich.console import Console

from tagjax.report import compare, tables
from tagjax.report.grid import Grid
from tagjax.report.run import Run
from tagjax.report.runs import load_runs
from tagjax.storage.json_files import ResultsError

NESTED = "[" * 100_000
HUGE = 10**400
RUN_FAULTS = [
  ("definitions", []),
  ("definitions", {"forgetting": "new"}),
  ("definitions", {"forgetting": []}),
  ("definitions", {"ddof": "1"}),
  ("definitions", {"ddof": HUGE}),
  ("definitions", {"learning_curve_area": {"beta": "x"}}),
  ("learning_curves", [[[0.5]]]),
  ("learning_curves", [[[1.5]] * 4] * 3),
  ("learning_curves", "x"),
  ("config", "text"),
  ("config", {"method": ["tag"]}),
  ("config", {"method": "t" * 2000}),
  ("config", {"benchmark": 3}),
  ("config", {"seed": "1"}),
  ("config", {"learning_rate": HUGE}),
  ("config", {"mlp": {"hidden": [HUGE]}}),
  ("seconds", "text"),
  ("seconds", {"total": "12"}),
  ("seconds", {"total": HUGE}),
  ("provenance", "text"),
  ("provenance", {"commit": 3}),
  ("provenance", {"packages": "jax"}),
  ("provenance", {"devices": ["cpu"]}),
  ("command", ["python"]),
  ("task_names", ["one"]),
  ("task_names", [1, 2, 3, 4]),
  ("task_names", {}),
  ("seeds", [1]),
  ("seeds", ["a", "b", "c"]),
  ("used", 3),
  ("task_relatedness", [[1, 2]]),
  ("task_relatedness", [[1, [2]]]),
  ("continuum", []),
  ("continuum", {"lengths": []}),
  ("continuum", {"lengths": [0], "accuracy": [], "plain_accuracy": []}),
  ("continuum", {"lengths": [1], "accuracy": [[[1]]], "plain_accuracy": [[1]]}),
  ("definitions", {"continuum": "5"}),
  ("predicted_tasks", [[1]]),
  ("predicted_tasks", [[[1] * 4] * 4] * 3),  # of test sets of unknown size
  ("test_sizes", [0, 1, 1, 1]),
  ("peak_accuracies", [[0.5]]),
  ("growth", []),
  ("growth", {"parameters": [[1] * 4] * 3}),
  ("growth", {"parameters": 1, "bytes": 1, "allocated_parameters": 1, "allocated_bytes": 1}),
  ("outcomes", []),
  ("outcomes", {"units": [[1]]}),
  ("outcomes", {"units": [[[1], [1, 2], [1], [1]]] * 3}),
  ("outcomes", {"units": [["x"] * 4] * 3}),
  ("confusion_matrix", []),
  ("confusion_matrix", [[[1, 2]]]),
  ("diverged_seeds", 3),
  ("diverged_seeds", [-1]),
  ("average_accuracy", None),
  ("average_accuracy", {"mean": 0.5}),
  ("average_accuracy", {"mean": "x", "std": 0, "ci95": 0, "per_seed": [0, 0, 0]}),
  ("forgetting", {"mean": 0, "std": 0, "ci95": 0, "per_seed": [0]}),
  ("accuracy_matrix", []),
  ("accuracy_matrix", [[[HUGE]]]),
  ("accuracy_matrix", [[[2.0]]]),
  ("accuracy_matrix", [[[0.5, 0.5]]]),
  ("accuracy_matrix", [[["x"]]]),
]
GRID_FAULTS = [
  ("points", []),
  ("points", {}),
  ("points", [3]),
  ("points", [{"values": 3, "diverged_seeds": []}]),
  ("points", [{"values": {}}]),
  ("points", [{"values": {"a": HUGE}, "diverged_seeds": []}]),
  ("points", [{"values": {key: 1}, "diverged_seeds": []} for key in "ab"]),
  ("points", [{"values": {"a": 1}, "diverged_seeds": [], "average_accuracy": {"mean": 1}}]),
  ("chosen", 3),
  ("chosen", {"other": 1}),
  ("at_edge", None),
  ("at_edge", [1]),
  ("selected_on", {}),
  ("selected_on", {"seeds": "2"}),
  ("config", []),
]


def name_of(value):
  return str(value)[:40] if isinstance(value, str) else json.dumps(value)[:40]


def refused(path, capsys):
  """Whether the comparison says in one line that it cannot be."""
  assert compare.main([str(path)]) == 1
  (line,) = capsys.readouterr().err.splitlines()
  return line.startswith("compare: ")


@pytest.fixture
def save(tmp_path):
  def save(results):
    text = results if isinstance(results, str) else json.dumps(results)
    (tmp_path / "results.json").write_text(text)
    return tmp_path

  return save


@pytest.mark.parametrize(("key", "value"), RUN_FAULTS, ids=name_of)
def test_a_run_of_another_form_is_one_line(save, make_results, capsys, key, value):
  whole, changed = make_results(), value
  if isinstance(value, dict) and key in ("definitions", "config", "seconds", "provenance"):
    changed = whole[key] | value
  assert refused(save(whole | {key: changed}), capsys)
  with pytest.raises(ResultsError):
    Run(whole | {key: changed})


@pytest.mark.parametrize(("key", "value"), GRID_FAULTS, ids=name_of)
def test_a_grid_of_another_form_is_one_line(save, sweep_results, capsys, key, value):
  folder = save(sweep_results | {key: value})
  assert refused(folder, capsys)
  with pytest.raises(ResultsError):
    Grid(sweep_results | {key: value})


def test_what_a_grid_lacks_is_named(sweep_results):
  for key in ("chosen", "at_edge", "selected_on"):
    lacking = {name: value for name, value in sweep_results.items() if name != key}
    with pytest.raises(ResultsError, match=key):
      Grid(lacking)


@pytest.mark.parametrize(
  "text", ["[]", "{}", "null", "3", '""', NESTED, "\x80", '{"points": 1}', ""]
)
def test_no_results_at_all(save, capsys, text):
  assert refused(save(text), capsys)


def test_only_regular_files_of_a_size_that_fits(tmp_path, capsys, monkeypatch):
  (tmp_path / "zero").mkdir()
  (tmp_path / "zero" / "results.json").symlink_to("/dev/zero")
  assert refused(tmp_path / "zero", capsys)
  (tmp_path / "pipe").mkdir()
  os.mkfifo(tmp_path / "pipe" / "results.json")
  assert refused(tmp_path / "pipe", capsys)
  monkeypatch.setattr("tagjax.core.untrusted._MAX_JSON", 10_000)
  (tmp_path / "many").mkdir()
  (tmp_path / "many" / "results.json").write_text("[" + "[]," * 1000 + "[]]")
  assert refused(tmp_path / "many", capsys)


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202etag[red](x)<b>`|\n# head"


def test_control_characters_reach_neither_terminal_nor_report(save, make_results, tmp_path, capsys):
  results = make_results(method=HOSTILE, benchmark=HOSTILE)
  results |= {"command": HOSTILE, "task_names": [HOSTILE] * 4, "provenance": {"commit": HOSTILE}}
  folder = save(results)
  assert compare.main([str(folder), "--markdown", str(tmp_path / "m.md")]) == 0
  run = load_runs(folder)[0]
  console = Console(record=True, width=200, force_terminal=False)
  tables.print_run(run.results, console)
  shown = capsys.readouterr().out + console.export_text() + run._repr_html_() + repr(run)
  report = (tmp_path / "m.md").read_text()
  for text in (shown, report):
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "]0;owned31mtag[red]" in text.replace("\\", "").replace("\n", "")
  assert "\n# head" not in report
  assert r"tag\[red](x)&lt;b>\`\| # head" in report
  assert "<b>" not in run._repr_html_()


def test_errors_and_notes_hold_no_control_characters(tmp_path, make_results, capsys):
  results = make_results(method="tag") | {"definitions": {"forgetting": "\x1b]0;owned\x07"}}
  for name in ("a", "b\x1b[2J"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "results.json").write_text(json.dumps(results))
  assert compare.main([str(tmp_path)]) == 1
  assert "\x1b" not in capsys.readouterr().err
  with pytest.raises(ResultsError):
    load_runs(tmp_path / "a")
