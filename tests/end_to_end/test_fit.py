"""Whole runs in this process: every setting is used, and means what it says."""

import contextlib
import json
import logging
import re
import types

import jax
import numpy as np
import pytest

from tagjax.config.run import run_config
from tagjax.core.errors import ConfigError
from tagjax.core.register import declared
from tagjax.training import fit

OPTIMIZERS = ["sgd", "rmsprop", "adagrad", "adam", "stable_sgd"] + [
  name for name in declared("optimizer") if name.startswith("tag")
]


@pytest.fixture(scope="module")
def execute(tiny, tmp_path_factory):
  """Runs a tiny config with changes, once each; gives results, log, parts, folder."""
  done = {}

  def execute(**changes):
    key = json.dumps(changes, sort_keys=True)
    if key not in done:
      done[key] = _execute(tiny(**changes), tmp_path_factory.mktemp("run"))
    return done[key]

  return execute


@contextlib.contextmanager
def caught_log(name: str):
  """The messages of a logger meanwhile."""
  texts, handler = [], logging.Handler()
  handler.emit = lambda record: texts.append(record.getMessage())
  logging.getLogger(name).addHandler(handler)
  yield texts
  logging.getLogger(name).removeHandler(handler)


def _execute(config, workdir):
  made, assemble = [], fit.assemble

  def keeping(stream, *arguments, **options):
    trainer, forecast = assemble(stream, *arguments, **options)
    made.append(types.SimpleNamespace(stream=stream, trainer=trainer, programs=trainer.programs))
    return trainer, forecast

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(fit, "assemble", keeping)
    with jax.log_compiles(True), caught_log("jax") as texts:
      results = run_config(config, workdir, progress=False).results
  made[0].compiled = set(re.findall(r"Compiling jit\((\w+)\)", "\n".join(texts)))
  log = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return results, log, made[0], workdir


def losses(run) -> list[float]:
  return [line["loss"] for line in run[1] if "loss" in line]


def matrix(run) -> np.ndarray:
  return np.asarray(run[0]["accuracy_matrix"], np.float64)


def test_one_trace_for_the_stream_and_all_seeds(execute):
  run = execute(method="tag", learning_rate=0.01, seeds=3, epochs=2, num_tasks=3)
  results, log, made, workdir = run
  # And none for the end of a task, at which TAG does nothing.
  assert made.programs.traces == {"init": 1, "order": 1, ("train", "train"): 1, "evaluate": 1}
  # And none for moving keys and examples about: each costs a start a hundredth of a second.
  own = {"_fun", "init", "order", "train_train", "evaluate"}
  assert made.compiled & own
  assert made.compiled <= own | {"_threefry_seed"}
  assert len(made.programs.phases) == 1
  assert len({*results["average_accuracy"]["per_seed"]}) > 1  # the seeds are different runs
  assert [line["seed"] for line in log if "begun" in line] == [1, 2, 3]
  assert not list(workdir.glob("*.png"))  # plots=False
  assert results == json.loads((workdir / "results.json").read_text())


@pytest.mark.parametrize("method", OPTIMIZERS)
def test_every_optimizer_learns(execute, method):
  rate = 0.1 if method in ("sgd", "stable_sgd") else 0.01
  run = execute(method=method, learning_rate=rate, epochs=4)
  assert np.isfinite(losses(run)).all()
  assert losses(run)[3] < losses(run)[0]  # of the first task, epoch by epoch
  assert ("task_relatedness" in run[0]) == method.startswith("tag")


def test_optimizers_differ(execute):
  finals = set()
  for method in OPTIMIZERS:
    rate = 0.1 if method in ("sgd", "stable_sgd") else 0.01
    finals.add(losses(execute(method=method, learning_rate=rate, epochs=4))[-1])
  # "tag" is "tag_rmsprop"; stable SGD without decay, momentum and dropout is SGD.
  assert len(finals) == len(OPTIMIZERS) - 2


@pytest.mark.parametrize(("scenario", "outputs"), [("task", 10), ("class", 10), ("domain", 5)])
def test_scenarios(execute, scenario, outputs):
  run = execute(benchmark="split_digits", num_tasks=2, scenario=scenario, epochs=3)
  assert run[2].stream.spec.num_outputs == outputs
  accuracy = matrix(run)[0]
  assert accuracy[0, 0] > 0.3  # of five classes, where guessing gives 0.2
  if scenario == "class":
    # All classes seen so far compete, and the last task's win.
    assert accuracy[1, 0] < accuracy[0, 0]


def test_scenarios_differ(execute):
  runs = [
    execute(benchmark="split_digits", num_tasks=2, scenario=scenario, epochs=3)
    for scenario in ("task", "class", "domain")
  ]
  assert len({tuple(losses(run)) for run in runs}) == 3


def test_future_tasks_and_learning_curves(execute):
  plain, run = execute(), execute(evaluate_future_tasks=True, learning_curve_batches=3)
  assert np.isnan(matrix(plain)[0, 0, 1])
  assert not np.isnan(matrix(run)).any()
  rows, columns = np.tril_indices(2)
  np.testing.assert_array_equal(matrix(run)[0][rows, columns], matrix(plain)[0][rows, columns])
  assert "forward_transfer" not in plain[0]
  assert np.isfinite(run[0]["forward_transfer"]["mean"])
  untrained = next(line["accuracy_untrained"] for line in run[1] if "accuracy_untrained" in line)
  transfer = matrix(run)[0, 0, 1] - untrained[1]
  assert run[0]["forward_transfer"]["per_seed"] == [pytest.approx(transfer)]
  curves = run[2].trainer.record.curves
  assert [len(curve) for curve in curves[0]] == [4, 4]  # before any, and after each of three
  assert curves[0][0][0] == untrained[0]
  assert "learning_curve_area" not in plain[0]
  area = run[0]["learning_curve_area"]["per_seed"][0]
  assert area == pytest.approx(np.mean(curves))
  assert run[0]["learning_curves"] == curves
  assert run[0]["zero_shot_accuracy"]["per_seed"] == [pytest.approx(np.mean(curves[0], axis=0)[0])]


def test_zero_shot_accuracy_alone_changes_no_step(execute):
  plain, run = execute(), execute(learning_curve_batches=0)
  np.testing.assert_array_equal(matrix(run), matrix(plain))
  assert np.shape(run[0]["learning_curves"]) == (1, 2, 1)
  assert run[0]["zero_shot_accuracy"]["mean"] == pytest.approx(np.mean(run[0]["learning_curves"]))
  assert "learning_curve_area" not in run[0]


def test_validation_is_evaluated_instead(execute):
  run = execute(validation_fraction=0.2, evaluate_on="validation")
  assert run[2].stream.sizes[0][1] == 9
  assert run[2].stream.sizes[0][0] == 36
  counts = matrix(run)[0, 1] * 9
  np.testing.assert_allclose(counts, counts.round(), atol=1e-9)


STABLE = {"method": "stable_sgd", "learning_rate": 0.1, "epochs": 4}
SPLIT = {"benchmark": "split_digits", "num_tasks": 2, "epochs": 3}
DECAYED = STABLE | {"stable_sgd.decay": 0.5}
CHANGES = {
  "epochs": ({}, {"epochs": 2}),
  "batch_size": ({}, {"batch_size": 15}),
  "drop_last": ({}, {"drop_last": True}),
  "seed": ({}, {"seed": 2}),
  "data_seed": ({}, {"data_seed": 1}),
  "class_order": (
    SPLIT | {"scenario": "task"},
    SPLIT | {"scenario": "task", "class_order": "seeded"},
  ),
  "classes": (SPLIT, SPLIT | {"classes": "1-8"}),
  "classes_per_task": (SPLIT, SPLIT | {"classes_per_task": (6, 4)}),
  "task_order": (SPLIT, SPLIT | {"task_order": "1, 0, 1"}),
  "blurry_fraction": (SPLIT, SPLIT | {"blurry_fraction": 0.4}),
  "blurry_fraction, class": (
    SPLIT | {"scenario": "class"},
    SPLIT | {"scenario": "class", "blurry_fraction": 0.4},
  ),
  "train_fraction": (
    SPLIT | {"train_examples_per_task": None},
    SPLIT | {"train_examples_per_task": None, "train_fraction": 0.1},
  ),
  "label_noise": (SPLIT, SPLIT | {"label_noise": 0.3}),
  "normalization": ({}, {"normalization": "signed"}),
  "hidden": ({}, {"mlp.hidden": (9,)}),
  "dropout": ({}, {"mlp.dropout": 0.3}),
  "decay": (STABLE, DECAYED),
  "floor": (DECAYED, DECAYED | {"stable_sgd.floor": 0.06}),
  "momentum": (STABLE, STABLE | {"stable_sgd.momentum": 0.5}),
  "reset": (
    STABLE | {"stable_sgd.momentum": 0.5},
    STABLE | {"stable_sgd.momentum": 0.5, "stable_sgd.reset": "epoch"},
  ),
  "b": (
    {"method": "tag", "learning_rate": 0.01, "epochs": 4},
    {"method": "tag", "learning_rate": 0.01, "epochs": 4, "tag.b": 1.0},
  ),
  "bias_correction": (
    {"method": "tag_adam", "learning_rate": 0.01, "epochs": 4},
    {"method": "tag_adam", "learning_rate": 0.01, "epochs": 4, "tag.bias_correction": "epoch"},
  ),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_setting_changes_the_training(execute, key):
  before, after = (execute(**changes) for changes in CHANGES[key])
  assert losses(before) != losses(after)
  assert np.isfinite(losses(after)).all()


def test_settings_that_change_nothing_but_speed(execute):
  plain = execute()
  other = execute(eval_batch_size=7, chunk_steps=2, checkpoint_every=3, keep_checkpoints=1)
  np.testing.assert_array_equal(matrix(other), matrix(plain))
  assert len(losses(other)) > len(losses(plain))
  steps = [entry for entry in (other[3] / "checkpoints").iterdir() if entry.name.isdigit()]
  assert len(steps) == 1
  one_by_one = execute(chunk_steps=1)
  sums = np.asarray(losses(one_by_one)).reshape(2, 5).mean(axis=1)  # 45 examples: five steps
  np.testing.assert_allclose(sums, losses(plain), rtol=1e-5)


def test_test_examples_and_forgetting_definition(execute):
  plain = execute(num_tasks=3, epochs=3)
  diagonal = execute(num_tasks=3, epochs=3, forgetting="diagonal", test_examples_per_task=20)
  assert plain[0]["definitions"]["forgetting"] == "agem"
  assert diagonal[0]["definitions"]["forgetting"] == "diagonal"
  rows = matrix(diagonal)[0]
  np.testing.assert_allclose(rows[2] * 20, (rows[2] * 20).round(), atol=1e-9)
  expected = np.mean([rows[0, 0] - rows[2, 0], rows[1, 1] - rows[2, 1]])
  assert diagonal[0]["forgetting"]["per_seed"] == [pytest.approx(expected)]


@pytest.mark.parametrize("method", ["sgd", "tag"])
def test_two_devices_are_one(execute, method):
  settings = {"method": method, "learning_rate": 0.1 if method == "sgd" else 0.01}
  one, two = execute(**settings), execute(**settings, data_parallel=2)
  np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
  np.testing.assert_allclose(matrix(two), matrix(one), atol=1.5 / 40)  # one example at the border
  assert two[2].programs.traces["train", "train"] == 1


def test_more_devices_than_there_are(tiny, tmp_path):
  with pytest.raises(ConfigError, match=r"config\.data_parallel=9, but there are 4 devices"):
    run_config(tiny(data_parallel=9, batch_size=9), tmp_path)


@pytest.mark.product
def test_real_cifar10_on_the_reduced_resnet(execute, real_data):
  run = execute(
    benchmark="split_cifar10",
    data_dir=real_data,
    num_tasks=2,
    train_examples_per_task=30,
    test_examples_per_task=20,
    model="reduced_resnet",
    reduced_resnet__width=4,
    normalization="signed",
    method="tag",
    learning_rate=0.00025,
  )
  assert np.isfinite(losses(run)).all()
  assert run[2].programs.traces["train", "train"] == 1
  assert matrix(run).shape == (1, 2, 2)
  accuracies = matrix(run)[0][np.tril_indices(2)]
  assert ((accuracies >= 0) & (accuracies <= 1)).all()
