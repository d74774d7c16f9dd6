"""Split CIFAR-10 in PyTorch: an independent copy of the experiment of docs/results.md.

Model, masked loss, optimizers and data are written down once more with PyTorch's own layers, and
share nothing with tagjax but the decoded images and the metrics. It answers whether a figure comes
from tagjax or from the experiment. Not a test: a seed takes minutes, and PyTorch is no dependency
(`pip install torch`).

  python bench/torch_split_cifar10.py --method=sgd --seeds=1,2 [--decay=0.9] [--out=FILE.jsonl]
  python bench/torch_split_cifar10.py --time=50 --threads=2    # only milliseconds a training step
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tagjax import datasets, metrics

TASKS, CLASSES, BATCH, TEST_BATCH = 5, 2, 10, 256
LEARNING_RATES = {"sgd": 0.1, "rmsprop": 0.005}


class Block(nn.Module):
  """One convolution, ReLU and BatchNorm; the shortcut; ReLU and BatchNorm."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
    same = stride == 1 and inputs == outputs
    self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

  def forward(self, x):
    return self.norm2(functional.relu(self.norm1(functional.relu(self.conv(x))) + self.shortcut(x)))


class ReducedResNet(nn.Module):
  """Four stages of two blocks, three times narrower than a ResNet-18."""

  def __init__(self, num_outputs: int = TASKS * CLASSES):
    super().__init__()
    self.stem, self.norm = nn.Conv2d(3, 20, 3, 1, 1, bias=False), nn.BatchNorm2d(20)
    blocks, inputs = [], 20
    for outputs, stride in ((20, 1), (40, 2), (80, 2), (160, 2)):
      blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
      inputs = outputs
    self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(160, num_outputs)

  def forward(self, x):
    x = self.blocks(functional.relu(self.norm(self.stem(x))))
    return self.head(functional.avg_pool2d(x, 4).flatten(1))


def task_examples(examples: datasets.Examples, task: int) -> tuple[torch.Tensor, torch.Tensor]:
  """Images in [-1, 1], channels first, and labels of the two classes of a task."""
  rows = np.isin(examples.label, range(CLASSES * task, CLASSES * (task + 1)))
  image = torch.tensor(examples.image[rows]).permute(0, 3, 1, 2).float().div(127.5).sub(1)
  return image.contiguous(), torch.tensor(examples.label[rows]).long()


def task_logits(network: nn.Module, image: torch.Tensor, task: int) -> torch.Tensor:
  logits = network(image)
  other = torch.ones_like(logits, dtype=torch.bool)
  other[:, CLASSES * task : CLASSES * (task + 1)] = False
  return logits.masked_fill(other, -1e9)


def train(network: nn.Module, optimizer, examples, task: int) -> None:
  image, label = examples
  network.train()
  for rows in torch.randperm(len(image)).split(BATCH):
    optimizer.zero_grad()
    functional.cross_entropy(task_logits(network, image[rows], task), label[rows]).backward()
    optimizer.step()


@torch.no_grad()
def accuracy(network: nn.Module, examples, task: int) -> float:
  image, label = examples
  network.eval()
  pairs = zip(image.split(TEST_BATCH), label.split(TEST_BATCH), strict=True)
  hits = sum((task_logits(network, x, task).argmax(1) == y).sum().item() for x, y in pairs)
  return hits / len(image)


def run(dataset: datasets.Dataset, method: str, decay: float, seed: int) -> np.ndarray:
  """The accuracy matrix of one seed."""
  torch.manual_seed(seed)
  network = ReducedResNet()
  rate = LEARNING_RATES[method]
  matrix = np.full((TASKS, TASKS), np.nan)
  optimizer = torch.optim.RMSprop(network.parameters(), rate)
  for task in range(TASKS):
    if method == "sgd":
      optimizer = torch.optim.SGD(network.parameters(), rate * decay ** (task + 1))
    train(network, optimizer, task_examples(dataset.train, task), task)
    for past in range(task + 1):
      matrix[task, past] = accuracy(network, task_examples(dataset.test, past), past)
  return matrix


def time_steps(steps: int) -> float:
  """Median milliseconds of a training step on random images."""
  network = ReducedResNet()
  optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATES["sgd"])
  batch = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
  seconds = []
  for _ in range(steps):
    start = time.perf_counter()
    train(network, optimizer, batch, 0)
    seconds.append(time.perf_counter() - start)
  return 1e3 * statistics.median(seconds)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--method", choices=LEARNING_RATES, default="sgd")
  parser.add_argument("--decay", type=float, default=1.0, help="SGD's rate of task t: lr decay^t")
  parser.add_argument("--seeds", default="1,2")
  parser.add_argument("--threads", type=int, default=1)
  parser.add_argument("--time", type=int, metavar="STEPS", help="only time training steps")
  parser.add_argument("--out", type=Path, help="file of JSON lines that the runs are added to")
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  if options.time:
    print(
      f"torch {torch.__version__}, {options.threads} threads: {time_steps(options.time):.1f} ms"
    )
    return
  dataset = datasets.load("cifar10")
  for seed in map(int, options.seeds.split(",")):
    start = time.perf_counter()
    matrix = run(dataset, options.method, options.decay, seed)
    figures = {
      "average_accuracy": metrics.average_accuracy(matrix),
      "forgetting": metrics.forgetting(matrix, definition="tag"),
      "learning_accuracy": metrics.learning_accuracy(matrix),
    }
    line = {"method": options.method, "decay": options.decay, "seed": seed}
    line |= {name: round(float(value), 4) for name, value in figures.items()}
    line |= {"seconds": round(time.perf_counter() - start), "torch": torch.__version__}
    print(json.dumps(line), flush=True)
    if options.out:
      with options.out.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
  main()
