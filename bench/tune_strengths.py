"""Chooses the strengths of MAS and SI for configs/cifar10.py on validation examples.

Split CIFAR-10 with 2000 training and 500 validation examples a task, one seed, the learning rates
of configs/cifar10.py. Powers of ten, until both neighbours of the best have been tried.

  nice python -m bench.tune_strengths [--jobs=2] [--methods=mas+sgd,si+tag] [--out=docs/tuning]

Writes OUT/cifar10.json after each method; those of methods not asked for stay.
"""

import json

from bench.tune_digits import choice, climb, make_parser, search_all, validation_accuracies

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

  def attempt(power: int) -> list[float | None]:
    accuracies = trial(method, 10.0**power)
    print(f"{method:8} {10.0**power:8g}  {accuracies}", flush=True)
    return accuracies

  return {f"{10.0**power:g}": tried for power, tried in climb(attempt, STARTS).items()}


def main():
  parser = make_parser(__doc__.splitlines()[0], METHODS)
  options = parser.parse_args()
  target = options.out / "cifar10.json"
  found = json.loads(target.read_text()) if target.exists() else {}
  for method, trials in search_all(search, parser, options, METHODS):
    found[method] = {"chosen": choice(trials), "validation_accuracy": trials}
    target.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
  main()
