"""Finished runs as objects: arrays, frames, what is found in folders, differences."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tagjax.report.comparison import CompareError
from tagjax.report.grid import Grid
from tagjax.report.run import Run
from tagjax.report.runs import Runs, load_runs
from tagjax.storage.json_files import ResultsError, write_json_atomic

DOCS = Path(__file__).parents[2] / "docs"
RESULT_FILES = sorted(DOCS.glob("results/**/*.json"))
GRID_FILES = sorted(DOCS.glob("tuning/*/*.json"))


def write(folder, results):
  folder.mkdir(parents=True)
  write_json_atomic(folder / "results.json", results)
  return folder


@pytest.fixture
def folders(tmp_path, make_results, sweep_results, monkeypatch):
  """Two runs, one deeper a third, a grid, and two folders that hold none."""
  monkeypatch.chdir(tmp_path)
  runs = tmp_path / "runs"
  write(runs / "sgd", make_results(random_seed=1, method="sgd"))
  write(runs / "tag", make_results(random_seed=2, learning_rate=0.01, tag={"b": 5.0}))
  write(runs / "deep" / "er", make_results(random_seed=3, method="er"))
  write(runs / "grid", sweep_results)
  (runs / "grid" / "groups" / "0").mkdir(parents=True)
  (runs / "grid" / "groups" / "0" / ".lock").touch()
  (runs / "refused").mkdir()
  (runs / "refused" / ".lock").touch()
  (runs / "stopped" / "checkpoints" / "7").mkdir(parents=True)
  (runs / "stopped" / "config.json").write_text("{}")
  (runs / "comparison.png").touch()
  return runs


# One run.


def test_arrays_are_those_of_the_results(make_results):
  results = make_results(4, 3, seed=11)
  run = Run(results)
  assert run.accuracy.shape == (3, 4, 4)
  assert run.accuracy.dtype == np.float64
  assert np.isnan(run.accuracy[0, 0, 1])
  for name in ("average_accuracy", "forgetting", "learning_accuracy", "backward_transfer"):
    np.testing.assert_allclose(getattr(run, name), results[name]["per_seed"])
    np.testing.assert_allclose(run.metric(name), results[name]["per_seed"])
  assert run.seeds == [11, 12, 13]
  assert run.task_names == ["task 1", "task 2", "task 3", "task 4"]
  assert (run.name, run.method, run.num_tasks, run.folder) == ("tag", "tag", 4, None)
  assert run.settings["mlp.hidden"] == [256, 256]
  assert run.config["mlp"] == {"hidden": [256, 256]}
  assert run.task_relatedness is None


def test_metrics_that_a_run_has_besides(make_results):
  results = make_results(2, 2)
  extra = {"mean": 0.2, "std": 0.1, "ci95": 0.9, "per_seed": [0.1, 0.3]}
  run = Run(results | {"forward_transfer": extra})
  assert run.metric("forward_transfer").tolist() == [0.1, 0.3]
  assert run.metrics().loc["forward_transfer", ["mean", "seed 2"]].tolist() == [0.2, 0.3]
  assert run.to_row()["forward_transfer"] == pytest.approx(0.2)
  with pytest.raises(ResultsError, match="has no metric 'forward_transfer': has average_accuracy"):
    Run(results).metric("forward_transfer")


def test_what_was_counted_is_there_as_arrays(make_results, counted):
  run = Run(counted(3))
  measured = run.continuum
  assert measured.lengths.tolist() == [1, 3, 7]
  assert measured.task_accuracy.shape == measured.top_k_accuracy.shape == (3, 2, 3)
  assert measured.plain_accuracy.shape == (3, 2)
  assert run.predicted_tasks.shape == (3, 2, 2)
  assert run.confusion_matrix.shape == (3, 4, 4)
  for name in ("task_accuracy", "task_aware_accuracy", "top_k_accuracy"):
    np.testing.assert_array_equal(run.metric(name), getattr(measured, name)[:, -1, 0])
  np.testing.assert_array_equal(run.metric("recency_bias"), run.recency_bias[:, -1])
  assert "task_accuracy" in run.metric_names
  assert run.metrics().loc["recency_bias", "mean"] == run.recency_bias[:, -1].mean()
  assert "top-5 accuracy" in run._repr_html_()
  plain = Run(make_results())
  assert plain.continuum is plain.confusion_matrix is plain.recency_bias is None
  assert "task_accuracy" not in plain.metric_names


def test_nothing_but_matrices_is_needed():
  run = Run({"accuracy_matrix": [[[0.5, None], [0.25, 1.0]]]})
  assert run.name == "run"
  assert run.average_accuracy.tolist() == [0.625]
  assert run.to_frame()["accuracy"].tolist() == [0.5, 0.25, 1.0]
  assert run.to_row()["commit"] == "unknown"
  assert "62.5" in run._repr_html_()
  assert Runs([run, run]).names == ["run", "run (2)"]
  assert Runs([run]).compare()["average accuracy (%)"].tolist() == ["62.5"]
  with pytest.raises(ResultsError, match="in memory"):
    run.log()


def test_the_long_frame_has_a_row_for_each_accuracy(make_results):
  results = make_results(3, 2, seed=5) | {"task_names": ["a", "b", "c"]}
  frame = Run(results).to_frame()
  assert len(frame) == 2 * 6
  for row in frame.itertuples():
    seed = row.seed - 5
    assert row.accuracy == results["accuracy_matrix"][seed][row.after_task][row.task]
    assert row.task_name == "abc"[row.task]
  last = frame[frame["after_task"] == 2].groupby("seed")["accuracy"].mean()
  np.testing.assert_allclose(last, results["average_accuracy"]["per_seed"])


def test_a_saved_run_is_the_same_when_loaded(tmp_path, make_results):
  source = write(tmp_path / "source", make_results(3, 2, alphas=True))
  log = {"seed": 1, "task": 0, "step": 5, "loss": 1.0}
  (source / "metrics.jsonl").write_text(json.dumps(log) + "\n")
  run = Run.load(source)
  saved = run.save(tmp_path / "deep" / "saved")
  again = Run.load(saved)
  assert again.results == run.results
  pd.testing.assert_frame_equal(again.log(), run.log())
  assert again.training_curve()["total_step"].tolist() == [5]
  assert {path.stem for path in saved.glob("*.png")} == {
    "accuracy_matrix",
    "accuracy_over_time",
    "forgetting",
    "task_relatedness",
    "loss",
  }
  assert again.save(saved) == saved
  with pytest.raises(ResultsError, match="another run"):
    Run(make_results(random_seed=9)).save(saved)


def test_a_run_describes_itself(make_results):
  run = Run(make_results(2, 2, method="a<b"), name="mine")
  accuracy = run.results["average_accuracy"]
  shown = f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f}"
  assert repr(run).startswith(f"Run(mine: average accuracy {shown} %, forgetting")
  assert repr(run).endswith("2 seeds, 2 tasks)")
  assert "backward transfer" in run._repr_html_()
  assert "Run(a&lt;b" in Run(make_results(2, 2, method="a<b"))._repr_html_()


def test_plots_of_a_run_are_images(make_results):
  run = Run(make_results(2, 2, alphas=True))
  for plot in (
    run.plot_accuracy_matrix,
    run.plot_accuracy_over_time,
    run.plot_forgetting,
    run.plot_task_relatedness,
  ):
    assert plot()._repr_png_()[0].startswith(b"\x89PNG")


def test_results_of_a_grid_are_no_run(sweep_results, make_results):
  with pytest.raises(ResultsError, match="those of a grid"):
    Run(sweep_results)
  with pytest.raises(ResultsError, match="not those of a grid"):
    Grid(make_results())


def test_the_points_of_a_grid(sweep_results):
  grid = Grid(sweep_results)
  frame = grid.to_frame()
  assert len(frame) == 12
  assert frame[frame["chosen"]][["learning_rate", "tag.b", "epochs"]].values.tolist() == [
    [0.1, 5, 20]
  ]
  assert frame["average_accuracy"].max() == pytest.approx(0.61)
  assert frame[frame["learning_rate"] == 1e10]["average_accuracy"].isna().all()
  assert frame["diverged_seeds"].tolist() == [0] * 6 + [1] * 6
  assert (grid.chosen["tag.b"], grid.at_edge) == (5, ["epochs"])
  assert "12 points, chosen learning_rate=0.1, tag.b=5, epochs=20" in repr(grid)
  assert "diverged with seed 2" in grid._repr_html_()
  assert grid.plot().axes


# Several runs.


def test_folders_patterns_and_what_lies_in_them(folders, capsys):
  assert load_runs("runs/sgd", "runs/tag").names == ["sgd", "tag"]
  assert capsys.readouterr().err == ""
  for patterns in (["runs/*"], ["runs"], ["runs/**"], ["runs/*", folders, "runs/tag"]):
    runs = load_runs(*patterns)
    assert sorted(runs.names) == ["er", "sgd", "tag"], patterns
    assert [grid.name for grid in runs.grids] == ["tag"]
    assert sorted(path.name for path in runs.unfinished) == ["refused", "stopped"]
    error = capsys.readouterr().err
    assert error.startswith("note: 2 folders hold no finished run: ")
    assert len(error.splitlines()) == 1
  assert load_runs("runs/**/er").names == ["er"]


def test_what_cannot_be_loaded_is_named(folders):
  with pytest.raises(ResultsError, match=r"nothing matches rums/\*"):
    load_runs("rums/*")
  with pytest.raises(ResultsError, match="nothing is at runs/tga"):
    load_runs("runs/tga")
  with pytest.raises(ResultsError, match=r"no finished run in runs/refused .*start them again"):
    load_runs("runs/refused")
  with pytest.raises(ResultsError, match="at least one folder or pattern"):
    load_runs()
  (folders / "sgd" / "results.json").write_text('{"seed": 1}')
  with pytest.raises(ResultsError, match=r"sgd/results.json holds no 'accuracy_matrix'"):
    load_runs("runs/*")
  with pytest.raises(ResultsError, match="holds a grid"):
    Run.load("runs/grid")
  with pytest.raises(ResultsError, match="a single run, not a grid"):
    Grid.load("runs/tag")


def test_runs_are_found_by_place_and_name(folders):
  runs = load_runs("runs/sgd", "runs/tag", "runs/deep")
  assert len(runs) == 3
  assert runs[0] is runs["sgd"]
  assert runs[1:].names == ["tag", "er"]
  assert [run.name for run in runs] == runs.names
  assert "tag" in runs
  with pytest.raises(KeyError, match="did you mean tag"):
    runs["tga"]
  assert runs["tag"].folder.name == "tag"


def test_runs_are_chosen_by_their_config(folders):
  runs = load_runs("runs/sgd", "runs/tag", "runs/deep")
  assert runs.filter(method="tag").names == ["tag"]
  assert runs.filter(**{"tag.b": 5}).names == ["tag"]
  assert runs.filter(learning_rate=lambda rate: rate < 0.01).names == ["sgd", "er"]
  assert runs.filter(**{"mlp.hidden": (256, 256)}, method="er").names == ["er"]
  assert len(runs.filter(method="mas")) == 0
  with pytest.raises(ResultsError, match=r"learning_rat .did you mean learning_rate"):
    runs.filter(learning_rat=1)


def test_names_stay_when_runs_are_chosen(make_results):
  runs = Runs(Run(make_results(method="er", er={"strength": value})) for value in (1.0, 2.0))
  assert runs.names == ["er, er.strength=1.0", "er, er.strength=2.0"]
  assert runs[1:].names == ["er, er.strength=2.0"]
  assert runs.filter(**{"er.strength": 2}).names == ["er, er.strength=2.0"]


def test_keys_that_no_run_has_read_tell_nothing(make_results):
  one, two = (make_results(method="mas_local", mas={"norm": norm}) for norm in ("l1", "l2"))
  assert Runs([Run(one), Run(two)]).names == ["mas_local", "mas_local (2)"]
  read = [results | {"used": ["epochs", "mas.norm"]} for results in (one, two)]
  assert Runs(map(Run, read)).names == ["mas_local, mas.norm=l1", "mas_local, mas.norm=l2"]


def test_frames_of_several_runs(folders):
  runs = load_runs("runs/sgd", "runs/tag")
  long = runs.to_frame()
  assert long.groupby("run").size().to_dict() == {"sgd": 30, "tag": 30}
  table = runs.metrics()
  assert table["run"].tolist() == ["sgd", "tag"]
  # tag.b is a key of one run alone: nothing differs.
  assert [key for key in table if key.startswith("config.")] == ["config.learning_rate"]
  assert table["config.learning_rate"].tolist() == [0.001, 0.01]
  expected = [runs[name].results["average_accuracy"] for name in runs.names]
  for column, key in (("average_accuracy", "mean"), ("average_accuracy_ci95", "ci95")):
    np.testing.assert_allclose(table[column], [one[key] for one in expected])
  assert table["seeds"].tolist() == [3, 3]
  assert table["seconds"].tolist() == [12.4, 12.4]
  assert table["average_accuracy"].dtype == np.float64
  assert pd.read_csv(io.StringIO(table.to_csv(index=False))).shape == table.shape


def test_values_that_are_none_or_lists_differ_too(make_results):
  runs = Runs(
    Run(make_results(memory={"batch_size": size}, mlp={"hidden": hidden}))
    for size, hidden in ((None, [64]), (10, [64, 64]))
  )
  keys = [key for key in runs.metrics() if key.startswith("config.")]
  assert sorted(keys) == ["config.memory.batch_size", "config.mlp.hidden"]


def test_compare_prints_and_returns_the_table(folders, capsys):
  runs = load_runs("runs/sgd", "runs/tag")
  table = runs.compare(definition="tag")
  printed = capsys.readouterr().out
  assert table["method"].tolist() == ["sgd", "tag"]
  for text in [*table.columns, *table["average accuracy (%)"]]:
    assert text in printed
  assert "forgetting (%, tag)" in table
  assert table.to_latex(index=False).startswith(r"\begin{tabular}")
  assert table["average accuracy (%)"][0] in runs._repr_html_()


def test_runs_that_differ_in_more_are_not_compared(make_results, capsys):
  runs = Runs([Run(make_results(method="sgd")), Run(make_results(epochs=5))])
  for compare in (runs.compare, runs.differences):
    with pytest.raises(CompareError, match=r"config\.epochs is 1 in sgd; 5 in tag"):
      compare()
  assert len(runs.compare(allow_differences=True)) == 2
  assert "note: config.epochs is" in capsys.readouterr().err
  with pytest.raises(CompareError, match="no runs"):
    Runs([]).compare()


def test_differences_are_paired_by_seed(make_results):
  one, two = (make_results(3, 4, random_seed=seed, method=f"m{seed}") for seed in (1, 2))
  # Seeds 1 to 4, and 3 to 6 by the same results: two are shared.
  later = make_results(3, 4, random_seed=1, method="later", seed=3)
  runs = Runs([Run(one), Run(two), Run(later)])
  table = runs.differences("m1", allow_differences=True).set_index("run")
  first, second = (np.array(results["average_accuracy"]["per_seed"]) for results in (one, two))
  paired = stats.ttest_rel(second, first).confidence_interval(0.95)
  row = table.loc["m2"]
  assert row["difference"] == pytest.approx(np.mean(second - first))
  assert (row["low"], row["high"]) == pytest.approx((paired.low, paired.high))
  assert row["seeds"] == 4
  row = table.loc["later"]
  np.testing.assert_allclose(row["per_seed"], first[:2] - first[2:])
  assert table["reference"].tolist() == ["m1", "m1"]
  forgetting = runs.differences(0, "forgetting", allow_differences=True)
  assert forgetting["difference"][0] == pytest.approx(
    two["forgetting"]["mean"] - one["forgetting"]["mean"]
  )
  apart = Runs([Run(one), Run(make_results(3, 2, seed=50))])
  with pytest.raises(CompareError, match="share no seed"):
    apart.differences(allow_differences=True)


def test_plots_of_several_runs_are_images(make_results):
  runs = Runs(Run(make_results(random_seed=seed, method=f"m{seed}")) for seed in range(3))
  for figure in (
    runs.plot(),
    runs.plot_final_accuracy(),
    runs.plot_plasticity_stability(definition="tag"),
    runs.plot_differences("m1", "forgetting"),
  ):
    assert figure._repr_png_()[0].startswith(b"\x89PNG")
  with pytest.raises(CompareError, match="at least two"):
    runs[:1].plot_differences()


# Results of earlier versions.


@pytest.mark.parametrize("path", RESULT_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_results_of_earlier_versions_load(path):
  run = Run.load(path)
  stored = json.loads(path.read_text())
  for name in ("average_accuracy", "forgetting"):
    per_seed = np.asarray(stored[name]["per_seed"], float)  # None: joint training has no past
    np.testing.assert_allclose(getattr(run, name), per_seed)
  assert len(run.to_frame()["task_name"].unique()) == len(stored["accuracy_matrix"][0])
  assert len(run.to_row()["commit"]) >= 9


def test_there_are_such_results():
  assert len(RESULT_FILES) > 40
  assert len(GRID_FILES) > 10


@pytest.mark.parametrize("path", GRID_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_grids_of_earlier_versions_load(path):
  grid = Grid.load(path)
  frame = grid.to_frame()
  chosen = frame[frame["chosen"]]
  if grid.chosen is None:
    assert frame["average_accuracy"].isna().all()
    assert "every point diverged" in repr(grid)
  else:
    assert chosen["average_accuracy"].tolist() == [frame["average_accuracy"].max()]


@pytest.mark.parametrize(
  ("folder", "definition"),
  [("cifar10", "tag"), ("fashion_mnist", "agem"), ("split_digits", "diagonal")],
)
def test_the_tables_of_the_documents_are_made_from_them(folder, definition):
  runs = load_runs(f"{DOCS}/results/{folder}/*.json")
  table = runs.compare(definition=definition, allow_differences=True)
  document = (DOCS / "results.md").read_text()
  written = {
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in document.splitlines()
    if line.startswith("|")
  }
  missing = [row for row in table.itertuples(index=False, name=None) if row not in written]
  assert not missing
