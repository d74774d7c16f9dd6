"""What the trainer tells each step: a transformation notes it."""

import contextlib
import types

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax import benchmarks
from tagjax.core.method import Phase, chain, identity, lift
from tagjax.report.progress import Progress
from tagjax.storage.workdir import NoLog
from tagjax.training.assemble import assemble
from tagjax.training.fit import Cursor, train_stream
from tagjax.training.options import RunOptions
from tagjax.training.trainer import Trial
from tests.contract import sketches
from tests.softmax_regression import Linear

SIZES = (7, 9)


def notes(params):
  del params
  return {"rows": jnp.full((40, 6), -1, jnp.int32), "count": jnp.int32(0)}


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
  """`[N, 6]`: task, visit, task_epoch, epoch, step and num_steps of each step of a run."""
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
    [task, visit, sum(phases[:phase]) + epoch, epoch, step, steps]
    for task, visit, phases, steps in visits
    for phase, epochs in enumerate(phases)
    for epoch in range(epochs)
    for step in range(steps)
  ]
  assert told(method, **options) == expected
