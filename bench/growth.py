"""How the cost of each method grows with tasks, classes and exemplars: time of a step, and state.

A perceptron 784-100-100 in the scenario "task", batches of 10 on random images, at the last task.
The base is 5 tasks of 2 classes and one exemplar of each pair of task and class; one of the three
numbers grows at a time. A step is timed in the compiled loop (median of some calls), the state of
the method is counted: exemplars, anchors, moments. With tasks and classes the head grows too, and
with it every step: the line of SGD shows how much.

Figures go to `docs/figures/growth.json`, method by method, so that some methods at a time can be
measured (`--methods`); what is there of the others stays. From the file the script writes the plot
`docs/images/growth.png` and the tables of `docs/growth.md`; `--methods=` only does that.

  python -m bench.growth [--methods=sgd,ewc,...] [--steps=40]
"""

import argparse
import functools
import json
import math
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bench.train_step import make_programs
from tagjax.core.register import declared
from tagjax.core.types import StreamSpec
from tagjax.input_pipeline.device_examples import DeviceExamples

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs/figures/growth.json"
PLOT = ROOT / "docs/images/growth.png"
PAGE = ROOT / "docs/growth.md"
BATCH, REPEATS, EXAMPLES = 10, 5, 500
METHODS = ["sgd", "tag", *(name for name, one in declared("modifier").items() if one.needs_past)]
AXES = {"tasks": (5, 20, 100), "classes": (2, 10, 50), "exemplars": (1, 10, 100)}


class Point(NamedTuple):
  """One stream: `tasks` of `classes` each, and `exemplars` of each pair."""

  tasks: int = 5
  classes: int = 2
  exemplars: int = 1


def points(method: str) -> list[Point]:
  """The base, and one number larger at a time; exemplars only where there are some."""
  axes = [axis for axis in AXES if axis != "exemplars" or is_memory(method)]
  return [Point()] + [Point()._replace(**{axis: n}) for axis in axes for n in AXES[axis][1:]]


def is_memory(method: str) -> bool:
  found = declared("modifier").get(method)
  return found is not None and "memory" in found.shared.values()


def measure(method: str, point: Point, steps: int) -> dict[str, float]:
  """Milliseconds a step, and bytes of the method's state."""
  classes = np.kron(np.eye(point.tasks, dtype=bool), np.ones((1, point.classes), bool))
  spec = StreamSpec(point.tasks, point.tasks * point.classes, classes, "task", (28, 28, 1))
  optimizer = "" if method in ("sgd", "tag") else "+sgd"
  settings = {"model": "mlp", "mlp.hidden": (100, 100), "method": method + optimizer}
  settings |= {"learning_rate": 1e-4, "batch_size": BATCH}
  if is_memory(method):
    settings["memory.capacity"] = point.exemplars
  programs = make_programs(spec, [steps] * point.tasks, **settings)
  key, phase = jax.random.key(0)[None], programs.phases[0].name
  state = programs.init(key)
  held = jax.tree.leaves(programs.held(key).method)

  def train(state, task, epoch, steps):
    state, chunk = programs.train(state, data_of(spec, task), task, epoch, 0, steps, phase=phase)
    assert int(chunk.steps[0]) == steps, "the loss diverged"
    return state

  for task in range(point.tasks):  # compiles, and fills memories
    state = train(state, task, task, 10)
  times = []
  for epoch in range(point.tasks, point.tasks + REPEATS):
    start = time.perf_counter()
    state = train(state, point.tasks - 1, epoch, steps)
    times.append(1e3 * (time.perf_counter() - start) / steps)
  return {
    "milliseconds": statistics.median(times),
    "bytes": sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in held),
  }


@functools.lru_cache(maxsize=1)
def images(shape: tuple[int, ...]) -> jax.Array:
  return jnp.asarray(np.random.default_rng(0).integers(0, 256, (EXAMPLES, *shape), np.uint8))


def data_of(spec: StreamSpec, task: int) -> DeviceExamples:
  outputs = np.flatnonzero(spec.classes[task])
  label = jnp.asarray(outputs[np.arange(EXAMPLES) % len(outputs)], jnp.int32)
  return DeviceExamples(
    images(spec.image_shape),
    label,
    jnp.full(EXAMPLES, task, jnp.int32),
    jnp.arange(EXAMPLES),
    jnp.int32(EXAMPLES),
  )


def update(methods: list[str], steps: int) -> None:
  """Measures these methods and puts them into the file."""
  figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
  for method in methods:
    figures[method] = [
      {**point._asdict(), **measure(method, point, steps)} for point in points(method)
    ]
    print(method, " ".join(f"{row['milliseconds']:.3f}" for row in figures[method]), flush=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def series(figures: dict, method: str, axis: str, what: str) -> list[float | None]:
  """The figures along an axis; None where nothing was measured."""
  wanted = [Point()._replace(**{axis: number}) for number in AXES[axis]]
  rows = {Point(*(row[name] for name in Point._fields)): row[what] for row in figures[method]}
  return [rows.get(point) for point in wanted]


def order(figures: dict) -> list[str]:
  return [method for method in METHODS if method in figures]


def plot(figures: dict) -> None:
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  whats = {"milliseconds": (1.0, "ms a step"), "bytes": (2.0**-20, "state, MiB")}
  figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), sharex="col", sharey="row")
  for row, (what, (scale, label)) in zip(axes, whats.items(), strict=True):
    for panel, axis in zip(row, AXES, strict=True):
      for number, method in enumerate(order(figures)):
        values = series(figures, method, axis, what)
        if None not in values and any(values):
          style = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--"}
          heights = [scale * value for value in values]
          panel.loglog(AXES[axis], heights, marker=".", label=method, **style)
      panel.set_xlabel(axis if what == "bytes" else "")
    row[0].set_ylabel(label)
  handles, labels = axes[0, 0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="center right")
  figure.tight_layout(rect=(0, 0, 0.9, 1))
  figure.savefig(PLOT, dpi=100)


def page(figures: dict) -> str:
  lines = [
    "# How cost grows",
    "",
    "Written by `python -m bench.growth`, which says what is measured; the figures are in",
    "[figures/growth.json](figures/growth.json). Two cores of an AMD EPYC,",
    f"jax {jax.__version__}. One number grows at a time, the others stay at 5 tasks of 2 classes",
    "and one exemplar of each pair of task and class.",
    "",
    "![milliseconds a step and bytes of state](images/growth.png)",
  ]
  for what, scale, title in (("milliseconds", 1, "Milliseconds a step"), ("bytes", 2**-20, "MiB")):
    note = " of the method's state" if what == "bytes" else ""
    heads = [
      f"{number} {axis if number > 1 else axis[:-1]}"
      for axis, numbers in AXES.items()
      for number in numbers
    ]
    lines += ["", f"## {title}{note}", "", "| | " + " | ".join(heads) + " |"]
    lines += ["|---|" + "---:|" * len(heads)]
    for method in order(figures):
      values = [value for axis in AXES for value in series(figures, method, axis, what)]
      cells = ["" if value is None else f"{scale * value:.2f}" for value in values]
      lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
  return "\n".join(lines) + "\n"


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
  parser.add_argument("--steps", type=int, default=40, help="of one timed call")
  options = parser.parse_args()
  update([method for method in options.methods.split(",") if method], options.steps)
  figures = json.loads(FIGURES.read_text())
  plot(figures)
  PAGE.write_text(page(figures))


if __name__ == "__main__":
  main()
