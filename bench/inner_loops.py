"""What the inner loops of iTAML cost as tasks are seen: CPU time of a step and of an epoch.

Beside SGD and ER, which replays as many exemplars as the batch has rows. iTAML's exemplars are
mixed into the training set: of a batch the newest task has the share that its examples have, the
earlier tasks the rest alike, and an epoch is longer by the exemplars. So the share of the newest
task does not change with the number of tasks seen, and the figures show what the tasks cost alone.
Time is that of the process, so that what else the machine does counts little; the methods take
turns, and the smallest of some turns is printed. Batch, examples and exemplars are those of
docs/class_incremental.md (RPS-net: those of configs/itaml_svhn.py).

  python -m bench.inner_loops [--model=mlp|reduced_resnet|rps_net] [--tasks=2,5,10] [--batch=N]
                              [--turns=4]
"""

import argparse
import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tagjax.config import build, settings
from tagjax.core import passes
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import make_learner

WIDTH = 2
METHODS = {
  "sgd": {},
  "er+sgd": {},
  "itaml+sgd": {},
  "itaml+sgd r=2": {"itaml.r": 2},
  "itaml+sgd reference": {"itaml.variant": "reference"},
}


class Case(NamedTuple):
  """A model and its stream.

  Attributes:
    image: shape of an image.
    settings: of the model.
    batch: rows of a batch.
    new: training examples of a task.
    exemplars: in all.
    steps: of a turn.
    methods: what is measured by default.
  """

  image: tuple[int, ...]
  settings: dict
  batch: int
  new: int
  exemplars: int
  steps: int
  methods: tuple[str, ...] = tuple(METHODS)


CASES = {
  "mlp": Case((28, 28, 1), {"mlp.hidden": (400, 400)}, 256, 12000, 2000, 5),
  "reduced_resnet": Case((32, 32, 3), {}, 32, 2000, 500, 1, tuple(METHODS)[:3]),
  "rps_net": Case((32, 32, 3), {}, 256, 12000, 2000, 1, tuple(METHODS)[:3]),
}


def batch_of(spec: StreamSpec, case: Case, tasks: int) -> Batch:
  """A batch of the last of so many tasks."""
  rng = np.random.default_rng(0)
  newest = round(case.batch * case.new / (case.new + case.exemplars))
  old = np.arange(case.batch - newest) % (tasks - 1)
  task = rng.permutation([*np.full(newest, tasks - 1), *old])
  image = rng.integers(0, 256, (case.batch, *spec.image_shape), np.uint8)
  label = WIDTH * task + rng.integers(0, WIDTH, case.batch)
  columns = (jnp.asarray(image), jnp.asarray(label, jnp.int32), jnp.asarray(task, jnp.int32))
  return Batch(*columns, mask=jnp.ones(case.batch, bool))


def rows_of_passes(batch: Batch, num_tasks: int) -> int:
  counts = np.bincount(np.asarray(batch.task_id), minlength=num_tasks)
  sizes = passes.pass_sizes(len(batch.mask))
  return sum(min(size for size in sizes if size >= count) for count in counts if count)


def stepper(name: str, model: str, case: Case, spec: StreamSpec):
  """From a batch and the number of tasks seen to CPU seconds a step; compiled once."""
  changes = {"method": name.split()[0], "model": model, **METHODS[name], **case.settings}
  values = settings.typed(
    {"learning_rate": 1e-4, "batch_size": case.batch, "memory.capacity": 50, **changes}
  )
  method = build.build_method(values, spec, [10] * spec.num_tasks)({})
  learner = make_learner(build.build_model(values, spec), method, spec)

  @functools.partial(jax.jit, donate_argnums=0)
  def steps(state, batch, task):
    def body(_, state):
      return learner.step(state, batch, task, phase="train")[0]

    return jax.lax.fori_loop(0, case.steps, body, state)

  state = learner.init(jax.random.key(0))

  def turn(batch: Batch, tasks: int) -> float:
    nonlocal state
    start = time.process_time()
    state = jax.block_until_ready(steps(state, batch, jnp.int32(tasks - 1)))
    return (time.process_time() - start) / case.steps

  return turn


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="mlp", choices=CASES)
  parser.add_argument("--tasks", default="2,5,10", help="seen, comma-separated")
  parser.add_argument("--batch", type=int, help="rows, other than those of the page")
  parser.add_argument("--turns", type=int, default=4)
  options = parser.parse_args()
  case, seen = CASES[options.model], [int(number) for number in options.tasks.split(",")]
  case = case._replace(batch=options.batch or case.batch)
  classes = np.eye(max(seen), dtype=bool).repeat(WIDTH, axis=1)
  spec = StreamSpec(max(seen), max(seen) * WIDTH, classes, "class", case.image)
  batches = {tasks: batch_of(spec, case, tasks) for tasks in seen}
  turns = {name: stepper(name, options.model, case, spec) for name in case.methods}
  times = {(name, tasks): [] for name in case.methods for tasks in seen}
  for _ in range(1 + options.turns):  # the first one compiles
    for tasks, batch in batches.items():
      for name, turn in turns.items():
        times[name, tasks].append(turn(batch, tasks))
  best = {key: min(values[1:]) for key, values in times.items()}
  print(
    f"{options.model}, batch {case.batch}, {case.new} new examples, {case.exemplars} exemplars, "
    f"passes of {passes.pass_sizes(case.batch)} rows"
  )
  print(f"{'CPU ms a step':24}", *(f"{f'{tasks} tasks':>9}" for tasks in seen))
  for name in case.methods:
    print(f"{name:24}", *(f"{1e3 * best[name, tasks]:9.1f}" for tasks in seen))
  print(f"{'CPU s an epoch':24}")
  for name in case.methods:
    mixed = case.exemplars if name.startswith("itaml") else 0
    number = -(-(case.new + mixed) // case.batch)
    print(f"{name:24}", *(f"{number * best[name, tasks]:9.2f}" for tasks in seen))
  counts = (rows_of_passes(batches[tasks], tasks) for tasks in seen)
  print(f"{'rows of inner passes':24}", *(f"{count:9d}" for count in counts))


if __name__ == "__main__":
  main()
