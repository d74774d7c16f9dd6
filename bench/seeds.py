"""Many seeds side by side and in turn: wall time of whole `launch.py` runs against one seed's.

Each run is a fresh process without kept programs, from its start to its pictures.

  python bench/seeds.py [--config=configs/digits.py:tag] [--seeds=5,20] [--repeats=3]
"""

import argparse
import statistics

from whole_run import measure


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="configs/digits.py:tag")
  parser.add_argument("--seeds", default="5,20", help="comma-separated")
  parser.add_argument("--repeats", type=int, default=3)
  options = parser.parse_args()
  cases = [(1, "loop")]
  cases += [(int(seeds), axis) for seeds in options.seeds.split(",") for axis in ("vmap", "loop")]
  runs = {case: [] for case in cases}
  for _ in range(options.repeats):  # in turns, so that a slow minute meets all cases
    for seeds, axis in cases:
      arguments = [f"--config.seeds={seeds}", f"--config.seed_axis={axis}", "--compilation_cache="]
      wall, _, seconds = measure(options.config, arguments)
      runs[seeds, axis].append((wall, seconds["compile"], seconds["train"]))
  print(f"{options.config}; median seconds of {options.repeats}")
  print(f"{'seeds':>5} {'axis':5}{'wall':>8}{'times one':>11}{'compile':>9}{'train':>8}")
  one = statistics.median(wall for wall, *_ in runs[cases[0]])
  for (seeds, axis), figures in runs.items():
    wall, compiling, train = map(statistics.median, zip(*figures, strict=True))
    print(f"{seeds:5} {axis:5}{wall:8.1f}{wall / one:11.2f}{compiling:9.1f}{train:8.1f}")


if __name__ == "__main__":
  main()
