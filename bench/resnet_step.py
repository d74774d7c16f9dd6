"""A training step of the reduced ResNet, here and in PyTorch eager and compiled, in one run.

SGD, batches of 10 random images of 32 x 32. Ours is the compiled loop that launch.py runs;
PyTorch's is the model of bench/torch_split_cifar10.py, called from Python. All take turns. The
share is that of the machine's rate of float32 matrix products (1024 x 1024, by XLA), with three
times the forward pass's multiplications and additions in convolutions as the work of a step.

  python -m bench.resnet_step [--rounds=7] [--steps=30] [--threads=2] [--compile]
"""

import argparse
import os
import statistics
import time

import jax
import jax.numpy as jnp
import torch
from torch.nn import functional

from bench.torch_split_cifar10 import ReducedResNet
from bench.train_step import CLASSES, TASKS, examples, make_programs, stream_spec
from tagjax.core.types import StreamSpec

BATCH, SIZE = 10, 1024
RATE = 1e-4  # small: random labels must not make the loss diverge


def work() -> float:
  """Floating point operations of a step: those of the convolutions, forward and both gradients."""
  side, total = 32, 2 * 32 * 32 * 9 * 3 * 20
  before = 20
  for width, stride in ((20, 1), (40, 2), (80, 2), (160, 2)):
    side //= stride
    shortcut = before * width if stride > 1 else 0
    total += 2 * side * side * (9 * before * width + 9 * width * width + shortcut)
    before = width
  return 3.0 * BATCH * total


class Ours:
  """Steps inside the compiled loop."""

  def __init__(self, spec: StreamSpec, steps: int):
    settings = {"model": "reduced_resnet", "method": "sgd", "learning_rate": RATE}
    self.programs = make_programs(
      spec, [steps] * TASKS, eval_batch_size=BATCH, batch_size=BATCH, **settings
    )
    self.state = self.programs.init(jax.random.key(0)[None])
    self.data = examples(spec, steps * BATCH)
    self.steps = steps

  def seconds(self) -> float:
    start = time.perf_counter()
    self.state, chunk = self.programs.train(
      self.state, self.data, TASKS - 1, 0, 0, self.steps, phase="train"
    )
    assert int(chunk.steps[0]) == self.steps, "the loss diverged"  # int() waits for the device
    return (time.perf_counter() - start) / self.steps


class Theirs:
  """Steps called from Python, as PyTorch's users do."""

  def __init__(self, num_outputs: int, steps: int, compiled: bool):
    self.network = ReducedResNet(num_outputs)
    self.forward = torch.compile(self.network) if compiled else self.network
    self.optimizer = torch.optim.SGD(self.network.parameters(), RATE)
    self.image = torch.randn(steps, BATCH, 3, 32, 32)
    self.label = torch.randint(num_outputs - CLASSES, num_outputs, (steps, BATCH))
    self.inactive = torch.arange(num_outputs) < num_outputs - CLASSES

  def seconds(self) -> float:
    start = time.perf_counter()
    for image, label in zip(self.image, self.label, strict=True):
      self.optimizer.zero_grad()
      logits = self.forward(image).masked_fill(self.inactive, -1e9)
      functional.cross_entropy(logits, label).backward()
      self.optimizer.step()
    return (time.perf_counter() - start) / len(self.image)


class Product:
  """Products of square matrices; `seconds` are those that a step would take at their rate."""

  def __init__(self):
    self.matrix = jnp.ones((SIZE, SIZE))
    self.multiply = jax.jit(jnp.matmul)

  def seconds(self) -> float:
    start = time.perf_counter()
    for _ in range(10):
      self.multiply(self.matrix, self.matrix).block_until_ready()
    each = (time.perf_counter() - start) / 10
    return work() * each / (2 * SIZE**3)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--steps", type=int, default=30)
  parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
  parser.add_argument("--compile", action="store_true", help="PyTorch compiled as well")
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  spec = stream_spec("reduced_resnet")._replace(image_shape=(32, 32, 3))
  sides = {
    "tagjax": Ours(spec, options.steps),
    "torch eager": Theirs(spec.num_outputs, options.steps, compiled=False),
  }
  if options.compile:
    sides["torch compiled"] = Theirs(spec.num_outputs, options.steps, compiled=True)
  sides["matrix products"] = Product()
  rounds = {name: [] for name in sides}
  for number in range(options.rounds + 1):  # the first warms up, and compiles
    for name, side in sides.items():
      seconds = side.seconds()
      if number:
        rounds[name].append(1e3 * seconds)
  print(
    f"jax {jax.__version__}, torch {torch.__version__}, {options.threads} threads; batch {BATCH}, "
    f"{work() / 1e9:.2f} GFLOP a step; median of {options.rounds} rounds x {options.steps} steps"
  )
  floor = statistics.median(rounds["matrix products"])
  print(f"matrix products: {work() / floor / 1e6:.0f} GFLOP/s")
  print(f"{'':18}{'ms a step':>10}{'times ours':>12}{'share':>8}")
  for name in [name for name in sides if name != "matrix products"]:
    ratio = statistics.median(
      theirs / ours for ours, theirs in zip(rounds["tagjax"], rounds[name], strict=True)
    )
    median = statistics.median(rounds[name])
    print(f"{name:18}{median:10.1f}{ratio:12.2f}{floor / median:8.0%}")


if __name__ == "__main__":
  main()
