"""What a run gives back of the memory that it has freed, and how long that takes.

Trains small runs one after another in this process, ER with TAG on five tasks of permuted digits,
and prints for each the resident memory before and after its end gives the freed part back.

  python -m bench.freed_memory [--runs=6]
"""

import argparse
import statistics
import tempfile
import time

import psutil

from tagjax.config.defaults import base_config
from tagjax.config.run import run_config
from tagjax.training import freed_memory

SETTINGS = {
  "method": "er+tag",
  "num_tasks": 5,
  "train_examples_per_task": 200,
  "test_examples_per_task": 40,
  "learning_rate": 0.1,
  "mlp.hidden": (16,),
  "plots": False,
}


def measure(runs: int) -> list[tuple[float, float, float]]:
  """Of each run MiB before and after, and milliseconds."""
  process, give_back = psutil.Process(), freed_memory.give_back
  rows = []

  def measured() -> None:
    before, start = process.memory_info().rss, time.perf_counter()
    give_back()
    seconds, after = time.perf_counter() - start, process.memory_info().rss
    rows.append((before / 2**20, after / 2**20, 1e3 * seconds))

  freed_memory.give_back = measured
  config = base_config()
  config.update_from_flattened_dict(SETTINGS)
  for _ in range(runs):
    with tempfile.TemporaryDirectory() as folder:
      run_config(config, folder, progress=False)
  return rows


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--runs", type=int, default=6)
  rows = measure(parser.parse_args().runs)
  print("run   MiB before   MiB after   milliseconds")
  for number, (before, after, milliseconds) in enumerate(rows, 1):
    print(f"{number:3} {before:12.0f} {after:11.0f} {milliseconds:14.1f}")
  before, after, milliseconds = (statistics.median(column) for column in zip(*rows, strict=True))
  print(f"median {before:9.0f} {after:11.0f} {milliseconds:14.1f}")


if __name__ == "__main__":
  main()
