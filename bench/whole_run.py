"""Wall time and peak memory of a whole `launch.py` run, from a fresh process to its results.

Memory is the resident memory of the process and its children, sampled twenty times a second. The
run's folder is temporary. What follows `--` goes to launch.py.

  python bench/whole_run.py [--config=configs/digits.py:tag] [--repeats=3] [-- --config.seeds=1]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def resident(process: psutil.Process) -> int:
  """Bytes of resident memory of the process and its children; 0 once it has ended."""
  try:
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_info().rss for member in family)
  except psutil.NoSuchProcess:
    return 0


def measure(config: str, overrides: list[str]) -> tuple[float, float, dict[str, float]]:
  """Wall seconds, peak MiB, and the seconds that the run itself reports."""
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "launch.py", f"--config={config}", f"--workdir={folder}/run"]
    log, peak, start = Path(folder, "log"), 0, time.perf_counter()
    with log.open("w") as output:
      process = psutil.Popen(command + overrides, cwd=ROOT, stdout=output, stderr=output)
      while process.poll() is None:
        peak = max(peak, resident(process))
        time.sleep(0.05)
    wall = time.perf_counter() - start
    if process.returncode:
      raise subprocess.CalledProcessError(process.returncode, command, log.read_text())
    return wall, peak / 2**20, json.loads(Path(folder, "run/results.json").read_text())["seconds"]


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="configs/digits.py:tag")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("overrides", nargs="*", help="arguments of launch.py, after --")
  options = parser.parse_args()
  print(" ".join([options.config, *options.overrides]))
  walls, peaks = [], []
  for _ in range(options.repeats):
    try:
      wall, peak, seconds = measure(options.config, options.overrides)
    except subprocess.CalledProcessError as error:
      sys.exit(f"the run failed:\n{error.output}")
    walls.append(wall)
    peaks.append(peak)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    print(f"{wall:.1f} s, peak {peak:.0f} MiB (by the run itself, s: {parts})", flush=True)
  print(f"median {statistics.median(walls):.1f} s, peak {max(peaks):.0f} MiB")


if __name__ == "__main__":
  main()
