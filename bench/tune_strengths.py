"""Chooses the strengths of MAS and SI for configs/cifar10.py on validation examples.

Split CIFAR-10 with 2000 training and 500 validation examples a task, one seed, the learning rates
of configs/cifar10.py. Powers of ten, until both neighbours of the best have been tried.

  nice python -m bench.tune_strengths [--jobs=2] [--methods=mas+sgd,si+tag] [--out=docs/tuning]

Writes OUT/cifar10.json after each method; those of methods not asked for stay.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
from pathlib import Path

from bench.tune_digits import choice, mean, validation_accuracies

METHODS = ("mas+sgd", "mas+tag", "si+sgd", "si+tag")
STARTS = (-1, 0)  # powers of ten to begin with


def trial(method: str, strength: float) -> list[float | None]:
  """Final average validation accuracy of one seed; None if the loss diverged."""
  # Imported here: JAX belongs into the processes that use it.
  from configs.cifar10 import get_config

  regulariser, optimizer = method.split("+")
  config = get_config(optimizer)
  config.method = method
  config[regulariser].strength = strength
  config.train_examples_per_task = 2500
  config.validation_fraction = 0.2
  return validation_accuracies(config)


def search(method: str) -> dict[str, list[float | None]]:
  """All trials of a method: strength -> accuracies, in the order of the strengths."""
  tried: dict[int, list[float | None]] = {}
  powers = list(STARTS)
  while powers:
    for power in powers:
      tried[power] = trial(method, 10.0**power)
      print(f"{method:8} {10.0**power:8g}  {tried[power]}", flush=True)
    best = max(sorted(tried), key=lambda power: mean(tried[power]))
    powers = [power for power in (best - 1, best + 1) if power not in tried]
  return {f"{10.0**power:g}": tried[power] for power in sorted(tried)}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--jobs", type=int, default=1, help="methods tried at the same time")
  parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
  parser.add_argument("--out", type=Path, default=Path("docs/tuning"))
  options = parser.parse_args()
  methods = options.methods.split(",")
  if unknown := set(methods) - set(METHODS):
    parser.error(f"unknown methods {sorted(unknown)}: there are {', '.join(METHODS)}")
  target = options.out / "cifar10.json"
  found = json.loads(target.read_text()) if target.exists() else {}
  target.parent.mkdir(parents=True, exist_ok=True)
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
    jobs = {pool.submit(search, method): method for method in methods}
    for job in concurrent.futures.as_completed(jobs):
      trials = job.result()
      found[jobs[job]] = {"chosen": choice(trials), "validation_accuracy": trials}
      target.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
  main()
