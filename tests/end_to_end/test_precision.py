"""Runs in bfloat16 learn what those in float32 do; what a run holds is said, or refused."""

import numpy as np
import pytest

from tagjax.config.run import run_config

OPTIONS = {
  "method": "tag",
  "learning_rate": 0.005,
  "num_tasks": 3,
  "train_examples_per_task": 400,
  "test_examples_per_task": 200,
  "mlp__hidden": (64,),
}


@pytest.fixture(scope="module")
def execute(tiny, tmp_path_factory):
  def execute(progress=False, **changes):
    config = tiny(**(OPTIONS | changes))
    return run_config(config, tmp_path_factory.mktemp("run"), progress=progress).results

  return execute


@pytest.fixture(scope="module")
def exact(execute):
  return execute()


@pytest.mark.parametrize("key", ["compute_dtype", "tag__accumulator_dtype"])
def test_bfloat16_learns_the_same(execute, exact, key):
  results = execute(**{key: "bfloat16"})
  assert results["learning_accuracy"]["mean"] > 0.5
  for figure in ("average_accuracy", "learning_accuracy"):
    assert results[figure]["mean"] == pytest.approx(exact[figure]["mean"], abs=0.1)
  first, other = (np.asarray(r["task_relatedness"], float) for r in (results, exact))
  assert (np.nan_to_num(first) != np.nan_to_num(other)).any()


def test_what_a_run_holds_is_said_with_its_progress(execute, capsys):
  execute(progress=True, seeds=2)
  placed, line = capsys.readouterr().err.splitlines()[:2]
  assert placed == "placement: 2 seeds on 2 devices"
  assert line.startswith("memory: 38.5 kB of parameters + ")
  assert line.endswith(" for 2 seeds, besides what a step needs")
  execute(num_tasks=1)
  assert capsys.readouterr().err == ""


def test_a_run_that_cannot_fit_says_so_in_one_line(launch, tmp_path):
  ended = launch(
    "--config.method=er+tag", "--config.memory.capacity=100000000", f"--workdir={tmp_path}"
  )
  assert ended.code == 1
  assert ended.stderr.count("\n") == 1
  assert ended.stderr.startswith("error: the run would hold ")
  assert "GB of exemplars" in ended.stderr
  assert "lower memory.capacity=100000000" in ended.stderr
  assert not (tmp_path / "config.json").exists()
