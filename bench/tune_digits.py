"""Chooses the learning rates of configs/digits.py on validation examples, never on the test set.

Permuted digits, 10 tasks, a tenth of each task's training examples set aside. Each method is tried
at every power of ten of a range that suits it, then at the neighbours of the best on the grid
1, 2, 5, 10, 20, ..., until both neighbours of the best have been tried: the choice is never at the
edge of what was tried. Equal accuracies: the smaller learning rate.

  nice python -m bench.tune_digits [--seeds=3] [--jobs=2] [--methods=sgd,tag] [--out=docs/tuning]

Writes OUT/digits.json after each method (those of methods not asked for stay), and OUT.md from it.
"""

import argparse
import concurrent.futures
import functools
import json
import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

# Powers of ten to begin with; tag_rmsprop is another name of tag.
STARTS = {
  "sgd": (-3, 0),
  "rmsprop": (-5, -2),
  "adagrad": (-3, 0),
  "adam": (-5, -2),
  "tag": (-5, -2),
  "tag_adagrad": (-4, -1),
  "tag_adam": (-5, -2),
  "stable_sgd": (-3, 0),
}


def rate(position: int) -> float:
  """The learning rate at a position of the grid: 0 is 1, 1 is 2, 2 is 5, 3 is 10, -1 is 0.5."""
  power, digit = divmod(position, 3)
  return float(f"{(1, 2, 5)[digit]}e{power}")


def trial(method: str, learning_rate: float, seeds: int) -> list[float | None]:
  """Final average validation accuracy of each seed; None for all if the loss diverged."""
  # Imported here: JAX belongs into the processes that use it.
  from configs.digits import get_config

  config = get_config(method)
  config.learning_rate = learning_rate
  config.validation_fraction = 0.1
  config.seeds = seeds
  return validation_accuracies(config)


def validation_accuracies(config) -> list[float | None]:
  """Runs `config`; its final average validation accuracies, None for all if the loss diverged."""
  from tagjax import metrics
  from tagjax.config.run import run_config
  from tagjax.core.errors import DivergedError

  config.evaluate_on = "validation"
  try:
    run = run_config(config, None, progress=False)  # without a folder: no time for checkpoints
  except DivergedError:
    return [None] * config.seeds
  return np.asarray(metrics.average_accuracy(run.accuracy)).tolist()


def search(method: str, seeds: int) -> dict[str, list[float | None]]:
  """All trials of a method: learning rate -> accuracies, in the order of the learning rates."""

  def attempt(position: int) -> list[float | None]:
    accuracies = trial(method, rate(position), seeds)
    print(f"{method:12} {rate(position):8g}  {describe(accuracies)}", flush=True)
    return accuracies

  first, last = STARTS[method]
  tried = climb(attempt, [3 * power for power in range(first, last + 1)])
  return {f"{rate(position):g}": accuracies for position, accuracies in tried.items()}


def climb(
  attempt: Callable[[int], list[float | None]], positions: Iterable[int]
) -> dict[int, list[float | None]]:
  """Tries `positions`, then the neighbours of the best until both have been tried; in order."""
  tried: dict[int, list[float | None]] = {}
  while positions:
    for position in positions:
      tried[position] = attempt(position)
    best = max(sorted(tried), key=lambda position: mean(tried[position]))
    positions = [position for position in (best - 1, best + 1) if position not in tried]
  return dict(sorted(tried.items()))


def mean(accuracies: list[float | None]) -> float:
  return -math.inf if None in accuracies else float(np.mean(accuracies))


def choice(trials: dict[str, list[float | None]]) -> str:
  return max(sorted(trials, key=float), key=lambda value: mean(trials[value]))


def describe(accuracies: list[float | None]) -> str:
  if None in accuracies:
    return "diverged"
  return f"{100 * np.mean(accuracies):.1f} ± {100 * np.std(accuracies, ddof=1):.1f}"


def document(found: dict) -> str:
  """The Markdown of what was found."""
  lines = [
    "# Learning rates of configs/digits.py",
    "",
    "Final average accuracy on the *validation* examples of permuted digits (10 tasks, a tenth of "
    "each task's training",
    f"examples), in %, mean ± standard deviation over {found['seeds']} seeds. All other settings "
    "are those of `configs/digits.py`.",
    "",
    "| method | chosen | validation accuracy | tried |",
    "|---|---|---|---|",
  ]
  for method, trials in found["trials"].items():
    best = choice(trials)
    tried = ", ".join(f"{value}: {describe(trials[value]).split(' ')[0]}" for value in trials)
    lines.append(f"| {method} | {best} | {describe(trials[best])} | {tried} |")
  lines += [
    "",
    "`tag_rmsprop` is another name of `tag`; `stable_sgd` has `decay=0.9`. Each method was tried "
    "at powers of ten, then at the",
    "neighbours of the best on the grid 1, 2, 5, 10, until both neighbours of the best had been "
    "tried. All accuracies:",
    "[tuning/digits.json](tuning/digits.json).",
    "",
    "Made by "
    + " and ".join(f"`{command}`" for command in sorted(set(found["commands"].values())))
    + ".",
  ]
  return "\n".join(lines) + "\n"


def make_parser(description: str, known: Iterable[str]) -> argparse.ArgumentParser:
  """The arguments that all searches share."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("--jobs", type=int, default=1, help="methods tried at the same time")
  parser.add_argument("--methods", default=",".join(known), help="comma-separated")
  parser.add_argument("--out", type=Path, default=Path("docs/tuning"))
  return parser


def search_all(
  search: Callable[[str], dict], parser: argparse.ArgumentParser, options, known: Iterable[str]
) -> Iterator[tuple[str, dict]]:
  """Yields each method that `options` asks for with its trials, as soon as they are done."""
  methods = options.methods.split(",")
  if unknown := set(methods) - set(known):
    parser.error(f"unknown methods {sorted(unknown)}: there are {', '.join(known)}")
  options.out.mkdir(parents=True, exist_ok=True)
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
    jobs = {pool.submit(search, method): method for method in methods}
    for job in concurrent.futures.as_completed(jobs):
      yield jobs[job], job.result()


def main():
  parser = make_parser(__doc__.splitlines()[0], STARTS)
  parser.add_argument("--seeds", type=int, default=3)
  options = parser.parse_args()
  target = options.out / "digits.json"
  found = json.loads(target.read_text()) if target.exists() else {"trials": {}}
  found["seeds"] = options.seeds
  command = f"python -m bench.tune_digits --seeds={options.seeds} --methods={options.methods}"
  commands = found.setdefault("commands", {})
  one = functools.partial(search, seeds=options.seeds)
  for name, trials in search_all(one, parser, options, STARTS):
    done = found["trials"] | {name: trials}
    found["trials"] = {method: done[method] for method in STARTS if method in done}
    commands[name] = command
    target.write_text(json.dumps(found, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(document(found))


if __name__ == "__main__":
  main()
