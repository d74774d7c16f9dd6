"""The command line that compares runs: its table, its files, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tagjax.report import compare
from tagjax.report.comparison import comparison_rows, differing_settings
from tagjax.report.run import Run
from tagjax.report.runs import load_runs
from tagjax.storage.json_files import write_json_atomic


@pytest.fixture
def runs(tmp_path, make_results, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for seed, method in enumerate(("tag", "sgd")):
    folder = tmp_path / f"{method} run"
    folder.mkdir()
    write_json_atomic(folder / "results.json", make_results(random_seed=seed, method=method))
  return tmp_path


def copy(folder, other):
  shutil.copytree(folder, other)


def change(folder, make_results, **config):
  write_json_atomic(Path(folder) / "results.json", make_results(method="sgd", **config))


def test_the_table_has_the_figures_of_the_results(runs, make_results):
  rows = comparison_rows(load_runs("tag run", "sgd run").results, "agem")
  expected = make_results(random_seed=1, method="sgd")
  accuracy, forgetting = expected["average_accuracy"], expected["forgetting"]
  assert [row["method"] for row in rows] == ["tag", "sgd"]
  assert rows[1] == {
    "method": "sgd",
    "learning rate": "0.001",
    "average accuracy (%)": f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f}",
    "forgetting (%, agem)": f"{100 * forgetting['mean']:.1f} ± {100 * forgetting['std']:.1f}",
    "learning accuracy (%)": rows[1]["learning accuracy (%)"],
    "seeds": "3",
    "seconds": "12",
    "commit": "012345678",
  }


def test_runs_that_diverged_are_counted(make_results):
  results = make_results() | {"seeds": [11, 12, 14], "diverged_seeds": [13]}
  (row,) = comparison_rows({"ewc": results}, "agem")
  assert row["seeds"] == "3 of 4"
  run = Run(results)
  assert (run.diverged_seeds, run.to_row()["diverged_seeds"]) == ([13], 1)
  assert Run(make_results()).to_row()["diverged_seeds"] == 0


def test_the_learning_rate_is_that_of_the_judged_runs(make_results):
  runs = {
    "chosen": make_results() | {"tuning": {"chosen": {"learning_rate": 0.3}}},
    "of the config": make_results() | {"tuning": {"chosen": {"tag.b": 3.0}}},
    "no choice": make_results() | {"tuning": None},
  }
  rates = [row["learning rate"] for row in comparison_rows(runs, "agem")]
  assert rates == ["0.3", "0.001", "0.001"]


def test_what_one_run_has_measured_has_a_column_for_all(make_results, counted):
  with_counts = counted()
  rows = comparison_rows({"er": with_counts, "old": make_results()}, "agem")
  summary = with_counts["task_accuracy"]
  shown = f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f}"
  assert [row["task accuracy (%)"] for row in rows] == [shown, "–"]  # noqa: RUF001
  assert "average incremental accuracy (%)" in rows[1]
  alone = comparison_rows({"old": make_results()}, "agem")
  assert not any("task accuracy" in column for column in alone[0])


def test_costs_are_multiples_of_plain_sgds(make_results):
  """Training seconds a seed; memory with exemplars; nothing where a run or SGD does not tell."""
  sgd = make_results(method="sgd") | {"bytes": {"parameters": 100, "total": 100}}
  agem = make_results(num_seeds=2, method="agem") | {"bytes": {"parameters": 100, "total": 350}}
  agem["seconds"] = {"train": 15.0}
  rows = comparison_rows({"agem": agem, "sgd": sgd}, "agem")
  assert [row["time (x SGD)"] for row in rows] == ["2.50", "1.00"]
  assert [row["memory (x SGD)"] for row in rows] == ["3.50", "1.00"]
  for runs in ({"agem": agem}, {"sgd": sgd, "old": make_results()}):
    assert not any("x SGD" in column for column in comparison_rows(runs, "agem")[0])


def test_parameters_and_bytes_have_a_column_where_they_differ(make_results):
  grown, other, old = make_results(grows=True), make_results(grows=True), make_results()
  assert "parameters" not in comparison_rows({"a": grown, "b": other}, "agem")[0]
  other["growth"] = other["growth"] | {"parameters": [[9] * 4] * 3}
  rows = comparison_rows({"a": grown, "b": other, "old": old}, "agem")
  assert [row["parameters"] for row in rows] == ["4,001", "9", "–"]  # noqa: RUF001
  assert "MB in use" not in rows[0]


def test_markdown_and_picture(runs, capsys):
  arguments = ["tag run", "sgd run", "--markdown", "docs/m.md", "--picture", "images/c.png"]
  (runs / "docs").mkdir()
  (runs / "images").mkdir()
  assert compare.main(arguments) == 0
  text = (runs / "docs" / "m.md").read_text()
  assert "![average accuracy and forgetting of each method](<../images/c.png>)" in text
  assert "- sgd: `python launch.py --config.method=sgd`, commit 012345678" in text
  assert "python -m tagjax.report.compare 'tag run' 'sgd run' --markdown docs/m.md" in text
  assert "benchmark=permuted_digits" in text
  assert (runs / "images" / "c.png").read_bytes().startswith(b"\x89PNG")
  assert "average accuracy (%)" in capsys.readouterr().out


def test_it_runs_as_a_module(runs):
  command = [sys.executable, "-m", "tagjax.report.compare", "tag run", "sgd run"]
  root = Path(compare.__file__).parents[2]
  done = subprocess.run(
    command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(root)}
  )
  assert "forgetting (%, agem)" in done.stdout
  assert done.stderr == ""


def test_another_definition_of_forgetting_can_be_asked_for(runs, capsys):
  assert compare.main(["tag run", "sgd run", "--forgetting=tag"]) == 0
  assert "forgetting (%, tag)" in capsys.readouterr().out


def test_different_definitions_need_a_choice(runs, capsys, make_results):
  results = make_results(method="sgd")
  results["definitions"]["forgetting"] = "tag"
  write_json_atomic(runs / "sgd run" / "results.json", results)
  assert compare.main(["tag run", "sgd run"]) == 1
  assert "different definitions of forgetting (agem, tag)" in capsys.readouterr().err
  assert compare.main(["tag run", "sgd run", "--forgetting=agem"]) == 0


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("benchmark", "split_digits"),
    ("scenario", "class"),
    ("epochs", 2),
    ("batch_size", 20),
    ("augmentation", {"flip": True}),
    ("model", "reduced_resnet"),
    ("mlp", {"hidden": [64]}),
    ("seed", 7),
    ("evaluate_on", "validation"),
  ],
)
def test_runs_with_other_settings_are_refused_with_the_key(runs, capsys, make_results, key, value):
  change("sgd run", make_results, **{key: value})
  assert compare.main(["tag run", "sgd run"]) == 1
  captured = capsys.readouterr()
  assert captured.out == ""
  assert f"config.{key} is " in captured.err
  assert "--allow-differences" in captured.err
  assert compare.main(["tag run", "sgd run", "--allow-differences", "--markdown", "m.md"]) == 0
  assert f"note: config.{key} is " in capsys.readouterr().err
  assert f"- config.{key} is " in Path("m.md").read_text()


def test_method_and_learning_rate_may_differ(runs, make_results):
  change("sgd run", make_results, learning_rate=0.1)
  assert differing_settings(load_runs("tag run", "sgd run").results) == []


def test_runs_of_one_method_are_told_apart(runs, make_results):
  change("tag run", make_results)
  copy("sgd run", "elsewhere/sgd run")
  assert load_runs("tag run", "sgd run", "elsewhere/sgd run").names == [
    "sgd (tag run)",
    "sgd (sgd run)",
    "sgd (sgd run, 2)",
  ]


def test_namesakes_are_told_apart_by_their_settings(runs, make_results):
  for folder, capacity in (("tag run", 1), ("sgd run", 10)):
    memory = {"capacity": capacity, "per": "class"}
    # What another method would make of its settings tells these runs not apart.
    change(folder, make_results, memory=memory, learning_rate=0.1, mas={"examples": capacity})
  (runs / "third").mkdir()
  change("third", make_results, memory={"capacity": 10, "per": "class"}, learning_rate=0.2)
  copy("third", "elsewhere/third")
  assert load_runs("tag run", "sgd run", "third", "elsewhere/third").names == [
    "sgd, memory.capacity=1",
    "sgd, memory.capacity=10",
    "sgd, memory.capacity=10 (third)",
    "sgd, memory.capacity=10 (third, 2)",
  ]


def test_differences_name_the_runs_that_share_a_value(runs, make_results):
  (runs / "third").mkdir()
  write_json_atomic(runs / "third" / "results.json", make_results(method="er", epochs=5))
  found = differing_settings(load_runs("tag run", "sgd run", "third").results)
  assert found == ["config.epochs is 1 in tag, sgd; 5 in er"]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", "is no JSON"),
    ("[]", "holds no 'accuracy_matrix'"),
    ("{}", "holds no 'accuracy_matrix'"),
    (
      '{"accuracy_matrix": [[[0.5, 0.1]]], "definitions": {}, "config": {}, "seconds": {}}',
      "must be square",
    ),
    (
      '{"accuracy_matrix": [[[null]]], "definitions": {}, "config": {}, "seconds": {}}',
      "lacks seeds or tasks",
    ),
  ],
)
def test_missing_or_broken_results_are_named(runs, capsys, content, message):
  path = runs / "sgd run" / "results.json"
  path.write_text(content)
  assert compare.main(["tag run", "sgd run"]) == 1
  error = capsys.readouterr().err
  assert message in error
  assert str(Path("sgd run") / "results.json") in error
  assert len(error.splitlines()) == 1


def test_ctrl_c_is_one_line(runs, capsys, monkeypatch):
  def stopped(*paths):
    raise KeyboardInterrupt

  monkeypatch.setattr(compare, "load_runs", stopped)
  assert compare.main(["tag run"]) == 130
  assert capsys.readouterr().err == "compare: stopped\n"


def test_a_picture_of_an_unknown_kind_is_refused(runs, capsys):
  with pytest.raises(SystemExit):
    compare.main(["tag run", "--picture", "c.doc"])
  assert "must end in .png, .pdf or .svg" in capsys.readouterr().err


def test_a_grid_is_no_run(runs, capsys, sweep_results):
  (runs / "grid").mkdir()
  (runs / "grid" / "results.json").write_text(json.dumps(sweep_results))
  assert compare.main(["grid"]) == 1
  assert "that of a grid (config.sweep): run what it chose" in capsys.readouterr().err
  assert compare.main(["grid", "tag run", "sgd run"]) == 0
  captured = capsys.readouterr()
  assert "note: left out the results of grid" in captured.err
  assert "tag" in captured.out


def test_folders_without_a_finished_run_do_not_stop_it(runs, capsys):
  (runs / "refused").mkdir()
  (runs / "refused" / ".lock").touch()
  assert compare.main([path.name for path in sorted(runs.iterdir())]) == 0
  captured = capsys.readouterr()
  assert captured.err == "note: 1 folder holds no finished run: refused\n"
  assert "sgd" in captured.out
  assert "tag" in captured.out
  assert compare.main(["refused"]) == 1
  assert "no finished run in refused" in capsys.readouterr().err
  assert compare.main(["tag rum"]) == 1
  assert "nothing is at tag rum" in capsys.readouterr().err
