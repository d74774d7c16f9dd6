"""A whole stream with TAG, here and in PyTorch eager: every step and every evaluation.

Random images of CIFAR-10's shape, so that nothing must be downloaded: T tasks of two classes, one
epoch each in batches of 10, after each task an evaluation on all tasks so far. Both sides get the
same uint8 arrays. PyTorch: the model of bench/torch_split_cifar10.py, the optimizer of
bench/torch_tag.py, evaluation in batches of 256. Both run in turns, task by task; compiling is
listed apart, and PyTorch needs none.

  python -m bench.whole_stream [--tasks=5] [--examples=2000] [--test_examples=1000] [--threads=2]
"""

import argparse
import os
import time
from types import SimpleNamespace

import jax
import numpy as np
import torch
from torch.nn import functional

from bench.torch_split_cifar10 import ReducedResNet
from bench.torch_tag import TorchTag
from bench.train_step import make_programs
from tagjax.core.types import StreamSpec
from tagjax.input_pipeline.device_examples import to_device
from tagjax.input_pipeline.order import pass_size

CLASSES, BATCH, EVAL_BATCH, IMAGE = 2, 10, 256, (32, 32, 3)


def make_arrays(tasks: int, count: int, seed: int) -> list[SimpleNamespace]:
  """The examples of each task: noise, brighter for the second class."""
  rng = np.random.default_rng(seed)
  found = []
  for task in range(tasks):
    label = rng.integers(0, CLASSES, count)
    image = rng.integers(0, 200, (count, *IMAGE)) + 40 * label[:, None, None, None]
    found.append(
      SimpleNamespace(
        image=image.astype(np.uint8),
        label=(CLASSES * task + label).astype(np.int32),
        task_id=np.full(count, task, np.int32),
      )
    )
  return found


class Ours:
  """The compiled programs that launch.py runs."""

  def __init__(self, train, test):
    tasks = len(train)
    classes = np.kron(np.eye(tasks, dtype=bool), np.ones((1, CLASSES), bool))
    spec = StreamSpec(tasks, tasks * CLASSES, classes, "task", IMAGE)
    self.steps = -(-len(train[0].label) // BATCH)
    passes = pass_size(max(len(task.label) for task in test), EVAL_BATCH)
    settings = {"model": "reduced_resnet", "method": "tag", "learning_rate": 0.00025}
    settings |= {"normalization": "signed", "batch_size": BATCH}
    self.programs = make_programs(spec, [self.steps] * tasks, eval_batch_size=passes, **settings)
    self.train_arrays, self.test_arrays = train, test
    self.state = self.programs.init(jax.random.key(0)[None])

  def train(self, task: int) -> None:
    data = to_device(self.train_arrays[task], len(self.train_arrays[task].label))
    self.state, chunk = self.programs.train(
      self.state, data, task, task, 0, self.steps, phase="train"
    )
    jax.block_until_ready(chunk)

  def evaluate(self, task: int) -> None:
    served = self.programs.prepare(self.state, task)
    for past in range(task + 1):
      data = to_device(self.test_arrays[past], len(self.test_arrays[past].label))
      jax.device_get(self.programs.evaluate(served, data, task))

  def compile_seconds(self) -> float:
    return self.programs.compile_seconds


class Theirs:
  """PyTorch eager."""

  def __init__(self, train, test):
    self.num_outputs = CLASSES * len(train)
    self.network = ReducedResNet(self.num_outputs)
    self.optimizer = TorchTag(self.network.parameters(), 0.00025, len(train))
    self.train_arrays, self.test_arrays = train, test

  def train(self, task: int) -> None:
    image, label = self._tensors(self.train_arrays[task])
    self.network.train()
    for rows in torch.randperm(len(label)).split(BATCH):
      self.network.zero_grad()
      functional.cross_entropy(self._logits(image[rows], task), label[rows]).backward()
      self.optimizer.step(task)
    self.optimizer.end_task(task)

  @torch.no_grad()
  def evaluate(self, task: int) -> None:
    self.network.eval()
    for past in range(task + 1):
      image, label = self._tensors(self.test_arrays[past])
      for x, y in zip(image.split(EVAL_BATCH), label.split(EVAL_BATCH), strict=True):
        (self._logits(x, past).argmax(1) == y).sum().item()

  def compile_seconds(self) -> float:
    return 0.0

  def _tensors(self, arrays) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.tensor(arrays.image).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return image.contiguous(), torch.tensor(arrays.label).long()

  def _logits(self, image: torch.Tensor, task: int) -> torch.Tensor:
    active = torch.zeros(self.num_outputs, dtype=torch.bool)
    active[CLASSES * task : CLASSES * (task + 1)] = True
    return self.network(image).masked_fill(~active, -1e9)


def timed(side, action: str, task: int) -> float:
  """Seconds of the action without those of compiling."""
  compiled, start = side.compile_seconds(), time.perf_counter()
  getattr(side, action)(task)
  return time.perf_counter() - start - (side.compile_seconds() - compiled)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--tasks", type=int, default=5)
  parser.add_argument("--examples", type=int, default=2000, help="of each task, to train on")
  parser.add_argument("--test_examples", type=int, default=1000)
  parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  arrays = [
    make_arrays(options.tasks, count, seed)
    for seed, count in enumerate((options.examples, options.test_examples))
  ]
  sides = {"tagjax": Ours(*arrays), "torch": Theirs(*arrays)}
  seconds = {name: {"train": 0.0, "evaluate": 0.0} for name in sides}
  for task in range(options.tasks):
    for action in ("train", "evaluate"):
      for name, side in sides.items():
        seconds[name][action] += timed(side, action, task)
  print(
    f"jax {jax.__version__}, torch {torch.__version__}, {options.threads} threads; "
    f"{options.tasks} tasks x {options.examples} + {options.test_examples} images, TAG"
  )
  print(f"{'seconds':10}{'tagjax':>10}{'torch':>10}{'ratio':>8}")
  for action in ("train", "evaluate", "both"):
    ours, theirs = (sum(of.values()) if action == "both" else of[action] for of in seconds.values())
    print(f"{action:10}{ours:10.1f}{theirs:10.1f}{theirs / ours:8.2f}")
  print(f"compile   {sides['tagjax'].compile_seconds():10.1f}")


if __name__ == "__main__":
  main()
