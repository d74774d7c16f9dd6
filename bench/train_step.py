"""Training steps per second inside the compiled loop, compile seconds and peak memory.

The program that `launch.py` runs (`tagjax.engine.programs.Programs`), on random images: forward
pass, gradient and method on batches of 10. Called repeatedly for `--steps` steps of the last task,
where TAG has the most to weigh; the median, fastest and slowest repeat are printed.

  python bench/train_step.py [--method=tag] [--models=mlp,reduced_resnet] [--steps=100]
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from types import SimpleNamespace

import jax
import numpy as np
import psutil

from tagjax.config import build
from tagjax.config.validate import validate
from tagjax.core.types import StreamSpec
from tagjax.engine.learner import make_learner
from tagjax.engine.programs import Programs
from tagjax.input_pipeline.device_examples import to_device

TASKS, CLASSES, BATCH = 20, 5, 10
IMAGES = {"mlp": (28, 28, 1), "reduced_resnet": (32, 32, 3)}


def stream_spec(model: str) -> StreamSpec:
  classes = np.kron(np.eye(TASKS, dtype=bool), np.ones((1, CLASSES), bool))
  return StreamSpec(TASKS, TASKS * CLASSES, classes, "task", IMAGES[model])


def examples(spec: StreamSpec, count: int):
  """Random examples of the last task, on the device."""
  rng = np.random.default_rng(0)
  first = spec.num_outputs - CLASSES
  task = SimpleNamespace(
    image=rng.integers(0, 256, (count, *spec.image_shape), np.uint8),
    label=rng.integers(first, spec.num_outputs, count),
    task_id=np.full(count, TASKS - 1),
  )
  return to_device(task, count)


def make_programs(
  spec: StreamSpec, steps: Sequence[int], *, eval_batch_size=256, in_order=False, **changes
) -> Programs:
  """The programs of `launch.py` for these settings, by key of the config, and steps of an epoch."""
  settings = validate(changes)
  learner = make_learner(
    build.build_model(settings, spec),
    build.build_method(settings, spec, steps)({}),
    spec,
    normalization=settings["normalization"],
  )
  return Programs(
    learner,
    learner,
    batch_size=settings["batch_size"],
    eval_batch_size=eval_batch_size,
    in_order=in_order,
  )


def measure(model: str, method: str, steps: int, repeats: int, **changes):
  """Seconds to compile, and steps per second of each repeat; `changes` by key of the config."""
  spec = stream_spec(model)
  # A small learning rate: random labels must not make the loss diverge.
  settings = {"model": model, "method": method, "learning_rate": 1e-4, "batch_size": BATCH}
  programs = make_programs(spec, [steps] * TASKS, **settings | changes)
  data = examples(spec, steps * BATCH)
  state = programs.init(jax.random.key(0)[None])
  phase = programs.phases[0].name

  def train(state, epoch, stop):
    state, chunk = programs.train(state, data, TASKS - 1, epoch, 0, stop, phase=phase)
    assert int(chunk.steps[0]) == stop, "the loss diverged"  # int() waits for the device
    return state

  before = programs.compile_seconds
  state = train(state, 0, 2)
  compiling = programs.compile_seconds - before
  rates = []
  for epoch in range(1, repeats + 1):
    start = time.perf_counter()
    state = train(state, epoch, steps)
    rates.append(steps / (time.perf_counter() - start))
  return compiling, rates


def peak_memory() -> float:
  """Largest resident memory of this process so far, in MiB."""
  memory = psutil.Process().memory_info()
  if hasattr(memory, "peak_wset"):  # Windows
    return memory.peak_wset / 2**20
  import resource

  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2**20 if psutil.MACOS else 2**10)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--method", default="tag", help='as config.method, such as "sgd"')
  parser.add_argument("--models", default=",".join(IMAGES), help="comma-separated")
  parser.add_argument("--steps", type=int, default=100, help="steps of one call")
  parser.add_argument("--repeats", type=int, default=7)
  options = parser.parse_args()
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; {options.method}, batch {BATCH}")
  print(
    f"{'model':16}{'compile s':>10}{'steps/s':>10}{'slowest':>10}{'fastest':>10}{'peak MiB':>10}"
  )
  for model in options.models.split(","):
    compiling, rates = measure(model, options.method, options.steps, options.repeats)
    figures = (statistics.median(rates), min(rates), max(rates), peak_memory())
    print(f"{model:16}{compiling:10.1f}" + "".join(f"{figure:10.0f}" for figure in figures))


if __name__ == "__main__":
  main()
