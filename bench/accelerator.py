"""Everything that needs an accelerator, in ten minutes: one JSON file and one Markdown table.

Parts, each in a process of its own that ends with its share of the time; what it had measured
by then is kept, and so is the error if it failed:

    card     the rate of matrix products and the memory's bandwidth, which the shares refer to
    tag      TAG's step alone, 0.5 and 11 million parameters, 20 tasks
    steps    a training step of the reduced ResNet and the MLP, float32 and bfloat16
    seeds    the same steps with 1, 5, 20, 50 and 100 seeds under vmap
    stream   whole runs of split CIFAR-10 by `tagjax.fit`, one seed and many
    torch    the same stream, one seed, in PyTorch eager; needs `pip install torch`

The share of a training step is that of the roofline: the greater of the time of its products at the
measured rate and the time of moving the least bytes at the measured bandwidth. Those are the
parameters three times (read, gradient, written) and the outputs of every layer twice. The share of
TAG's step is that of the bandwidth: all tasks' moments are read, the current one's written,
gradients read, parameters read and written.

CIFAR-10 comes from $TFDS_DATA_DIR; without it the images are random, of the same shape, and the
table says so. `--small` runs all of it in small, in one process, on whatever there is.

  python -m bench.accelerator [--parts=card,tag] [--seconds=600] [--small] [--out=FILE.json]
"""

import argparse
import copy
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"card": 0.08, "tag": 0.12, "steps": 0.2, "seeds": 0.32, "stream": 0.18, "torch": 0.1}
"""Of the time; a part that ends early leaves the rest to the others."""
MANY = 50
GOALS = {"tag": 0.7, "seeds": 3.0, "stream": 20.0}
Row = dict[str, Any]


class Size(NamedTuple):
  """How much is measured."""

  products: int = 8192
  bandwidth: int = 2**28  # numbers of 4 bytes
  tag: tuple[int, ...] = (0, 11_000_000)  # parameters of one tensor; 0: the ResNet's 48 tensors
  num_tasks: int = 20
  models: tuple[str, ...] = ("reduced_resnet", "mlp")
  dtypes: tuple[str, ...] = ("float32", "bfloat16")
  seeds: tuple[int, ...] = (1, MANY, 20, 100, 5)  # the goal's first
  steps: int = 200
  repeats: int = 5
  stream_model: str = "reduced_resnet"
  stream_seeds: tuple[int, ...] = (1, MANY)
  stream_tasks: int = 5
  train: int = 10_000
  test: int = 2_000


SMALL = Size(
  products=64,
  bandwidth=2**12,
  tag=(400,),
  num_tasks=3,
  models=("mlp",),
  dtypes=("bfloat16",),
  seeds=(1, 2),
  steps=3,
  repeats=1,
  stream_model="mlp",
  stream_seeds=(2,),
  stream_tasks=2,
  train=20,
  test=10,
)
BATCH = 10
MLP = {"mlp.hidden": (100, 100)}


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
  """Of a call that waits for its result; one more goes before."""
  call()
  found = []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    found.append(time.perf_counter() - start)
  return statistics.median(found)


def card(size: Size) -> Iterator[Row]:
  """Products a second in both dtypes, and bytes a second of reading and of copying."""
  import jax
  import jax.numpy as jnp

  device = jax.devices()[0]
  yield {"case": "device", "device": device.device_kind, "platform": device.platform}
  for dtype in ("float32", "bfloat16"):
    matrix = jnp.ones((size.products, size.products), dtype)
    # A loop: a single product is too short to time from Python. Its result is the next one's factor
    # at once, so nothing can be left out.
    power = jax.jit(
      lambda a: jax.lax.fori_loop(0, 10, lambda _, b: (a @ b) * (1 / size.products), a)
    )
    seconds = median_seconds(lambda p=power, m=matrix: p(m).block_until_ready(), size.repeats)
    yield {"case": f"products, {dtype}", "flops": 10 * 2 * size.products**3 / seconds}
  numbers = jnp.ones(size.bandwidth)
  ways = {
    "read": (jax.jit(lambda x, s: jnp.sum(x * s)), 1),
    "read and written": (jax.jit(lambda x, s: x * s), 2),
  }
  for name, (call, passes) in ways.items():
    seconds = median_seconds(lambda c=call: c(numbers, 1.5).block_until_ready(), size.repeats)
    yield {"case": f"memory, {name}", "bytes": 4 * passes * size.bandwidth / seconds}


def tag(size: Size) -> Iterator[Row]:
  """A step of TAG in a compiled loop, without a model, in the last task."""
  import functools

  import jax
  import jax.numpy as jnp
  import optax

  from bench.tag_step import shapes
  from tagjax.transforms import tag as make_tag

  transform = optax.with_extra_args_support(make_tag(1e-4, size.num_tasks))

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def loop(state, params, grads):
    def body(_, carry):
      state, params = carry
      updates, state = transform.update(grads, state, params, task_id=size.num_tasks - 1)
      return state, optax.apply_updates(params, updates)

    return jax.lax.fori_loop(0, size.steps, body, (state, params))

  for parameters in size.tag:
    sizes = [(math.isqrt(parameters),) * 2] if parameters else shapes()
    grads = [jnp.full(shape, 0.01) for shape in sizes]
    start = time.perf_counter()
    params = [jnp.ones(shape) for shape in sizes]
    carry = jax.block_until_ready(loop(transform.init(params), params, grads))
    compiling = time.perf_counter() - start
    found = []
    for _ in range(size.repeats):
      start = time.perf_counter()
      carry = jax.block_until_ready(loop(*carry, grads))
      found.append((time.perf_counter() - start) / size.steps)
    total = sum(math.prod(shape) for shape in sizes)
    yield {
      "case": f"{total:,} parameters, T = {size.num_tasks}",
      "step": statistics.median(found),
      "moved": 4 * total * (2 * size.num_tasks + 5),
      "compile": compiling - found[0] * size.steps,
    }


def layers(model: str) -> list[tuple[int, int]]:
  """Products (multiplications) and outputs of each layer of `stream_spec`'s network, an image."""
  if model == "mlp":
    widths = (28 * 28, 100, 100, 100)
    return [(before * after, after) for before, after in itertools.pairwise(widths)]
  side, before = 32, 20
  found = [(side**2 * 9 * 3 * 20, side**2 * 20)]
  for width, stride in ((20, 1), (40, 2), (80, 2), (160, 2)):
    side //= stride
    outputs = side**2 * width
    found += [(outputs * 9 * before, outputs), (outputs * 9 * width, outputs)]
    if stride > 1:
      found += [(outputs * before, outputs)]
    before = width
  return [*found, (160 * 100, 100)]


def least(model: str, dtype: str, parameters: int) -> dict[str, float]:
  """Floating point operations and bytes of a training step of one seed that nothing can save."""
  products, outputs = (sum(part) for part in zip(*layers(model), strict=True))
  width = {"float32": 4, "bfloat16": 2}[dtype]
  return {"work": 3 * 2 * BATCH * products, "moved": 12 * parameters + 2 * width * BATCH * outputs}


class Lanes:
  """The compiled loop that launch.py runs, with seeds side by side under vmap."""

  def __init__(self, model: str, dtype: str, seeds: int, steps: int):
    import jax

    from bench.train_step import TASKS, examples, stream_spec
    from tagjax.config import build
    from tagjax.config.validate import validate
    from tagjax.engine.layout import Layout
    from tagjax.engine.learner import make_learner
    from tagjax.engine.programs import Programs

    spec = stream_spec(model)
    # A small learning rate: random labels must not make the loss diverge.
    settings = {"model": model, "method": "sgd", "learning_rate": 1e-4, "compute_dtype": dtype}
    settings = validate(settings | (MLP if model == "mlp" else {}))
    method = build.build_method(settings, spec, [steps] * TASKS)({})
    learner = make_learner(build.build_model(settings, spec), method, spec)
    layout = Layout(num_lanes=seeds)
    self.programs = Programs(
      learner, learner, batch_size=BATCH, eval_batch_size=BATCH, layout=layout
    )
    self.data, self.steps = examples(spec, steps * BATCH), steps
    self.state = self.programs.init(jax.random.split(jax.random.key(0), seeds))
    self.task = TASKS - 1
    params = jax.tree.leaves(self.state.variables["params"])
    self.parameters = sum(leaf.size for leaf in params) // seeds

  def train(self) -> None:
    phase = self.programs.phases[0].name
    self.state, chunk = self.programs.train(
      self.state, self.data, self.task, 0, 0, self.steps, phase=phase
    )
    assert int(chunk.steps[0]) == self.steps, "the loss diverged"  # int() waits for the device

  def row(self, case: str, model: str, dtype: str, seeds: int, repeats: int) -> Row:
    seconds = median_seconds(self.train, repeats) / self.steps
    of_one = least(model, dtype, self.parameters)
    return {
      "case": case,
      "model": model,
      "dtype": dtype,
      "seeds": seeds,
      "step": seconds,
      "images": seeds * BATCH / seconds,
      "compile": self.programs.compile_seconds,
      **{name: seeds * value for name, value in of_one.items()},
    }


def steps(size: Size) -> Iterator[Row]:
  for model in size.models:
    for dtype in size.dtypes:
      lanes = Lanes(model, dtype, 1, size.steps)
      yield lanes.row(f"{model}, {dtype}", model, dtype, 1, size.repeats)


def seeds(size: Size) -> Iterator[Row]:
  for model in size.models:
    for number in size.seeds:
      lanes = Lanes(model, "float32", number, size.steps)
      word = "seed" if number == 1 else "seeds"
      yield lanes.row(f"{model}, {number} {word}", model, "float32", number, size.repeats)


def load_tasks(size: Size) -> tuple[list[tuple], str]:
  """`(image, label, test image, test label)` of each task, and where the images are from."""
  import numpy as np

  if os.environ.get("TFDS_DATA_DIR") and size.train > 1000:
    import tagjax

    stream = tagjax.load_benchmark("split_cifar10", num_tasks=size.stream_tasks)
    tasks = [stream[task] for task in range(size.stream_tasks)]
    parts = [
      tuple(np.asarray(array) for part in (t.train, t.test) for array in (part.image, part.label))
      for t in tasks
    ]
    return parts, "CIFAR-10"
  rng = np.random.default_rng(0)

  def noise(task: int, count: int):
    image = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return image, (2 * task + rng.integers(0, 2, count)).astype(np.int32)

  tasks = range(size.stream_tasks)
  return [(*noise(t, size.train), *noise(t, size.test)) for t in tasks], "random images"


def stream(size: Size) -> Iterator[Row]:
  """Whole runs, from the arrays to the accuracies."""
  import optax

  import tagjax

  tasks, source = load_tasks(size)
  benchmark = tagjax.Stream.from_arrays("split_cifar10", tasks, max_value=255)
  outputs = benchmark.spec.num_outputs
  for number in size.stream_seeds:
    if size.stream_model == "mlp":
      model = tagjax.models.MLP(outputs, hidden=(8,))
    else:
      model = tagjax.models.ReducedResNet(outputs)
    start = time.perf_counter()
    run = tagjax.fit(
      benchmark,
      model,
      optax.sgd(0.01),
      batch_size=BATCH,
      normalization="signed",
      seeds=number,
      seed_axis="vmap",
      progress=False,
    )
    whole = time.perf_counter() - start
    seconds = run.results["seconds"]
    count = len(tasks) * -(-size.train // BATCH)
    yield {
      "case": f"tagjax, {source}, {number} seed{'s' if number > 1 else ''}",
      "seeds": number,
      "step": seconds["train"] / count,
      "images": number * count * BATCH / seconds["train"],
      "compile": seconds["compile"],
      "whole": whole,
      "an_hour": 3600 * number / whole,
    }


def torch(size: Size) -> Iterator[Row]:
  """The same stream in PyTorch eager, one seed, as its users write it."""
  try:
    import torch as pytorch
  except ImportError:
    yield {"case": "PyTorch", "error": "not measured: pip install torch"}
    return
  from bench.torch_split_cifar10 import ReducedResNet, accuracy, train

  device = "cuda" if pytorch.cuda.is_available() else "cpu"
  tasks, source = load_tasks(size)
  network = ReducedResNet(2 * size.stream_tasks).to(device)
  optimizer = pytorch.optim.SGD(network.parameters(), 0.01)

  def put(image, label):
    pixels = pytorch.tensor(image, device=device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return pixels.contiguous(), pytorch.tensor(label, device=device).long()

  train(network, optimizer, put(tasks[0][0][:BATCH], tasks[0][1][:BATCH]), 0)  # warms up
  start, training = time.perf_counter(), 0.0
  for task, (image, label, *_) in enumerate(tasks):
    begun = time.perf_counter()
    train(network, optimizer, put(image, label), task)
    if device == "cuda":
      pytorch.cuda.synchronize()
    training += time.perf_counter() - begun
    for past in range(task + 1):
      accuracy(network, put(*tasks[past][2:]), past)
    # One row a task: if the time runs out, the last one counts, times the tasks that are missing.
    done, steps = task + 1, -(-size.train // BATCH)
    whole = (time.perf_counter() - start) * len(tasks) / done
    yield {
      "case": f"PyTorch {pytorch.__version__} eager on {device}, {source}, one seed",
      "replaces": True,
      "tasks": f"{done} of {len(tasks)}",
      "step": training / (done * steps),
      "images": done * steps * BATCH / training,
      "whole": whole,
      "an_hour": 3600 / whole,
    }


PARTS: Mapping[str, Callable[[Size], Iterator[Row]]] = {
  "card": card,
  "tag": tag,
  "steps": steps,
  "seeds": seeds,
  "stream": stream,
  "torch": torch,
}


def add(rows: list[Row], row: Row) -> None:
  """A row that replaces takes the place of the one of its case."""
  if row.pop("replaces", False):
    rows[:] = [other for other in rows if other["case"] != row["case"]]
  rows.append(row)


def here(part: str, size: Size, seconds: float) -> list[Row]:
  """The part's rows in this process, until the time is over."""
  rows, end = [], time.perf_counter() + seconds
  try:
    for row in PARTS[part](size):
      add(rows, row)
      if time.perf_counter() > end:
        rows.append({"case": "the rest", "error": f"not measured: {seconds:.0f} s are over"})
        break
  except Exception as error:  # whatever it is, the other parts go on
    rows.append({"case": "the rest", "error": f"{type(error).__name__}: {first_line(str(error))}"})
  return rows


def apart(part: str, seconds: float) -> list[Row]:
  """The part's rows, from a process of its own, which prints one a line."""
  command = [sys.executable, "-m", "bench.accelerator", f"--child={part}"]
  process = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  try:
    output, errors = process.communicate(timeout=seconds)
    failed = process.returncode and first_line(errors.strip().rpartition("\n")[2] or "it died")
  except subprocess.TimeoutExpired:
    process.kill()
    output, _ = process.communicate()
    failed = f"not measured: {seconds:.0f} s are over"
  rows: list[Row] = []
  for line in output.splitlines():
    if line.startswith('{"case"'):
      add(rows, json.loads(line))
  return rows + ([{"case": "the rest", "error": failed}] if failed else [])


def first_line(text: str) -> str:
  return text.partition("\n")[0][:160]


def measure(options) -> dict[str, Any]:
  """The rows of all parts, each within its share of what time is left."""
  found, left = {}, options.seconds
  for index, part in enumerate(options.parts):
    share = SHARES[part] / sum(SHARES[name] for name in options.parts[index:])
    start, limit = time.perf_counter(), left * share
    found[part] = here(part, SMALL, limit) if options.small else apart(part, limit)
    left -= time.perf_counter() - start
    keep(found, options)
  return found


def compared(measured: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
  """The rows with what follows from several of them: shares, ratios and goals."""
  found = copy.deepcopy(dict(measured))
  known = {row["case"]: row for row in found.get("card", [])}
  bandwidth = max((row["bytes"] for row in known.values() if "bytes" in row), default=None)
  for row in found.get("tag", []):
    if bandwidth and "moved" in row:
      row["share"] = row["moved"] / row["step"] / bandwidth
      _goal(row, row["share"], GOALS["tag"], f"goal {GOALS['tag']:.0%} of the bandwidth")
  for row in found.get("steps", []) + found.get("seeds", []):
    rate = known.get(f"products, {row.get('dtype')}", {}).get("flops")
    if rate and bandwidth and "work" in row:
      row["share"] = max(row["work"] / rate, row["moved"] / bandwidth) / row["step"]
  _compare_seeds(found.get("seeds", []))
  _compare_streams(found)
  return found


def _compare_seeds(rows: Sequence[Row]) -> None:
  one = {row["model"]: row["step"] for row in rows if row.get("seeds") == 1}
  for row in rows:
    if row.get("seeds", 1) > 1 and row["model"] in one:
      times = row["step"] / one[row["model"]]
      row["remark"] = f"{times:.2f} times one seed's time"
      if row["seeds"] == MANY:
        _goal(row, GOALS["seeds"], times, f"goal at most {GOALS['seeds']:.0f}")


def _compare_streams(found: Mapping[str, list[Row]]) -> None:
  theirs = [row["an_hour"] for row in found.get("torch", []) if "an_hour" in row]
  for row in found.get("stream", []):
    if theirs and "an_hour" in row:
      times = row["an_hour"] / theirs[0]
      row["remark"] = f"{times:.1f} times PyTorch's seeds an hour"
      if row["seeds"] == MANY:
        _goal(row, times, GOALS["stream"], f"goal {GOALS['stream']:.0f}")


def _goal(row: Row, value: float, at_least: float, text: str) -> None:
  word = "reached" if value >= at_least else "not reached"
  row["remark"] = ", ".join([*filter(None, [row.get("remark")]), f"{text}: {word}"])


HEAD = ("part", "case", "ms a step", "rate", "share", "compile s", "remarks")


def render(found: Mapping[str, list[Row]]) -> str:
  """The Markdown table."""
  lines = ["| " + " | ".join(HEAD) + " |", "|---|---|---:|---:|---:|---:|---|"]
  for part, rows in found.items():
    order = sorted(rows, key=lambda row: (row.get("model", ""), row.get("seeds", 0)))
    lines += ["| " + " | ".join(_cells(part, row)) + " |" for row in (order or rows)]
  return "\n".join(lines) + "\n"


def _cells(part: str, row: Row) -> list[str]:
  told = [row[name] for name in ("device", "remark", "error") if name in row]
  if "whole" in row:
    told.append(f"whole run {row['whole']:.1f} s")
  if "tasks" in row:
    told.append(f"{row['tasks']} tasks measured")
  return [
    part,
    row["case"],
    f"{1e3 * row['step']:.3f}" if "step" in row else "",
    _rate(row),
    f"{row['share']:.1%}" if "share" in row else "",
    f"{row['compile']:.1f}" if "compile" in row else "",
    "; ".join(told),
  ]


def _rate(row: Row) -> str:
  if "flops" in row:
    return f"{row['flops'] / 1e12:.3f} TFLOP/s"
  if "bytes" in row:
    return f"{row['bytes'] / 1e9:.1f} GB/s"
  if "an_hour" in row:
    return f"{row['images']:.0f} images/s, {row['an_hour']:.0f} seeds/h"
  if "images" in row:
    return f"{row['images']:.0f} images/s"
  if "moved" in row:
    return f"{row['moved'] / row['step'] / 1e9:.1f} GB/s"
  return ""


def keep(found: Mapping[str, list[Row]], options) -> None:
  """Writes both files, so that what has been measured outlives the process."""
  found = compared(found)
  about = {"small": options.small, "seconds": options.seconds}
  options.out.parent.mkdir(parents=True, exist_ok=True)
  options.out.write_text(json.dumps({"about": about, "parts": found}, indent=1))
  options.out.with_suffix(".md").write_text(render(found))


def parse(arguments: Sequence[str] | None = None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
  parser.add_argument("--seconds", type=float, default=600.0, help="of all parts together")
  parser.add_argument("--small", action="store_true", help="all of it in small, in one process")
  parser.add_argument("--out", type=Path, default=Path("runs/bench/accelerator.json"))
  parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  unknown = set(options.parts) - set(PARTS)
  if unknown:
    parser.error(f"--parts={','.join(sorted(unknown))}: there are {', '.join(PARTS)}")
  return options


def main(arguments: Sequence[str] | None = None) -> None:
  options = parse(arguments)
  if options.child:
    for row in PARTS[options.child](Size()):
      print(json.dumps(row), flush=True)
    return
  print(render(compared(measure(options))))


if __name__ == "__main__":
  main()
