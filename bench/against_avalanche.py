"""Whole processes of tagjax and of Avalanche on one stream, side by side in a table.

Split Fashion-MNIST, five tasks, 6000 steps of batch 10, MLP 784-100-100, task-incremental. Ours is
`launch.py --config=configs/fashion_mnist.py:METHOD`, seeds together in one process, started twice:
without kept programs and with them. Theirs is bench/avalanche_run.py, a process for each seed, by
the same settings (`settings_of`). Avalanche is not installed by this script; where it is not, the
table has our half only. Without `--again` a cell that the JSON file has is kept, so the work can be
done in pieces.

What differs, since Avalanche leaves no choice:

- its EWC takes the squares of the gradients of all 1200 batches of a task, ours of as many single
  examples, which are about ten times as large: its strength is ten times ours;
- its ER and A-GEM fill their memories when a task has ended, ours while it is learned. Its ER
  averages over the current batch and the replayed one together, ours adds the two means;
- its SI changes nothing in this version: the figures equal those of SGD to the digit.

  python -m bench.against_avalanche [--their_python=VENV/bin/python] [--methods=er] [--seeds=1,20]
"""

import argparse
import concurrent.futures
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("sgd", "ewc", "er", "agem", "si")
TASKS = 5
OVERRIDES = {"ewc": {"ewc.variant": "standard", "ewc.examples": 1200, "ewc.strength": 100.0}}
"""Where the settings of configs/fashion_mnist.py have no counterpart in Avalanche."""
BATCH_SQUARES = 10.0  # see the differences above
INSTALL = """Avalanche is not installed for {python}, so its half is not measured. To have it, in an
environment of its own:
  python -m venv VENV && VENV/bin/pip install avalanche-lib==0.6.0 torch torchvision
  python -m bench.against_avalanche --their_python=VENV/bin/python"""


def settings_of(method: str) -> dict[str, Any]:
  """What the Avalanche side is told, read from the config that our side runs."""
  config = importlib.import_module("configs.fashion_mnist").get_config(method)
  config.update_from_flattened_dict(OVERRIDES.get(method, {}))
  return {
    "tasks": config.num_tasks,
    "hidden": list(config.mlp.hidden),
    "learning_rate": config.learning_rate,
    "batch_size": config.batch_size,
    "eval_batch_size": config.eval_batch_size,
    "exemplars": config.memory.capacity * 10,  # ours counts those of each of ten classes
    "ewc": BATCH_SQUARES * config.ewc.strength,
    "si": config.si.strength,
  }


def average_accuracy(matrix: Sequence[Sequence[float | None]]) -> float:
  """Percent, over all tasks after the last."""
  return 100 * statistics.mean(value for value in matrix[-1] if value is not None)


def timed(command: Sequence[str]) -> tuple[float, str]:
  """Wall seconds of a process from its start to its end, and what it printed."""
  start = time.perf_counter()
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  wall = time.perf_counter() - start
  if done.returncode:
    sys.exit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-3000:]}")
  return wall, done.stdout


def run_ours(method: str, seeds: int) -> dict[str, dict]:
  """The first and the second of two equal starts of `launch.py`."""
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "launch.py", f"--config=configs/fashion_mnist.py:{method}"]
    command += [f"--config.seeds={seeds}", f"--compilation_cache={folder}/compiled"]
    changes = OVERRIDES.get(method, {})
    command += [f"--config.{key}={str(value).lower()}" for key, value in changes.items()]
    for start in ("first", "second"):
      wall, _ = timed([*command, f"--workdir={folder}/{start}"])
      results = json.loads(Path(folder, start, "results.json").read_text())
      accuracies = [average_accuracy(matrix) for matrix in results["accuracy_matrix"]]
      found[start] = {"whole": wall, "accuracy": accuracies} | results["seconds"]
  return found


def run_theirs(python: str, arrays: str, method: str, seed: int, threads: int | None) -> dict:
  """One process of Avalanche."""
  command = [
    python,
    "-W",
    "ignore",
    "bench/avalanche_run.py",
    f"--arrays={arrays}",
    f"--method={method}",
  ]
  command += [f"--seed={seed}", f"--settings={json.dumps(settings_of(method))}"]
  wall, output = timed(command + ([f"--threads={threads}"] if threads else []))
  found = json.loads(output.splitlines()[-1])
  seconds = found["seconds"]
  return {
    "seed": seed,
    "whole": wall,
    "accuracy": average_accuracy(found["accuracy_matrix"]),
    "threads": found["threads"],
    **seconds,
  }


def versions_of(python: str) -> dict[str, str] | None:
  """Versions of Avalanche and PyTorch in that environment; None if one is missing."""
  ask = "import importlib.metadata as m, json; "
  ask += "print(json.dumps({n: m.version(n) for n in ('avalanche-lib', 'torch')}))"
  done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
  return None if done.returncode else json.loads(done.stdout)


def save_arrays(path: Path) -> None:
  """The stream's examples as our side has them, for the other side."""
  import numpy as np

  import tagjax

  stream = tagjax.load_benchmark("split_fashion_mnist", num_tasks=TASKS)
  arrays = {"active": np.asarray(stream.spec.classes)}
  for task in range(TASKS):
    for part in ("train", "test"):
      examples = getattr(stream[task], part)
      arrays[f"{part}_image{task}"] = np.asarray(examples.image)
      arrays[f"{part}_label{task}"] = np.asarray(examples.label)
  np.savez(path, **arrays)


def measure_ours(found: dict, options) -> None:
  cells = found.setdefault("tagjax", {})
  for method in options.methods:
    for seeds in options.seeds:
      if options.again or str(seeds) not in cells.get(method, {}):
        cells.setdefault(method, {})[str(seeds)] = run_ours(method, seeds)
        keep(found, options.out)


def measure_theirs(found: dict, options) -> None:
  """The first `--runs` seeds; `--jobs` processes at a time, timed together."""
  cells = found.setdefault("avalanche", {})
  with tempfile.TemporaryDirectory() as folder:
    arrays = Path(folder, "arrays.npz")
    save_arrays(arrays)
    for method in options.methods:
      rounds = cells.setdefault(method, [])
      if options.again:
        rounds.clear()
      while (have := sum(len(part["runs"]) for part in rounds)) < options.runs:
        seeds = range(have + 1, min(have + options.jobs, options.runs) + 1)
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
          jobs = [
            pool.submit(run_theirs, options.their_python, arrays, method, seed, options.threads)
            for seed in seeds
          ]
          runs = [job.result() for job in jobs]
        rounds.append({"wall": time.perf_counter() - start, "runs": runs})
        keep(found, options.out)


def keep(found: dict, path: Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(found, indent=1))


def spread(values: Sequence[float]) -> str:
  """Mean and standard deviation (ddof 1) of accuracies."""
  mean = f"{statistics.mean(values):.1f}"
  return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def their_figures(rounds: Sequence[Mapping], seeds: int) -> dict[str, Any]:
  """Seconds of that many runs one after another: measured, or from the mean of those that were."""
  runs = [run for part in rounds for run in part["runs"]]
  measured = len(runs) >= seeds
  each = len(rounds[0]["runs"])
  whole = statistics.mean(part["wall"] for part in rounds if len(part["runs"]) == each)
  shown = runs[:seeds]
  return {
    "train": seeds * statistics.mean(run["train"] for run in runs),
    "whole": seeds * whole / each if not measured else _whole(rounds, seeds),
    "measured": measured,
    "runs": len(runs),
    "accuracy": [run["accuracy"] for run in shown],
  }


def _whole(rounds: Sequence[Mapping], seeds: int) -> float:
  """Wall seconds of the first rounds that hold that many runs."""
  total, have = 0.0, 0
  for part in rounds:
    if have < seeds:
      total, have = total + part["wall"], have + len(part["runs"])
  return total


HEAD = (
  ("method", "seeds"),
  ("Avalanche: train s", "whole s"),
  ("tagjax: compile s", "train s", "whole s, first start", "second"),
  ("train, times", "whole, times"),
  ("accuracy %, Avalanche", "tagjax"),
)


def rows(found: Mapping) -> list[list[str]]:
  """The cells of the table, as far as they were measured."""
  ours, theirs = found.get("tagjax", {}), found.get("avalanche", {})
  table = []
  for method in [name for name in METHODS if name in ours or name in theirs]:
    for seeds in sorted(map(int, ours.get(method, {"1": None}))):
      mine = ours.get(method, {}).get(str(seeds))
      other = their_figures(theirs[method], seeds) if theirs.get(method) else None
      table.append([method, str(seeds), *_cells(mine, other)])
  return table


def _cells(mine: Mapping | None, other: Mapping | None) -> list[str]:
  cells = ["not measured"] * 10
  if other:
    sign = "" if other["measured"] else "≈ "
    cells[:2] = [f"{sign}{other['train']:.1f}", f"{sign}{other['whole']:.1f}"]
    cells[8] = spread(other["accuracy"])
  if mine:
    first, second = mine["first"], mine["second"]
    cells[2:6] = [
      f"{value:.1f}"
      for value in (first["compile"], second["train"], first["whole"], second["whole"])
    ]
    cells[9] = spread(second["accuracy"])
  if mine and other:
    cells[6] = f"{other['train'] / mine['second']['train']:.1f}"
    cells[7] = " to ".join(f"{other['whole'] / mine[s]['whole']:.1f}" for s in ("first", "second"))
  return cells


def remarks(found: Mapping) -> list[str]:
  """What must be known to read the table."""
  lines = [
    "Seconds of training are without those of compiling; a whole process is from its start to its "
    "end. Our first start has no kept programs, the second has. Accuracy: average over the five "
    "tasks after the last, mean and standard deviation over seeds."
  ]
  theirs = found.get("avalanche", {})
  counts = sorted({sum(len(part["runs"]) for part in rounds) for rounds in theirs.values()} - {0})
  if not counts:
    return [*lines, "Avalanche: **not measured**."]
  side = sorted({len(part["runs"]) for rounds in theirs.values() for part in rounds})
  lines.append(
    f"Avalanche: {' to '.join(map(str, counts))} processes of one seed were measured for each "
    f"method, {side[-1]} at a time; ≈ marks their mean times the number of seeds."
  )
  if theirs.get("si") and theirs.get("sgd"):
    si, sgd = (their_figures(theirs[name], 1)["accuracy"] for name in ("si", "sgd"))
    lines.append(f"Avalanche's SI and SGD have {'equal' if si == sgd else 'different'} accuracies.")
  return [*lines, *_goals(found)]


def _goals(found: Mapping) -> list[str]:
  lines = []
  for seeds, goal in ((20, 15), (1, 3)):
    mine = found.get("tagjax", {}).get("er", {}).get(str(seeds))
    rounds = found.get("avalanche", {}).get("er")
    if mine and rounds:
      whole = their_figures(rounds, seeds)["whole"]
      low, high = (whole / mine[start]["whole"] for start in ("first", "second"))
      word = (
        "reached"
        if low >= goal
        else "reached from the second start on"
        if high >= goal
        else ("not reached")
      )
      lines.append(
        f"Goal: {seeds} seed{'s' if seeds > 1 else ''} of ER {goal} times faster, whole process: "
        f"{low:.1f} to {high:.1f}, {word}."
      )
  return lines


def render(found: Mapping) -> str:
  """The Markdown table and its remarks."""
  heads = [name for group in HEAD for name in group]
  about = found.get("about", {})
  lines = [", ".join(f"{name} {value}" for name, value in about.items()), ""]
  lines += ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
  lines += ["| " + " | ".join(row) + " |" for row in rows(found)]
  return "\n".join([*lines, "", *remarks(found)]) + "\n"


def about(theirs: Mapping[str, str] | None) -> dict[str, str]:
  import jax

  machine = {"machine": f"{os.cpu_count()} cores, {platform.machine()}"}
  return machine | {"python": platform.python_version(), "jax": jax.__version__} | (theirs or {})


def numbers(text: str) -> list[int]:
  return [int(part) for part in text.split(",")]


def parse(arguments: Sequence[str] | None = None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
  parser.add_argument("--seeds", type=numbers, default=[1, 5, 20], help="of our runs")
  parser.add_argument("--sides", default="tagjax,avalanche", help="which to measure, if at all")
  parser.add_argument("--their_python", default=sys.executable, help="that has avalanche-lib")
  parser.add_argument("--runs", type=int, default=1, help="processes of Avalanche for each method")
  parser.add_argument("--full", action="store_true", help="as many as our most seeds")
  parser.add_argument("--jobs", type=int, default=1, help="processes of Avalanche at a time")
  parser.add_argument("--threads", type=int, help="of PyTorch; its own choice otherwise")
  parser.add_argument("--again", action="store_true", help="measure what the file has, too")
  parser.add_argument("--out", type=Path, default=Path("runs/bench/against_avalanche.json"))
  options = parser.parse_args(arguments)
  if options.full:
    options.runs = max(options.seeds)
  return options


def main(arguments: Sequence[str] | None = None) -> None:
  options = parse(arguments)
  found = json.loads(options.out.read_text()) if options.out.exists() else {}
  theirs = versions_of(options.their_python)
  found["about"] = found.get("about", {}) | about(theirs)
  if "tagjax" in options.sides:
    measure_ours(found, options)
  if "avalanche" in options.sides:
    if theirs is None:
      print(INSTALL.format(python=options.their_python), file=sys.stderr)
    else:
      measure_theirs(found, options)
  keep(found, options.out)
  text = render(found)
  options.out.with_suffix(".md").write_text(text)
  print(text)


if __name__ == "__main__":
  main()
