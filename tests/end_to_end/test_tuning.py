"""Both stages of the protocol: nothing of the judged tasks is seen before, nothing is lost."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax.benchmarks import Experience
from tagjax.config.run import run_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError, DivergedError
from tagjax.training import protocol
from tagjax.training.train_stream import Cursor
from tests.softmax_regression import Linear

SETTINGS = {
  "benchmark": "split_digits",
  "num_tasks": 5,
  "validation_fraction": 0.2,
  "seeds": 2,
  "seed_axis": "loop",
  "chunk_steps": 3,
  "sweep": {"learning_rate": [1e20, 0.01, 0.1]},
  "tuning.tasks": 2,
}


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
  """The folder and the run; the first stage cannot look at test examples."""
  folder = tmp_path_factory.mktemp("whole")
  tune = protocol.run_protocol

  def watched(stage, *arguments, **options):
    def blind(place):
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experience, "test", property(lambda self: pytest.fail("looked at tests")))
        return stage(place)

    return tune(blind, *arguments, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(protocol, "run_protocol", watched)
    return folder, run_config(tiny(**SETTINGS), folder, progress=False)


def test_the_first_stage_chooses_and_the_second_is_judged(whole):
  folder, run = whole
  grid = run.tuning
  assert [point["diverged_seeds"] for point in grid.results["points"]] == [[1, 2], [], []]
  assert grid.results["selected_on"] == {"split": "validation", "tasks": 2, "seeds": 2}
  assert run.accuracy.shape == (2, 3, 3)
  stored = json.loads((folder / "results.json").read_text())
  assert stored["tuning"]["chosen"] == grid.chosen
  assert [one["seed"] for one in stored["runs"]] == run.seeds == [1, 2]
  assert tagjax.load_runs(folder).names == ["sgd"]


def test_each_seed_has_an_order_of_its_own_of_classes_that_chose_nothing(whole):
  _, run = whole
  orders = [one["task_names"] for one in run.results["runs"]]
  assert orders[0] != orders[1]
  for order in orders:
    named = [int(n) for name in order for n in name.replace("-", ", ").split(" ", 1)[1].split(", ")]
    assert sorted(named) == list(range(4, 10))


def test_a_judged_run_is_the_run_of_its_own_stream(whole, tiny):
  _, run = whole
  stream = tagjax.load_benchmark(
    "split_digits",
    num_tasks=5,
    validation_fraction=0.2,
    train_examples_per_task=45,
    test_examples_per_task=40,
  )
  own = stream.part(2).without_validation().shuffled(2)
  rate = run.tuning.chosen["learning_rate"]
  alone = tagjax.fit(
    own,
    tagjax.models.MLP(10, hidden=(8,)),
    optax.sgd(rate),
    seed=2,
    plots=False,
    progress=False,
  )
  np.testing.assert_array_equal(alone.accuracy[0], run.accuracy[1])


class Stopped(Exception):  # noqa: N818  (what a test did, not a fault)
  pass


def test_stopped_in_each_stage_it_goes_on_to_the_same_bits(whole, tiny, tmp_path):
  """Killed twice, in the grid and in the second judged run, without a word."""
  perform = Cursor.perform
  places = [lambda: True, (tmp_path / "runs/1.json").exists]

  def counting(self, *arguments):
    perform(self, *arguments)
    if places and self.position >= 5 and places[0]():
      places.pop(0)
      raise Stopped

  def run():
    return run_config(tiny(**SETTINGS, checkpoint_every=2), tmp_path, progress=False)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Cursor, "perform", counting)
    for there in (["tuning"], ["runs", "tuning"]):
      with pytest.raises(Stopped):
        run()
      assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == there
    again = run()
  _, expected = whole
  assert again.results["accuracy_matrix"] == expected.results["accuracy_matrix"]
  assert again.tuning.results["points"] == expected.tuning.results["points"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"tuning.tasks": 0}, "config.tuning.tasks=0: must be a whole number, at least 1"),
    ({"sweep": None}, "config.tuning.tasks=2: there is no config.sweep or config.search"),
    ({"sweep_tasks": 2}, "config.sweep_tasks=2: does not go with config.tuning.tasks"),
    ({"evaluate_on": "validation"}, "config.evaluate_on='validation': does not go with"),
    ({"validation_fraction": 0.0}, "set config.validation_fraction"),
    ({"sweep": {"tuning.epochs": [1]}}, "no grid over 'tuning.epochs'"),
  ],
)
def test_what_cannot_be_is_told_before_data_are_read(tiny, changes, message):
  with pytest.raises(ConfigError, match=message):
    validate(tiny(**{**SETTINGS, **changes}))


def test_no_task_is_left_to_be_judged_on(tiny, tmp_path):
  with pytest.raises(ConfigError, match=r"config.tuning.tasks=5: 5 to choose by leave no task"):
    run_config(tiny(**{**SETTINGS, "tuning.tasks": 5}), tmp_path, progress=False)


def test_legacy_scores_on_test_examples(tiny):
  assert validate(tiny(**{**SETTINGS, "validation_fraction": 0.0, "tuning.legacy": True}))


def spoilt_above(bound):
  """A rate of 0.1, but NaN in the fifth step of each network that begins with a weight above."""

  def init(params):
    return {"lost": params["Dense_0"]["kernel"][0, 0] > bound, "count": jnp.int32(0)}

  def update(updates, state, params=None):
    del params
    scale = jnp.where(state["lost"] & (state["count"] == 4), jnp.nan, -0.1)
    scaled = jax.tree.map(lambda leaf: scale * leaf, updates)
    return scaled, state | {"count": state["count"] + 1}

  return optax.GradientTransformation(init, update)


def judged(folder, *, bound, shuffle):
  """Two seeds; a judged task is three steps, that of the first stage two."""
  image = np.random.default_rng(0).integers(0, 256, (3, 6, 2, 2, 1), np.uint8)
  tasks = [(one, np.arange(6) % 2, one, np.arange(6) % 2) for one in image]
  return tagjax.tune_then_judge(
    tagjax.Stream.from_arrays("mine", tasks, scenario="domain", validation_fraction=0.4),
    Linear(2),
    lambda values: spoilt_above(bound),
    grid={"unused": [0.5]},
    tuning=tagjax.TuningOptions(tasks=1, shuffle=shuffle),
    workdir=folder,
    batch_size=2,
    seeds=2,
    plots=False,
    progress=False,
  )


@pytest.mark.parametrize("shuffle", [pytest.param(True, marks=pytest.mark.product), False])
def test_the_other_runs_go_on_beside_one_that_diverges(shuffle, tmp_path, monkeypatch, capsys):
  whole = judged(None, bound=np.inf, shuffle=shuffle)
  assert (whole.seeds, whole.diverged_seeds) == ([1, 2], [])
  assert capsys.readouterr().err == ""
  run = judged(tmp_path, bound=0.0, shuffle=shuffle)
  assert (run.seeds, run.diverged_seeds) == ([1], [2])
  assert (
    "warning: 1 of 2 runs diverged and is left out of all figures: seed 2, task 1, step 3"
    in capsys.readouterr().err
  )
  places = [one["diverged"] for one in run.results["runs"]]
  assert places == [None, {"task": 1, "step": 3}]
  np.testing.assert_allclose(run.accuracy, whole.accuracy[:1], rtol=1e-6)
  assert "1 of 2 seeds" in repr(run)

  monkeypatch.setattr(protocol, "train_trials", lambda *arguments, **options: pytest.fail("again"))
  (tmp_path / "results.json").unlink()
  again = judged(tmp_path, bound=0.0, shuffle=shuffle)
  assert again.results["runs"] == run.results["runs"]


def test_without_a_run_that_ends_there_is_no_result(tmp_path, monkeypatch):
  for _ in range(2):
    with pytest.raises(DivergedError, match=r"in seed 1, task 1, step 3; seed 2, .* unused=0\.5"):
      judged(tmp_path, bound=-np.inf, shuffle=False)
    monkeypatch.setattr(protocol, "train_trials", lambda *a, **o: pytest.fail("again"))
  assert not (tmp_path / "results.json").exists()
