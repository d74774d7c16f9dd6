"""A step of LASEM against the steps of all its configurations, one after another, and against HPS.

The program that `launch.py` runs, on random images of 32 pixels, batches of 10: networks of four
and of six convolutions (CIFAR's of the paper), hard parameter sharing, RMSProp.

- `lasem`: a step over all 2^L configurations;
- `separate`: 2^L steps of LASEM with a single configuration each, which is what a program has to
  take that knows nothing of what configurations have in common;
- `hps`: a step of the network in which all tasks share all convolutions.

They take turns, so that what else the machine does hits all; medians of the rounds. Operations are
counted by `tagjax.engine.flops`. Figures go to `docs/figures/lasem_speed.json`, and the table of
them into `docs/lifelong_architectures.md`; `--layers=` only writes the table.

  python -m bench.lasem [--layers=4,6] [--rounds=3]
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import jax
import numpy as np

from bench.train_step import make_programs
from tagjax.core.types import StreamSpec
from tagjax.input_pipeline.device_examples import DeviceExamples

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs/figures/lasem_speed.json"
PAGE = ROOT / "docs/lifelong_architectures.md"
START, END = "<!-- written by python -m bench.lasem -->\n", "<!-- end -->\n"
TASKS, CLASSES, BATCH = 10, 10, 10
CHANNELS = (32, 32, 64, 64, 128, 128)
STEPS_OF_HPS = 4  # in a turn


def network(layers: int, sharing: str) -> dict:
  """The keys of the config."""
  return {
    "model": "hps",
    "convolutions.channels": CHANNELS[:layers],
    "convolutions.kernels": (3,) * layers,
    "convolutions.pools": (1, 2) * (layers // 2),
    "convolutions.hidden": (64,),
    "hps.sharing": sharing,
    "learning_rate": 1e-4,
    "batch_size": BATCH,
  }


class Timer:
  """One program; a call takes some steps of the first task."""

  def __init__(self, spec: StreamSpec, data: DeviceExamples, steps: int, **settings):
    self._programs = make_programs(spec, [steps] * TASKS, **settings)
    self._data, self.steps, self._epoch = data, steps, 0
    self._state = self._programs.init(jax.random.key(0)[None])
    self(1)  # compiles
    self.gflop = self._programs.step_flops(self._programs.phases[0].name, 0) * steps / 1e9
    self.compile_seconds = self._programs.compile_seconds

  def __call__(self, steps: int | None = None) -> float:
    """Seconds of the steps."""
    steps = steps or self.steps
    start, phase = time.perf_counter(), self._programs.phases[0].name
    self._state, chunk = self._programs.train(
      self._state, self._data, 0, self._epoch, 0, steps, phase=phase
    )
    assert int(chunk.steps[0]) == steps, "the loss diverged"
    self._epoch += 1
    return time.perf_counter() - start


def examples(steps: int) -> DeviceExamples:
  """Random examples of the first task."""
  rng = np.random.default_rng(0)
  number = steps * BATCH
  return jax.device_put(
    DeviceExamples(
      rng.integers(0, 256, (number, 32, 32, 3), np.uint8),
      rng.integers(0, CLASSES, number).astype(np.int32),
      np.zeros(number, np.int32),
      np.arange(number, dtype=np.int32),
      np.int32(number),
    )
  )


def measure(layers: int, rounds: int) -> dict:
  """The figures of one network."""
  classes = np.kron(np.eye(TASKS, dtype=bool), np.ones((1, CLASSES), bool))
  spec = StreamSpec(TASKS, TASKS * CLASSES, classes, "task", (32, 32, 3))
  configurations, searched = 2**layers, network(layers, "searched")
  data = examples(configurations)
  one = {"method": "lasem+rmsprop", "lasem.candidates": ("all",)}
  timers = {
    "lasem": Timer(spec, data, 1, **searched, method="lasem+rmsprop"),
    "separate": Timer(spec, data, configurations, **searched, **one),
    "hps": Timer(spec, data, STEPS_OF_HPS, **network(layers, "all"), method="rmsprop"),
  }
  seconds: dict[str, list[float]] = {name: [] for name in timers}
  for _ in range(rounds):
    for name, timer in timers.items():
      seconds[name].append(timer() / (STEPS_OF_HPS if name == "hps" else 1))
  found = {"layers": layers, "configurations": configurations}
  for name, timer in timers.items():
    found[name] = {
      "gflop": round(timer.gflop / (STEPS_OF_HPS if name == "hps" else 1), 3),
      "seconds": round(statistics.median(seconds[name]), 5),
      "of_rounds": [round(one, 5) for one in seconds[name]],
      "compile_seconds": round(timer.compile_seconds, 2),
    }
    print(layers, name, found[name], flush=True)
  return found


def table(figures: dict) -> str:
  """The section of the page."""
  lines = [
    f"{figures['device']} ({figures['cores']} cores), jax {figures['jax']}; medians of "
    f"{figures['rounds']} rounds in turn.",
    "",
    "| convolutions | what | Gflop | milliseconds | compile s | of a LASEM step: Gflop | time |",
    "|---:|---|---:|---:|---:|---:|---:|",
  ]
  for of_network in figures["networks"]:
    titles = {
      "lasem": "a step of LASEM",
      "separate": f"{of_network['configurations']} steps of a single configuration",
      "hps": "a step of HPS",
    }
    own = of_network["lasem"]
    for name, title in titles.items():
      row = of_network[name]
      ratios = (row[key] / own[key] for key in ("gflop", "seconds"))
      lines.append(
        f"| {of_network['layers']} | {title} | {row['gflop']:.2f} | {1000 * row['seconds']:.0f} | "
        f"{row['compile_seconds']:.0f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |"
      )
  return "\n".join(lines) + "\n"


def write_page(figures: dict) -> None:
  """Puts the table in its place."""
  before, rest = PAGE.read_text().split(START)
  _, after = rest.split(END)
  PAGE.write_text(f"{before}{START}\n{table(figures)}\n{END}{after}")


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--layers", default="4,6", help="comma-separated")
  parser.add_argument("--rounds", type=int, default=3)
  options = parser.parse_args()
  if options.layers:
    networks = [measure(int(layers), options.rounds) for layers in options.layers.split(",")]
    device = jax.devices()[0].device_kind
    figures = {"jax": jax.__version__, "device": device, "batch": BATCH, "rounds": options.rounds}
    figures["cores"] = os.cpu_count()
    FIGURES.write_text(json.dumps({**figures, "networks": networks}, indent=1) + "\n")
  write_page(json.loads(FIGURES.read_text()))


if __name__ == "__main__":
  main()
