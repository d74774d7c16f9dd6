"""results.json: the figures, the file, the origin."""

import json
import os
import stat
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.errors import TagjaxError
from tagjax.report.results import summarise, summarise_counts
from tagjax.storage.json_files import read_json, write_json_atomic
from tagjax.training import provenance

EXAMPLE = np.array([[80, np.nan, np.nan], [70, 90, np.nan], [75, 95, 60]]) / 100


def test_the_worked_example():
  summary = summarise([EXAMPLE], forgetting_definition="tag")
  assert summary["average_accuracy"]["mean"] == pytest.approx(0.766667, abs=1e-6)
  assert summary["learning_accuracy"]["mean"] == pytest.approx(0.766667, abs=1e-6)
  assert summary["forgetting"]["mean"] == pytest.approx(0.025)
  assert summary["backward_transfer"]["per_seed"] == [pytest.approx(0.0)]
  assert summary["definitions"] == {"forgetting": "tag", "ddof": 1, "ci95": "Student's t"}
  assert summary["accuracy_matrix"][0][0] == [0.8, None, None]
  assert "forward_transfer" not in summary
  assert "learning_curve_area" not in summary


def test_statistics_over_seeds_against_closed_forms():
  values = np.array([0.70, 0.74, 0.75])
  matrices = values[:, None, None] * np.ones((3, 1, 1))
  sample = summarise(matrices)["average_accuracy"]
  assert sample["per_seed"] == values.tolist()
  assert sample["std"] == pytest.approx(0.026457513)
  assert sample["ci95"] == pytest.approx(4.30265273 * 0.026457513 / 3**0.5)
  population = summarise(matrices, ddof=0)
  assert population["average_accuracy"]["std"] == pytest.approx(0.021602469)
  assert population["definitions"]["ddof"] == 0


def test_undefined_figures_are_null():
  summary = summarise(np.array([[[0.9]]]))
  assert summary["forgetting"] == {"mean": None, "std": None, "ci95": None, "per_seed": [None]}
  assert summary["average_accuracy"]["std"] is None
  json.dumps(summary, allow_nan=False)


def test_forward_transfer_and_curves_of_tasks_with_few_minibatches():
  full = np.array([[[0.9, 0.4], [0.7, 0.8]]])
  curves = [[[0.2, 0.6, 0.7, 0.9], [0.0, 0.4]]]
  summary = summarise(full, baseline=[[0.1, 0.1]], curves=curves, beta=2)
  assert summary["forward_transfer"]["mean"] == pytest.approx(0.3)
  # The short curve goes on with its last value: (0.1 + 0.5 + 0.55) / 3.
  assert summary["learning_curve_area"]["mean"] == pytest.approx(1.15 / 3)
  trapezoid = summary["learning_curve_area_trapezoid"]["mean"]
  assert trapezoid == pytest.approx((0.1 / 2 + 0.5 + 0.55 / 2) / 2)
  assert summary["zero_shot_accuracy"]["per_seed"] == [pytest.approx(0.1)]
  assert summary["learning_curves"] == [[[0.2, 0.6, 0.7], [0.0, 0.4, None]]]
  assert summary["definitions"]["learning_curve_area"] == {"beta": 2}


def test_before_the_first_minibatch_there_is_no_area():
  summary = summarise(np.array([[[0.9, 0.4], [0.7, 0.8]]]), curves=[[[0.25], [0.5]]], beta=0)
  assert summary["zero_shot_accuracy"]["mean"] == pytest.approx(0.375)
  assert "learning_curve_area" not in summary


def test_with_sizes_there_is_an_incremental_accuracy():
  summary = summarise([EXAMPLE], sizes=[30, 10, 20])
  expected = (0.8 + (30 * 0.7 + 10 * 0.9) / 40 + (30 * 0.75 + 10 * 0.95 + 20 * 0.6) / 60) / 3
  assert summary["average_incremental_accuracy"]["mean"] == pytest.approx(expected)
  assert summary["test_sizes"] == [30, 10, 20]


def test_counts_become_fractions_of_the_images_so_far():
  counts = {
    "correct": [[None, [6, 9]]],
    "task": [[None, [8, 10]]],
    "plain": [[None, 5]],
    "predicted_tasks": [[None, [2, 10]]],
    "confusion": [[None, [[4, 0], [2, 6]]]],
  }
  classes = np.eye(2, dtype=bool)
  results = summarise_counts(counts, [4, 8], continuum=3, lengths=(1, 3), classes=classes)
  continuum = results["continuum"]
  assert continuum["accuracy"] == [[[None, None], [0.5, 0.75]]]
  assert continuum["plain_accuracy"] == [[None, 5 / 12]]
  assert set(continuum) == {"lengths", "accuracy", "task_accuracy", "plain_accuracy"}
  assert results["task_accuracy"]["per_seed"] == [10 / 12]
  assert results["recency_bias"]["per_seed"] == [pytest.approx(10 / 12 - 8 / 12)]
  assert results["confusion_matrix"] == [[[4, 0], [2, 6]]]
  assert results["task_classes"] == [[0], [1]]
  assert results["definitions"] == {"continuum": 3}
  json.dumps(results, allow_nan=False)


def test_one_matrix_without_seeds_is_refused():
  with pytest.raises(ValueError, match=r"must be \[S, T, T\]"):
    summarise(EXAMPLE)


def test_files_round_trip_exactly_and_matrices_are_one_row_a_line(tmp_path):
  values = np.random.default_rng(0).standard_normal((3, 4)) * 10.0 ** np.arange(-8, -4)
  value = {
    "matrix": values,
    "single": jnp.float32(0.1),
    "nothing": np.nan,
    "text": "[\n  1,\n  2\n]",
    "texts": ["a, b", "é"],
    "empty": [[], {}],
  }
  path = tmp_path / "results.json"
  write_json_atomic(path, value)
  back = read_json(path)
  assert np.array(back["matrix"]).tobytes() == values.tobytes()
  assert np.float32(back["single"]) == np.float32(0.1)
  assert back["nothing"] is None
  assert (back["text"], back["texts"], back["empty"]) == (value["text"], value["texts"], [[], {}])
  assert len([line for line in path.read_text().splitlines() if line.startswith("    [")]) == 4


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
  path = tmp_path / "results.json"
  write_json_atomic(path, {"run": 1})

  def fail(*arguments):
    raise OSError("disk full")

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(OSError, match="disk full"):
    write_json_atomic(path, {"run": 2})
  assert read_json(path) == {"run": 1}
  assert os.listdir(tmp_path) == ["results.json"]


def test_files_have_the_usual_rights(tmp_path):
  write_json_atomic(tmp_path / "ours", 1)
  (tmp_path / "usual").write_text("")
  modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "usual")]
  assert modes[0] == modes[1]


@pytest.mark.parametrize("value", [{"a": [1, {"b": np.inf}]}, {"a": [1, {"b": object()}]}])
def test_what_json_cannot_hold_is_named(tmp_path, value):
  with pytest.raises(ValueError, match=r"a\[1\]\.b is .* which JSON cannot hold"):
    write_json_atomic(tmp_path / "file", value)
  assert os.listdir(tmp_path) == []


def test_errors_of_reading_name_the_file(tmp_path):
  with pytest.raises(TagjaxError, match=r"there is no .*results\.json: has the run ended"):
    read_json(tmp_path / "results.json")
  (tmp_path / "half").write_text('{"a": 1')
  with pytest.raises(TagjaxError, match="half is no JSON"):
    read_json(tmp_path / "half")
  with pytest.raises(TagjaxError, match="cannot read"):
    read_json(tmp_path)


def a_checkout(folder, *, track):
  package = folder / "package"
  (package / "report").mkdir(parents=True)
  (package / "__init__.py").write_text("")

  def git(*arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True)

  git("init", "-q")
  if track:
    git("add", "package/__init__.py")
  git("commit", "-q", "--allow-empty", "-m", "first")
  return package


def test_provenance_knows_commit_and_changes(tmp_path):
  package = a_checkout(tmp_path, track=True)
  commit, dirty = provenance._git_commit(package / "report")
  assert len(commit) == 40
  assert dirty is False
  (package / "__init__.py").write_text("changed")
  assert provenance._git_commit(package / "report") == (commit, True)


def test_somebody_elses_checkout_is_not_ours(tmp_path):
  package = a_checkout(tmp_path, track=False)
  assert provenance._git_commit(package / "report") == (None, None)


def test_provenance_without_git(monkeypatch):
  monkeypatch.setenv("PATH", "")
  found = provenance.provenance()
  assert (found["commit"], found["dirty"]) == (None, None)
  assert found["packages"]["jax"]
  assert found["devices"]["platform"] == "cpu"
  json.dumps(found)
