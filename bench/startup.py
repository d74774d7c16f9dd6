"""How long a user waits before and after training: imports, `--help`, errors, whole processes.

Each line is the median of several processes, and, with `--before=CHECKOUT`, of as many of another
checkout of tagjax, in turns. A whole run is `launch.py --config=configs/digits.py:sgd`; "beyond
training" is its wall clock less the seconds of training that results.json tells. A first start
finds no compiled programs. All find the options that are kept (tagjax.config.index).

  python -m bench.startup [--before=CHECKOUT] [--rounds=3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOOR = "import jax, flax.linen, optax"
RUN = ("launch.py", "--config=configs/digits.py:sgd")
EWC = "--config.method=ewc"
SHORT = {
  FLOOR: ("-c", FLOOR),
  "import tagjax; tagjax.tag": ("-c", "import tagjax; tagjax.tag"),
  "launch.py --help": ("launch.py", "--help"),
  "a misspelt key": ("launch.py", "--config.learning_rat=1"),
  "an unknown method": ("launch.py", "--config.method=rmsprob"),
  "a value out of range": ("launch.py", "--config.learning_rate=-1"),
  "an option of the run out of range": ("launch.py", "--config.epochs=0"),
  "an option that a method refuses": ("launch.py", "--config.ewc.strength=-1", EWC),
}


def seconds(root: Path, arguments: tuple[str, ...]) -> float:
  """Wall clock of a process of that checkout."""
  begun = time.perf_counter()
  environment = {**os.environ, "PYTHONPATH": str(root)}
  subprocess.run([sys.executable, *arguments], cwd=root, env=environment, capture_output=True)
  return time.perf_counter() - begun


def whole_runs(root: Path) -> dict[str, float]:
  """A first start, without kept programs, and a second one; each less its training too."""
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    for start in ("first", "second"):
      workdir = Path(folder, start)
      flags = (f"--compilation_cache={folder}/compiled", f"--workdir={workdir}")
      wall = seconds(root, (*RUN, *flags))
      train = json.loads((workdir / "results.json").read_text())["seconds"]["train"]
      found[f"{start} start"] = wall
      found[f"{start} start, beyond training"] = wall - train
  return found


def measure(root: Path) -> dict[str, float]:
  """All lines once."""
  return {name: seconds(root, arguments) for name, arguments in SHORT.items()} | whole_runs(root)


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument("--before", type=Path, help="another checkout")
  parser.add_argument("--rounds", type=int, default=3)
  options = parser.parse_args()
  roots = {"before": options.before, "now": ROOT} if options.before else {"now": ROOT}
  rounds = {name: [] for name in roots}
  for root in roots.values():  # compiles the modules' bytecode, keeps the options
    seconds(root, SHORT["a misspelt key"])
  for _ in range(options.rounds):
    for name, root in roots.items():
      rounds[name].append(measure(root))
  print("| seconds |", " | ".join(roots), "|", "ratio |" if options.before else "")
  print("|---|", "---:|" * (len(roots) + bool(options.before)), sep="")
  for line in rounds["now"][0]:
    medians = [statistics.median(one[line] for one in rounds[name]) for name in roots]
    ratio = [f"{medians[1] / medians[0]:.2f}"] if options.before else []
    print(f"| {line} |", " | ".join([f"{value:.2f}" for value in medians] + ratio), "|")


if __name__ == "__main__":
  main()
