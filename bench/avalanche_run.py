"""One run of Avalanche 0.6.0 on the stream of bench/against_avalanche.py, which starts this script.

The setting of `configs/fashion_mnist.py`: the same examples, network, initial values' distribution,
loss over the outputs of the example's own task, learning rate, batches and strengths. What
Avalanche leaves no choice in is its own (bench/against_avalanche.py lists it). Examples are tensors
in memory, without transformations, which is the quickest that Avalanche can read; nothing is logged
while it trains.

  python bench/avalanche_run.py --arrays=FILE.npz --method=er --seed=1 --settings='{...}'

Prints a JSON object: seconds of training and evaluating, and the accuracy matrix.
"""

import argparse
import json
import random
import sys
import time

import numpy as np
import torch
from avalanche.benchmarks import (
  benchmark_from_datasets,
  task_incremental_benchmark,
  with_classes_timeline,
)
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.models import MultiTaskModule
from avalanche.training import plugins
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import TensorDataset


class Network(MultiTaskModule):
  """A perceptron with one head, of which an example uses the outputs of its own task."""

  def __init__(self, hidden: list[int], active: torch.Tensor, inputs: int):
    super().__init__()
    layers = []
    for width in hidden:
      layers += [nn.Linear(inputs, width), nn.ReLU()]
      inputs = width
    self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(inputs, active.shape[1]))
    self.register_buffer("inactive", ~active)

  def forward(self, x, task_labels):
    return self.layers(x).masked_fill(self.inactive[task_labels], -1e9)


class Labelled(TensorDataset):
  """Tensors with the `targets` that Avalanche asks for."""

  def __init__(self, image: np.ndarray, label: np.ndarray):
    target = torch.tensor(label).long()
    super().__init__(torch.tensor(image).float().div(255), target)
    self.targets = target


def make_plugins(method: str, settings: dict) -> list:
  """The plugin of a method, with the strength or memory of `settings`."""
  if method == "ewc":
    return [plugins.EWCPlugin(settings["ewc"], mode="online", decay_factor=1.0)]
  if method == "er":
    return [plugins.ReplayPlugin(settings["exemplars"], batch_size_mem=settings["batch_size"])]
  if method == "agem":
    each = settings["exemplars"] // settings["tasks"]
    return [plugins.AGEMPlugin(each, sample_size=settings["batch_size"])]
  if method == "si":
    return [plugins.SynapticIntelligencePlugin(settings["si"])]
  return []


def make_stream(arrays, tasks: int):
  """The tasks in order, with Avalanche's task labels."""
  parts = {
    part: [
      as_classification_dataset(Labelled(arrays[f"{part}_image{t}"], arrays[f"{part}_label{t}"]))
      for t in range(tasks)
    ]
    for part in ("train", "test")
  }
  return with_classes_timeline(task_incremental_benchmark(benchmark_from_datasets(**parts)))


def run(arrays, method: str, seed: int, settings: dict) -> dict:
  """Trains and evaluates; seconds by part, and the accuracy matrix."""
  for generator in (random.seed, np.random.seed, torch.manual_seed):
    generator(seed)
  tasks = settings["tasks"]
  stream = make_stream(arrays, tasks)
  active = torch.tensor(arrays["active"])
  network = Network(settings["hidden"], active, int(np.prod(arrays["train_image0"].shape[1:])))
  evaluator = plugins.EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
  strategy = Naive(
    model=network,
    optimizer=torch.optim.SGD(network.parameters(), settings["learning_rate"]),
    criterion=nn.CrossEntropyLoss(),
    train_mb_size=settings["batch_size"],
    train_epochs=1,
    eval_mb_size=settings["eval_batch_size"],
    plugins=make_plugins(method, settings),
    evaluator=evaluator,
  )
  seconds = {"train": 0.0, "evaluate": 0.0}
  matrix = []
  for task, experience in enumerate(stream.train_stream):
    start = time.perf_counter()
    strategy.train(experience)
    trained = time.perf_counter()
    found = strategy.eval(stream.test_stream[: task + 1])
    seconds["train"] += trained - start
    seconds["evaluate"] += time.perf_counter() - trained
    names = sorted(name for name in found if "Top1_Acc_Exp" in name)
    matrix.append([found[name] for name in names] + [None] * (tasks - task - 1))
  return {"seconds": seconds, "accuracy_matrix": matrix, "steps": strategy.clock.train_iterations}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--arrays", required=True, help="an .npz of the tasks' examples")
  parser.add_argument("--method", required=True, choices=("sgd", "ewc", "er", "agem", "si"))
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--threads", type=int, help="of PyTorch; its own choice otherwise")
  parser.add_argument("--settings", required=True, type=json.loads)
  options = parser.parse_args()
  if options.threads:
    torch.set_num_threads(options.threads)
  arrays = np.load(options.arrays)
  found = run(arrays, options.method, options.seed, options.settings)
  found["threads"] = torch.get_num_threads()
  sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
  main()
