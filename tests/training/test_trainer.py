"""What the trainer tells each step, and the choice of the best epoch."""

import contextlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax import benchmarks, fit
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.method import Phase, identity, lift
from tagjax.report.progress import Progress
from tagjax.storage.workdir import NoLog
from tagjax.training.assemble import assemble
from tagjax.training.options import RunOptions
from tagjax.training.train_stream import Cursor, train_stream
from tagjax.training.trainer import Trial
from tests import helpers
from tests.contract import sketches
from tests.softmax_regression import Linear

SIZES = (7, 9)


def notes(params):
  del params
  return {"rows": jnp.full((40, 7), -1, jnp.int32), "count": jnp.int32(0)}


def note(updates, state, params=None, *, task_id, epoch_step, **extra):
  del params, extra
  row = jnp.stack([task_id, *epoch_step])
  rows = state["rows"].at[state["count"]].set(row)
  return updates, {"rows": rows, "count": state["count"] + 1}


def stream():
  images = np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1), np.uint8)
  tasks = []
  for task, size in enumerate(SIZES):
    label = np.arange(size) % 2 + 2 * task
    tasks.append((images[:size], label, images[:2], label[:2]))
  return benchmarks.Stream.from_arrays("mine", tasks, scenario="class")


def told(method, **options):
  """`[N, 7]`: task (twice), visit, task_epoch, epoch, step and num_steps of each step of a run."""
  options = RunOptions(batch_size=3, chunk_steps=2, **options)
  tasks = stream()
  method = chain(method(tasks.spec), optax.GradientTransformationExtraArgs(notes, note))
  trainer, _ = assemble(tasks, Linear(4), method, [Trial(1)], options)
  trainer.open(NoLog(), Progress(1, enabled=False))
  trace = types.SimpleNamespace(around=lambda name: contextlib.nullcontext())
  stop = types.SimpleNamespace(requested=False)
  cursor = Cursor(trainer, None, NoLog(), trace, stop, 0, 0.0, lambda name: None, None, 0)
  train_stream(trainer, options, cursor)
  count = int(trainer.state.method[-1]["count"])
  assert count == trainer.record.steps
  return np.asarray(trainer.state.method[-1]["rows"])[:count].tolist()


def rehearsing(spec):
  return sketches.rehearsing(2, spec)


def two_phases(spec):
  del spec
  return lift(optax.sgd(0.1))._replace(phases=(Phase("select", 1), Phase("expand")))


# Task, visit, epochs of each phase, steps of an epoch.
EXPECTED = {
  "plain": (lambda spec: identity(), {"epochs": 2}, [(0, 0, (2,), 3), (1, 1, (2,), 3)]),
  "rehearsing": (rehearsing, {"epochs": 2}, [(0, 0, (2,), 3), (1, 1, (2,), 5)]),
  "phases": (two_phases, {"epochs": 2}, [(0, 0, (1, 2), 3), (1, 1, (1, 2), 3)]),
  "epochs": (lambda spec: identity(), {"epochs": (1, 3)}, [(0, 0, (1,), 3), (1, 1, (3,), 3)]),
  "cycles": (
    lambda spec: identity(),
    {"protocol": "multitask", "cycles": 2},
    [(0, 0, (1,), 3), (1, 1, (1,), 3), (0, 2, (1,), 3), (1, 3, (1,), 3)],
  ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_step_is_told_where_it_stands(name):
  method, options, visits = EXPECTED[name]
  expected = [
    [task, task, visit, sum(phases[:phase]) + epoch, epoch, step, steps]
    for task, visit, phases, steps in visits
    for phase, epochs in enumerate(phases)
    for epoch in range(epochs)
    for step in range(steps)
  ]
  assert told(method, **options) == expected


RATE = 3.0  # so large that a later epoch is often worse


def noisy(scenario="class"):
  spec = helpers.spec(scenario, num_tasks=2)
  tasks = []
  for task in range(2):
    shown, test = (helpers.examples(spec, task, 40, seed)[:2] for seed in (0, 1))
    shown = (shown[0], np.where(np.arange(40) % 4 == 0, shown[1] ^ 1, shown[1]))  # wrong labels
    tasks.append((*shown, *test))
  return benchmarks.Stream.from_arrays("noisy", tasks, scenario=scenario, validation_fraction=0.5)


def train(tasks, method=None, **options):
  model = helpers.TinyModel(tasks.spec.num_outputs, width=4, batch_norm=True)
  given = {"batch_size": 8, "progress": False, "chunk_steps": 2} | options
  return fit(tasks, model, method or optax.sgd(RATE), **given).results


@pytest.fixture(scope="module")
def best():
  options = {"select_epoch": "best", "peak_accuracy": True, "epochs": (4, 3), "seeds": 2}
  return train(noisy(), **options, seed_axis="loop")


def test_the_weights_of_the_best_epoch_are_put_back(best):
  """A run that ends after that epoch has the same weights: the same accuracy on any example."""
  seed = 0
  validated = np.mean(best["validation_accuracy"][seed][0], axis=1)
  chosen = best["chosen_epoch"][seed][0]
  assert chosen == validated.argmax() < 3
  for part, expected in (
    ("validation", validated[chosen]),
    ("test", best["accuracy_matrix"][seed][0][0]),
  ):
    alone = train(noisy(), evaluate_on=part, epochs=chosen + 1, seed=1 + seed)
    assert alone["accuracy_matrix"][0][0][0] == expected
  # The method predicts as the model does, so that the peak is the same epoch of the first task.
  assert best["peak_epochs"][seed][0] == chosen
  assert best["peak_accuracies"][seed][0] == best["accuracy_matrix"][seed][0][0]


def test_all_tasks_seen_are_validated_after_each_epoch(best):
  shapes = [[np.shape(rows) for rows in of_seed] for of_seed in best["validation_accuracy"]]
  assert shapes == [[(4, 1), (3, 2)]] * 2
  for rows, chosen in zip(best["validation_accuracy"], best["chosen_epoch"], strict=True):
    assert chosen[1] == np.mean(rows[1], axis=1).argmax()
  assert best["epoch_validation"] == best["validation_accuracy"]


def test_a_peak_is_the_first_best_epoch_as_the_method_predicts():
  def predict(served, *, at):
    return jnp.zeros((len(at.batch.mask), 4))  # always the first class of the task

  method = lift(optax.sgd(RATE))._replace(predict=predict)
  found = train(noisy("task"), method, peak_accuracy=True, epochs=2)
  assert found["peak_epochs"] == [[0, 0]]
  matrix = np.array(found["accuracy_matrix"][0], float)
  assert found["peak_accuracies"] == [matrix[1].tolist()]
  assert found["final_to_peak"]["mean"] == 1
  rows = found["epoch_validation"][0]
  assert rows[0][0] == rows[0][1] == rows[1][0][:1]
  assert found["final_validation_accuracy"]["mean"] == np.mean(rows[1][1])


def test_each_network_of_its_own_has_its_peak():
  options = {"peak_accuracy": True, "epochs": 3, "protocol": "independent"}
  found = train(noisy("task"), **options)
  values = [np.ravel(rows) for rows in found["epoch_validation"][0]]
  assert found["peak_epochs"] == [[value.argmax() for value in values]]
  assert found["final_validation_accuracy"]["mean"] == np.mean([value[-1] for value in values])


@pytest.mark.parametrize(
  "options", [{"seed_axis": "devices"}, {"seed_axis": "vmap", "data_parallel": 2}]
)
def test_the_choice_is_the_same_side_by_side_and_on_several_devices(best, options):
  options |= {"select_epoch": "best", "peak_accuracy": True, "epochs": (4, 3), "seeds": 2}
  found = train(noisy(), **options)
  for key in ("chosen_epoch", "validation_accuracy", "accuracy_matrix", "peak_accuracies"):
    assert found[key] == best[key]


def test_consolidation_sees_the_weights_of_the_best_epoch():
  """And each phase of a task has a best epoch of its own."""
  seen = []

  def look(state, variables, *, at):
    jax.debug.callback(lambda w: seen.append(np.array(w)), variables["params"]["Dense_0"]["kernel"])
    return state, variables

  phases = (Phase("select", 3), Phase("expand", 2))
  method = lift(optax.sgd(RATE))._replace(consolidate=look, phases=phases, num_boundary_examples=0)
  found = train(noisy(), method, select_epoch="best", seed=2)
  values = [np.mean(rows, axis=1) for rows in found["validation_accuracy"][0]]
  assert [len(value) for value in values] == [5, 5]
  assert found["chosen_epoch"][0] == [3 + value[3:].argmax() for value in values]
  alone = lift(optax.sgd(RATE))._replace(consolidate=look, num_boundary_examples=0)
  train(noisy(), alone, epochs=int(values[0][:3].argmax()) + 1, seed=2)
  np.testing.assert_array_equal(seen[0], seen[4])


def test_tasks_that_come_again_are_trained_as_in_cycles():
  found = train(noisy("task"), visit_order="0-1, 0-1", peak_accuracy=True)
  cycles = train(noisy("task"), protocol="multitask", cycles=2)
  assert found["accuracy_matrix"][0][1] == cycles["accuracy_matrix"][0][1]
  assert None not in found["accuracy_matrix"][0][0]  # after the second stay at it
  assert [np.shape(rows) for rows in found["epoch_validation"][0][1]] == [(2,), (2,)]
  with pytest.raises(ConfigError, match="in the scenario 'class' the outputs in use depend"):
    train(noisy(), visit_order=(0, 1, 0, 1))
  with pytest.raises(ConfigError, match="is for protocol='sequential', not 'joint'"):
    train(noisy(), visit_order=(0, 1), protocol="joint")


def test_the_best_epoch_needs_validation_examples():
  with pytest.raises(ConfigError, match="task 0 has no validation examples: give a validation_fr"):
    train(stream(), select_epoch="best")
  with pytest.raises(ConfigError, match=r"epochs=\(1, 2, 3\): has 3 numbers for 2 tasks"):
    train(stream(), epochs=(1, 2, 3))
