"""Milliseconds a seed-step of several seeds: side by side, in turn, and shared out to devices.

The training program of `launch.py` on random images, split Fashion-MNIST's shapes (five tasks of
two classes, batches of 10) and split CIFAR-10's, at the last task. "vmap" trains the seeds of a
device side by side, "turns" one after another in one program; each on one device, and on as many
as the machine has cores. Rounds of all ways alternate; medians. A seed-step is a step of one seed:
wall time over steps and seeds.

  python -m bench.seeds [--seeds=4] [--steps=300] [--rounds=5] [--only=sgd,er,tag,resnet]
"""

import argparse
import statistics
import time
from types import SimpleNamespace

import jax
import numpy as np

from tagjax.config import build
from tagjax.config.validate import validate
from tagjax.core.types import StreamSpec
from tagjax.engine.layout import Layout
from tagjax.engine.learner import make_learner
from tagjax.engine.programs import Programs
from tagjax.input_pipeline.device_examples import to_device
from tagjax.training.cpu_devices import use_cpu_devices

TASKS, CLASSES, BATCH = 5, 2, 10
# Model, method, image; divisors of the seeds and of the steps.
CASES = {
  "sgd": ("mlp", "sgd", (28, 28, 1), 1, 1),
  "er": ("mlp", "er", (28, 28, 1), 1, 1),
  "tag": ("mlp", "tag", (28, 28, 1), 1, 1),
  "resnet": ("reduced_resnet", "tag", (32, 32, 3), 2, 30),
}


class Way:
  """The seeds of one case, placed in one way."""

  def __init__(self, case: str, layout: Layout, steps: int):
    model, method, image, *_ = CASES[case]
    classes = np.kron(np.eye(TASKS, dtype=bool), np.ones((1, CLASSES), bool))
    spec = StreamSpec(TASKS, TASKS * CLASSES, classes, "task", image)
    # A small learning rate: random labels must not make the loss diverge.
    settings = validate({"model": model, "method": method, "learning_rate": 1e-4})
    learner = make_learner(
      build.build_model(settings, spec),
      build.build_method(settings, spec, [steps] * TASKS)({}),
      spec,
    )
    self._programs = Programs(
      learner, learner, batch_size=BATCH, eval_batch_size=256, layout=layout
    )
    rng = np.random.default_rng(0)
    task = SimpleNamespace(
      image=rng.integers(0, 256, (steps * BATCH, *image), np.uint8),
      label=rng.integers((TASKS - 1) * CLASSES, TASKS * CLASSES, steps * BATCH),
      task_id=np.full(steps * BATCH, TASKS - 1),
    )
    self._data, self._layout, self._epoch = to_device(task, steps * BATCH), layout, 0
    self._state = self._programs.init(jax.random.split(jax.random.key(0), layout.num_lanes))
    self.milliseconds(2)  # compiles

  def milliseconds(self, steps: int) -> float:
    """Of a seed-step."""
    start, self._epoch = time.perf_counter(), self._epoch + 1
    self._state, chunk = self._programs.train(
      self._state, self._data, TASKS - 1, self._epoch, 0, steps, phase="train"
    )
    assert (chunk.steps == steps).all(), "the loss diverged"
    return 1e3 * (time.perf_counter() - start) / steps / self._layout.num_lanes


def ways(seeds: int) -> dict[str, Layout]:
  devices = min(jax.device_count(), seeds)
  return {
    "one seed": Layout(),
    "vmap": Layout(seeds),
    "turns": Layout(seeds, in_turn=True),
    f"vmap, {devices} devices": Layout(seeds, devices, share_lanes=True),
    f"turns, {devices} devices": Layout(seeds, devices, share_lanes=True, in_turn=True),
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=4)
  parser.add_argument("--steps", type=int, default=300, help="steps of one call")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--only", default=",".join(CASES), help="comma-separated")
  options = parser.parse_args()
  use_cpu_devices()
  print(f"jax {jax.__version__}, {jax.device_count()} x {jax.devices()[0].device_kind}")
  for case in options.only.split(","):
    model, method, _, fewer_seeds, fewer_steps = CASES[case]
    seeds, steps = max(2, options.seeds // fewer_seeds), max(2, options.steps // fewer_steps)
    made = {name: Way(case, layout, steps) for name, layout in ways(seeds).items()}
    times = {name: [] for name in made}
    for _ in range(options.rounds):
      for name, way in made.items():
        times[name].append(way.milliseconds(steps))
    figures = (f"{name} {statistics.median(found):.3f}" for name, found in times.items())
    print(f"{method}, {model}, {seeds} seeds: {'; '.join(figures)}", flush=True)


if __name__ == "__main__":
  main()
