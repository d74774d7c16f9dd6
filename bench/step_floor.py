"""A training step inside tagjax's compiled loop against the same loop written by hand.

A perceptron 784-100-100 with an output for each of 10 classes, five tasks, task-incremental,
batches of 10, on random images; SGD, and ER with a reservoir. `bench/handwritten.py` is the other
side. A round is an epoch of each, in turns, so that what else the machine does hits both: by hand
in one call, tagjax in chunks as a run has them. The medians of the rounds are printed, and the
median of the rounds' ratios.

  python -m bench.step_floor [--rounds=11] [--examples=12000] [--chunk=100] [--methods=sgd,er]
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from bench import handwritten
from bench.train_step import make_programs
from tagjax.core.types import StreamSpec
from tagjax.input_pipeline.device_examples import DeviceExamples

TASKS, CLASSES, BATCH, HIDDEN, CAPACITY = 5, 2, 10, (100, 100), 20
TASK = TASKS - 1


def stream_spec() -> StreamSpec:
  classes = np.kron(np.eye(TASKS, dtype=bool), np.ones((1, CLASSES), bool))
  return StreamSpec(TASKS, TASKS * CLASSES, classes, "task", (28, 28, 1))


def random_data(spec: StreamSpec, size: int) -> handwritten.Data:
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (size, *spec.image_shape), np.uint8)
  label = rng.integers(TASK * CLASSES, (TASK + 1) * CLASSES, size, np.int32)
  return handwritten.Data(*map(jnp.asarray, (image, label, np.full(size, TASK, np.int32))))


class ByHand:
  """The loop of `bench/handwritten.py`, with donated parameters and memory."""

  def __init__(self, method: str, spec: StreamSpec, data: handwritten.Data):
    widths = (int(np.prod(spec.image_shape)), *HIDDEN, spec.num_outputs)
    self._data = data
    params = handwritten.init_params(jax.random.key(0), widths)
    memory = handwritten.empty_memory(CAPACITY * spec.num_outputs, data)
    self._carry = (params, memory) if method == "er" else (params,)
    loop = handwritten.er_loop if method == "er" else handwritten.sgd_loop
    given = functools.partial(loop, classes=spec.classes, batch_size=BATCH)
    self._run = jax.jit(
      lambda carry, data, key, steps: given(*carry, data, key=key, steps=steps), donate_argnums=0
    )

  def seconds(self, number: int, steps: int) -> float:
    start = time.perf_counter()
    *carry, total = self._run(self._carry, self._data, jax.random.key(number), steps)
    float(total)
    self._carry = tuple(carry)
    return time.perf_counter() - start


class Ours:
  """The program of `launch.py`."""

  def __init__(self, method: str, spec: StreamSpec, data: handwritten.Data, chunk: int):
    self._chunk = chunk
    settings = {
      "model": "mlp",
      "mlp.hidden": HIDDEN,
      "batch_size": BATCH,
      "method": method if method == "sgd" else f"{method}+sgd",
      "learning_rate": handwritten.RATE,
    }
    if method != "sgd":
      settings["memory.capacity"] = CAPACITY
    size = len(data.label)
    self._programs = make_programs(spec, [size // BATCH] * TASKS, **settings)
    self._examples = DeviceExamples(*data, index=jnp.arange(size), size=jnp.int32(size))
    self._state = self._programs.init(jax.random.key(0)[None])

  def seconds(self, number: int, steps: int) -> float:
    start, phase = time.perf_counter(), self._programs.phases[0].name
    for first in range(0, steps, self._chunk):
      last = min(first + self._chunk, steps)
      self._state, chunk = self._programs.train(
        self._state, self._examples, TASK, number, first, last, phase=phase
      )
      assert int(chunk.steps[0]) == last - first, "the loss diverged"  # waits for the device
    return time.perf_counter() - start


def compare(method: str, size: int, chunk: int, rounds: int) -> tuple[list[float], list[float]]:
  """Milliseconds a step of each round, by hand and ours."""
  spec = stream_spec()
  data = random_data(spec, size)
  sides = (ByHand(method, spec, data), Ours(method, spec, data, chunk))
  found: tuple[list[float], list[float]] = ([], [])
  steps = size // BATCH
  for number in range(rounds + 2):  # the first two compile and fill the memory
    for side, times in zip(sides, found, strict=True):
      milliseconds = 1e3 * side.seconds(number, steps) / steps
      if number >= 2:
        times.append(milliseconds)
  return found


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=11)
  parser.add_argument("--chunk", type=int, default=100, help="steps of a call of tagjax")
  parser.add_argument("--examples", type=int, default=12000, help="of an epoch")
  parser.add_argument("--methods", default="sgd,er", help="comma-separated")
  options = parser.parse_args()
  print(
    f"jax {jax.__version__}, {jax.devices()[0].device_kind}; MLP 784-100-100, batch {BATCH}; "
    f"median ms a step of {options.rounds} epochs of {options.examples} examples"
  )
  print(f"{'method':8}{'by hand':>10}{'tagjax':>10}{'ratio':>8}")
  for method in options.methods.split(","):
    by_hand, ours = compare(method, options.examples, options.chunk, options.rounds)
    ratio = statistics.median(o / h for o, h in zip(ours, by_hand, strict=True))
    print(
      f"{method:8}{statistics.median(by_hand):10.4f}{statistics.median(ours):10.4f}{ratio:8.2f}",
      flush=True,
    )


if __name__ == "__main__":
  main()
