"""The reduced ResNet's training step under XLA's own flags, and with a device for each core.

Flags are read when a process starts, so each set of them has a process of its own; all sets take
turns, `--passes` times, the one without flags among them; a product by NumPy, which no flag
changes, tells how fast the machine was meanwhile. A step is that of bench/convolutions.py:
batch 10, 32 pixels, SGD. "direct" is XLA's convolution, "patches" one product of matrices
(`tagjax.models.convolution`), each in a compiled loop and called from Python.

Devices: whole runs of `tagjax.fit` on random images, on one device with all cores or on two, which
share each batch (`data_parallel=2`, five examples each) or train a seed each.

`--list` prints the flags of this jaxlib that may concern convolutions, with their defaults.

  python -m bench.convolution_flags [--part=flags] [--passes=3] [--only=none,xnn_off] [--list]
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLAGS: Mapping[str, str] = {
  "none": "",
  "vectors_128": "--xla_cpu_prefer_vector_width=128",
  "vectors_512": "--xla_cpu_prefer_vector_width=512",
  "onednn": "--xla_cpu_use_onednn=true",
  "onednn_calls": "--xla_cpu_use_onednn=true --xla_cpu_experimental_onednn_custom_call=true",
  "onednn_fusions": "--xla_cpu_use_onednn=true "
  "--xla_cpu_experimental_onednn_fusion_type=dot,eltwise,reduce",
  "xnn_off": "--xla_cpu_use_xnnpack=false",
  "xnn_fusions": "--xla_cpu_experimental_xnn_fusion_type=dot,eltwise,reduce",
  "xnn_graphs": "--xla_cpu_experimental_xnn_graph_fusion_mode=XNN_GRAPH_FUSION_MODE_GREEDY",
  "tiling": "--xla_cpu_experimental_enable_tiling_propagation=true",
  "old_emitters": "--xla_cpu_use_fusion_emitters=false",
  "fast_runtime": "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_RUNTIME",
  "fast_math": "--xla_cpu_enable_fast_math=true",
  "one_thread": "--xla_cpu_multi_thread_eigen=false",
}
TWO = "--xla_force_host_platform_device_count=2"
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
# Flags of XLA, and options of the run.
DEVICES: Mapping[str, tuple[str, dict]] = {
  "one device, one run": ("", {}),
  "one device, one run, single-threaded": (ONE_THREAD, {}),
  "two devices share each batch": (TWO, {"data_parallel": 2}),
  "two devices share each batch, single-threaded": (f"{TWO} {ONE_THREAD}", {"data_parallel": 2}),
  "one device, two seeds in turn": ("", {"seeds": 2, "seed_axis": "loop"}),
  "two devices, a seed each": (TWO, {"seeds": 2, "seed_axis": "devices"}),
  "two devices, a seed each, single-threaded": (
    f"{TWO} {ONE_THREAD}",
    {"seeds": 2, "seed_axis": "devices"},
  ),
}
REFERENCE = "NumPy product"
KNOWN = re.compile(r"^\s*(--xla_(?:cpu|force_host)\w*=\S*)", re.MULTILINE)


class Reference:
  """A product by NumPy, which no flag of XLA changes: how fast the machine is at the moment."""

  def __init__(self, size: int = 1024):
    import numpy as np

    self.matrix = np.ones((size, size), np.float32)

  def time(self, steps: int) -> tuple[float, float]:
    """Milliseconds, as `bench.convolutions.Variant.time`."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
      self.matrix @ self.matrix
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return 1e3 * wall / steps, 1e3 * processor / steps


def time_flags(rounds: int, steps: int, lowerings: list[str]) -> dict[str, float]:
  """Milliseconds a step in this process: medians of the rounds."""
  from bench.convolutions import LOWERINGS, Variant

  variants = {
    f"{name} {place}": Variant(LOWERINGS[name], place == "in a loop", seeds=1, masked=True)
    for name in lowerings
    for place in ("in a loop", "from Python")
  }
  variants[REFERENCE] = Reference()
  times = {name: [] for name in variants}
  for number in range(rounds + 1):  # the first warms up
    for name, variant in variants.items():
      wall, _ = variant.time(steps)
      if number:
        times[name].append(wall)
  return {name: statistics.median(values) for name, values in times.items()}


def time_fit(images: int, options: dict) -> dict[str, float]:
  """Milliseconds a step and seed of a run of two tasks in this process."""
  import numpy as np
  import optax

  import tagjax

  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (images, 32, 32, 3), np.uint8)
  label = rng.integers(0, 2, images)
  test = (image[:10], label[:10])
  stream = tagjax.Stream.from_arrays("noise", [(image, label, *test)] * 2)
  model = tagjax.models.ReducedResNet(stream.spec.num_outputs)
  run = tagjax.fit(stream, model, optax.sgd(1e-4), batch_size=10, progress=False, **options)
  steps = 2 * -(-images // 10) * options.get("seeds", 1)
  return {"a step and seed": 1e3 * run.results["seconds"]["train"] / steps}


def in_process(flags: str, request: dict) -> dict[str, float] | str:
  """What a fresh process with these flags measures; a line that says why it did not."""
  environment = os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
  command = [sys.executable, "-m", "bench.convolution_flags", f"--child={json.dumps(request)}"]
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  if done.returncode:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"exit {done.returncode}: {lines[-1][:120] if lines else 'without a word'}"
  return json.loads(done.stdout.splitlines()[-1])


Found = dict[str, dict[str, list[float]] | str]


def measure(part: str, names: list[str], options, found: Found) -> Found:
  """Every set in turn, `passes` times, beside what was found; one that failed is left out."""
  for name in names:
    found.setdefault(name, {})
  for _ in range(options.passes):
    for name in names:
      if isinstance(found[name], str):
        continue
      if part == "flags":
        flags = FLAGS[name]
        request = {"rounds": options.rounds, "steps": options.steps}
        request |= {"lowerings": options.lowerings.split(",")}
      else:
        flags, changes = DEVICES[name]
        request = {"images": options.images, "options": changes}
      result = in_process(flags, request)
      if isinstance(result, str):
        found[name] = result
        continue
      for column, value in result.items():
        found[name].setdefault(column, []).append(value)
      keep(found, options.out)
  return found


def keep(found: Found, path: Path | None) -> None:
  if path:
    path.write_text(json.dumps(found, indent=1))


def show(found: Found) -> None:
  """Medians and minima over the processes, and the minimum against the first row's.

  Minima, since the machine's slow minutes meet some processes and not others.
  """
  first = next(row for row in found.values() if not isinstance(row, str))
  width = max(map(len, found)) + 2
  print(" " * width + "".join(f"{column:>26}" for column in first) + "  processes")
  for name, row in found.items():
    if isinstance(row, str):
      print(f"{name:{width}}{row}")
      continue
    cells = []
    for column, values in row.items():
      against = min(values) / min(first[column])
      cells.append(f"{statistics.median(values):9.1f}{min(values):8.1f}{against:9.2f}")
    print(f"{name:{width}}" + "".join(cells) + f"{len(values):11}")


def known_flags() -> list[str]:
  """This jaxlib's flags for the CPU with their defaults, as XLA lists them."""
  environment = os.environ | {"XLA_FLAGS": "--help"}
  command = [sys.executable, "-c", "import jax; jax.devices()"]
  told = subprocess.run(command, env=environment, capture_output=True, text=True)
  return KNOWN.findall(told.stdout + told.stderr)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--part", choices=("flags", "devices"), default="flags")
  parser.add_argument("--only", help="sets by name, comma-separated; devices by number, from 1")
  parser.add_argument("--passes", type=int, default=3, help="processes for each set")
  parser.add_argument("--rounds", type=int, default=3, help="of a process")
  parser.add_argument("--steps", type=int, default=4, help="of a round")
  parser.add_argument("--lowerings", default="direct,patches")
  parser.add_argument("--images", type=int, default=300, help="of each of two tasks, for devices")
  parser.add_argument("--out", type=Path, help="a JSON file to which the passes are added")
  parser.add_argument("--list", action="store_true", help="only print the flags")
  parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.list:
    print("\n".join(known_flags()))
    return
  if options.child:
    work = time_flags if "rounds" in options.child else time_fit
    print(json.dumps(work(**options.child)))
    return
  sets = list(FLAGS if options.part == "flags" else DEVICES)
  if options.only:
    chosen = options.only.split(",")
    sets = [sets[int(name) - 1] if name.isdigit() else name for name in chosen]
  import jaxlib

  print(
    f"jaxlib {jaxlib.__version__}, {os.cpu_count()} cores; ms: median and minimum over processes, "
    "and the minimum against the first row's"
  )
  known = options.out is not None and options.out.exists()
  show(measure(options.part, sets, options, json.loads(options.out.read_text()) if known else {}))


if __name__ == "__main__":
  main()
