"""What the inner loops of iTAML cost as tasks grow: CPU time of a step, against SGD and ER.

At the last of T tasks; a third of the batch is of that task, the rest of all earlier ones alike, as
exemplars mixed into the training set make it. ER replays as many exemplars as the batch has rows.
Time is that of the process, so that what else the machine does counts little; the methods take
turns, and the smallest of some turns is printed.

  python -m bench.inner_loops [--model=mlp|rps_net] [--batch=128] [--turns=5]
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from tagjax.config import build, settings
from tagjax.core import passes
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import make_learner

TASKS, WIDTH, STEPS = (2, 5, 10, 20), 2, 5
METHODS = {
  "sgd": {},
  "er+sgd": {},
  "itaml+sgd": {},
  "itaml+sgd r=2": {"itaml.r": 2},
  "itaml+sgd reference": {"itaml.variant": "reference"},
}
MODELS = {
  "mlp": ((28, 28, 1), {"mlp.hidden": (400, 400)}),
  "rps_net": ((32, 32, 3), {}),
}


def batch_of(spec: StreamSpec, rows: int) -> Batch:
  rng = np.random.default_rng(0)
  newest = np.full(rows - rows * 2 // 3, spec.num_tasks - 1)
  task = rng.permutation([*newest, *np.arange(rows * 2 // 3) % (spec.num_tasks - 1)])
  image = rng.integers(0, 256, (rows, *spec.image_shape), np.uint8)
  label = WIDTH * task + rng.integers(0, WIDTH, rows)
  columns = (jnp.asarray(image), jnp.asarray(label, jnp.int32), jnp.asarray(task, jnp.int32))
  return Batch(*columns, mask=jnp.ones(rows, bool))


def rows_of_passes(batch: Batch, num_tasks: int) -> int:
  counts = np.bincount(np.asarray(batch.task_id), minlength=num_tasks)
  sizes = passes.pass_sizes(len(batch.mask))
  return sum(min(size for size in sizes if size >= count) for count in counts if count)


def stepper(name: str, model: str, spec: StreamSpec, batch: Batch):
  """A function that takes some steps, compiled."""
  changes = {"method": name.split()[0], "model": model, **METHODS[name], **MODELS[model][1]}
  rows = len(batch.mask)
  values = settings.typed(
    {"learning_rate": 1e-4, "batch_size": rows, "memory.capacity": 50, **changes}
  )
  method = build.build_method(values, spec, [10] * spec.num_tasks)({})
  learner = make_learner(build.build_model(values, spec), method, spec)

  @functools.partial(jax.jit, donate_argnums=0)
  def steps(state):
    def body(_, state):
      return learner.step(state, batch, jnp.int32(spec.num_tasks - 1), phase="train")[0]

    return jax.lax.fori_loop(0, STEPS, body, state)

  state = jax.block_until_ready(steps(learner.init(jax.random.key(0))))

  def turn():
    nonlocal state
    start = time.process_time()
    state = jax.block_until_ready(steps(state))
    return (time.process_time() - start) / STEPS

  return turn


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="mlp", choices=MODELS)
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--turns", type=int, default=5)
  options = parser.parse_args()
  print(f"{options.model}, batch {options.batch}, sizes {passes.pass_sizes(options.batch)}")
  print(f"{'CPU ms a step':20}", *(f"T={number:<6}" for number in TASKS))
  table = {name: [] for name in METHODS}
  rows = []
  for tasks in TASKS:
    classes = np.eye(tasks, dtype=bool).repeat(WIDTH, axis=1)
    shape = MODELS[options.model][0]
    spec = StreamSpec(tasks, tasks * WIDTH, classes, "class", shape)
    batch = batch_of(spec, options.batch)
    rows.append(rows_of_passes(batch, tasks))
    turns = {name: stepper(name, options.model, spec, batch) for name in METHODS}
    times = {name: [] for name in METHODS}
    for _ in range(options.turns):
      for name, turn in turns.items():
        times[name].append(turn())
    for name in METHODS:
      table[name].append(1e3 * min(times[name]))
  for name, values in table.items():
    print(f"{name:20}", *(f"{value:<8.2f}" for value in values))
  print(f"{'rows of inner passes':20}", *(f"{value:<8d}" for value in rows))


if __name__ == "__main__":
  main()
