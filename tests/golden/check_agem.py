"""Drives the library with a trace of A-GEM's repository: `python tests/golden/check_agem.py FILE`.

The trace gives minibatches, reference batches and initial values; the library does the rest: the
network of the permuted-MNIST script (`fc`) and the joint embedding (`je`), the methods VAN, EWC,
PI, RWALK, MAS and A-GEM, what they keep from step to step, and the metrics. A line for each says
the largest deviation, relative to the largest number of the array, and that of each kind of number.
Exit status 1 if one is above `--tolerance`: 1e-5, and 1e-9 with `--x64`.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from deviations import Deviations, command

from tagjax import methods, metrics
from tagjax.core.chain import chain
from tagjax.core.method import Method
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.evaluate import evaluate
from tagjax.engine.learner import make_learner
from tagjax.input_pipeline.device_examples import DeviceExamples
from tagjax.memory import capacity, items, ring
from tagjax.methods.quadratic import min_max
from tagjax.methods.si import follow

METHODS = ("van", "ewc", "pi", "rwalk", "mas", "agem")
STREAMS = ("fc", "je")


class Perceptron(nn.Module):
  """ReLU layers `layer0`, `layer1`, ..., and a linear head."""

  hidden: tuple[int, ...]
  num_outputs: int

  @nn.compact
  def __call__(self, image, *, task_id, mask, train, features=False):
    del task_id, mask, train
    x = image
    for place, width in enumerate(self.hidden):
      x = nn.relu(nn.Dense(width, name=f"layer{place}")(x))
    return x if features else nn.Dense(self.num_outputs, name="head")(x)


class Trace(NamedTuple):
  """One stream of a file: its keys without their prefix."""

  name: str
  keys: Mapping[str, np.ndarray]

  def __getitem__(self, key: str) -> np.ndarray:
    return self.keys[key]

  def number(self, key: str) -> int:
    return int(self.keys[key])

  @property
  def is_je(self) -> bool:
    return "attributes" in self.keys

  @property
  def hidden(self) -> tuple[int, ...]:
    return tuple(int(width) for width in np.atleast_1d(self["hidden"]))

  @property
  def spec(self) -> StreamSpec:
    tasks, outputs = self.number("num_tasks"), self.number("num_classes")
    classes = np.ones((tasks, outputs), bool)
    if self.is_je:
      classes = np.zeros_like(classes)
      np.put_along_axis(classes, self["labels"].astype(int), True, axis=1)
    scenario = "task" if self.is_je else "domain"
    shape = self["train_x"].shape[2:]
    return StreamSpec(tasks, outputs, classes, scenario, shape, np.dtype(jnp.asarray(0.0).dtype))

  def model(self) -> nn.Module:
    network = Perceptron(self.hidden, self.number("num_classes"))
    if not self.is_je:
      return network
    from tagjax.models import JointEmbedding

    return JointEmbedding(network, self["attributes"])

  @property
  def paths(self) -> list[tuple[str, ...]]:
    """Where the tensors lie in the tree of parameters, in the order of the trace."""
    layers = [(f"layer{place}",) for place in range(len(self.hidden))]
    inner = [(*layer, kind) for layer in layers for kind in ("kernel", "bias")]
    if self.is_je:
      return [*(("features", *path) for path in inner), ("embedding",), ("bias",)]
    return [*inner, ("head", "kernel"), ("head", "bias")]

  def tree(self, tensors: list[np.ndarray]) -> dict[str, Any]:
    """Flax's parameters."""
    tree: dict[str, Any] = {}
    for path, tensor in zip(self.paths, tensors, strict=True):
      inner = tree
      for name in path[:-1]:
        inner = inner.setdefault(name, {})
      inner[path[-1]] = jnp.asarray(tensor, jnp.asarray(0.0).dtype)
    return tree

  def tensors(self, tree: Any) -> list[np.ndarray]:
    """The tensors of a tree like the parameters."""
    return [np.asarray(functools.reduce(lambda node, key: node[key], path, tree))
            for path in self.paths]  # fmt: skip

  def flat(self, tree: Any) -> np.ndarray:
    """The vector `[P]` of a tree like the parameters."""
    return np.concatenate([tensor.ravel() for tensor in self.tensors(tree)])

  def task_of(self, label: np.ndarray) -> np.ndarray:
    """The task of each label; 0 where all tasks share them, or there is none."""
    table = np.zeros(self.number("num_classes") + 1, np.int32)
    if self.is_je:
      for task, labels in enumerate(self["labels"]):
        table[labels] = task
    return table[label]

  def batch(self, x: np.ndarray, y: np.ndarray, task: int | np.ndarray) -> Batch:
    """Rows as a batch; those whose label is -1 are padding."""
    label = np.asarray(y, np.int32)
    task_id = np.broadcast_to(np.asarray(task, np.int32), label.shape)
    image = jnp.asarray(x, self.spec.image_dtype)
    return Batch(image, jnp.maximum(label, 0), jnp.asarray(task_id), jnp.asarray(label >= 0))

  def chunk(self, task: int) -> Batch:
    """All training examples of a task, in stored order, in batches of the run's size."""
    size = self.number("batch_size")
    x, y = self["train_x"][task], self["train_y"][task]
    missing = -len(y) % size
    x = np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, size, *x.shape[1:])
    return self.batch(x, np.pad(y, (0, missing), constant_values=-1).reshape(-1, size), task)

  def tests(self) -> list[DeviceExamples]:
    """The test examples of each task, padded to the largest."""
    return [self._examples(*self._test(task), task) for task in range(self.number("num_tasks"))]

  def _test(self, task: int) -> tuple[np.ndarray, np.ndarray]:
    if not self.is_je:
      return self["test_x"][task], self["test_y"][task]
    own = np.isin(self["test_y"], self["labels"][task])
    return self["test_x"][own], self["test_y"][own]

  def _examples(self, x: np.ndarray, y: np.ndarray, task: int) -> DeviceExamples:
    largest = max(len(self._test(task)[1]) for task in range(self.number("num_tasks")))
    missing = largest - len(y)
    image = np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)).astype(self.spec.image_dtype)
    label = np.pad(y, (0, missing)).astype(np.int32)
    index = np.arange(largest, dtype=np.int32)
    return DeviceExamples(image, label, np.full_like(label, task), index, np.int32(len(y)))


def load(path: str) -> tuple[list[Trace], dict[str, np.ndarray]]:
  """The streams of a file, and the keys of its metrics."""
  with np.load(path) as file:
    keys = {key: file[key] for key in file.files}

  def of(prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in keys.items() if k.startswith(prefix)}

  traces = [Trace(name, of(f"{name}_")) for name in STREAMS]
  return [trace for trace in traces if trace.keys], of("metrics_")


class Watched(NamedTuple):
  """State of `watching`: what passed, and the gradient on a batch that is set from outside."""

  updates: Any
  reference: Batch | None = None
  gradient: Any = None


def watching(reference: Batch | None = None) -> Method:
  """A member that changes nothing and keeps the updates that pass it."""

  def init(params):
    nothing = jax.tree.map(jnp.zeros_like, params)
    return Watched(nothing, reference, None if reference is None else nothing)

  def update(updates, state, params, *, at):
    state = state._replace(updates=updates)
    if reference is not None:
      state = state._replace(gradient=at.grad_fn(params, state.reference)[1])
    return updates, state

  return Method(init, update)


def method_of(trace: Trace, name: str, strength: float) -> Method:
  """The method of the library that the trace calls `name`."""
  every = trace.number("update_every")
  size = trace.number("reference_batch")
  made: dict[str, Callable[[], Method]] = {
    "van": lambda: watching(),
    "ewc": lambda: methods.ewc(strength, variant="agem", update_every=every, legacy=True),
    "pi": lambda: methods.si(strength),
    "rwalk": lambda: methods.rwalk(strength, update_every=every, legacy=True),
    "mas": lambda: methods.mas(strength, legacy=True),
    "agem": lambda: methods.agem(trace.spec, capacity=size, batch_size=size),
  }
  return made[name]()


class Driver:
  """Runs one method through one stream."""

  def __init__(self, trace: Trace, name: str, tolerance: float) -> None:
    self.trace, self.name, self.spec = trace, name, trace.spec
    self.deviations = Deviations(tolerance)
    self.key = f"{name}_"
    reference = None
    if name == "agem":
      empty = np.full(trace.number("reference_batch"), -1)
      reference = trace.batch(np.zeros((len(empty), *self.spec.image_shape)), empty, 0)
    method = chain(
      watching(reference),
      method_of(trace, name, float(self["strength"])),
      watching(),
      optax.sgd(float(self["learning_rate"])),
    )
    self.method = method
    self.learner = make_learner(trace.model(), method, self.spec, max_value=1.0)
    self._step = jax.jit(functools.partial(self.learner.step, phase="train"))
    self._consolidate = jax.jit(functools.partial(self.learner.consolidate, phase="train"))
    self._prepare = jax.jit(self.learner.prepare)
    self._predict = jax.jit(functools.partial(self.learner.predict, continuum=1))
    self._tests = trace.tests()
    size = len(self._tests[0].label)
    self._evaluate = jax.jit(functools.partial(evaluate, self.learner, batch_size=size))
    self._fill = jax.jit(self._filled)
    self._follow = jax.jit(follow)

  def __getitem__(self, key: str) -> np.ndarray:
    return self.trace[self.key + key]

  def has(self, key: str) -> bool:
    return self.key + key in self.trace.keys

  def run(self) -> Deviations:
    """Trains the whole stream."""
    state, found = self._start(), {}
    task_of_step = self["task"]
    for step, task in enumerate(map(int, task_of_step)):
      first = int(np.argmax(task_of_step == task))
      if step == first and self.has("zero_shot_logits"):
        self._compare_zero_shot(state, task)
      self._compare_accuracy(state, task, step - first)
      if self.name == "agem" and task:
        state = self._with_memory(state, step - int(np.argmax(task_of_step == 1)))
      batch = self.trace.batch(self["x"][step], self["y"][step], task)
      state, info = self._step(state, batch, jnp.int32(task))
      self._note(found, state, float(info.loss), task)
      if step + 1 == len(task_of_step) or task_of_step[step + 1] != task:
        self._compare_accuracy(state, task, step + 1 - first)
        if step + 1 < len(task_of_step):
          state = self._consolidate(state, self.trace.chunk(task), jnp.int32(task))
          self._note_end(found, state)
    self._compare(found)
    return self.deviations

  def _start(self):
    tensors = [self[f"init_{place}"] for place in range(len(self.trace.paths))]
    params = self.trace.tree(tensors)
    state = self.learner.init(jax.random.key(0))
    # The method's state has the dtype of the parameters.
    return state._replace(
      variables={**state.variables, "params": params}, method=self.method.init(params)
    )

  def _with_memory(self, state, step: int):
    """The state with the reference batch as its whole memory, which is then drawn in full."""
    x, y = self["memory_x"][step], self["memory_y"][step]
    batch = self.trace.batch(x, y, self.trace.task_of(np.maximum(y, 0)))
    watched, agem, *others = state.method
    agem = agem._replace(memory=self._fill(batch))
    return state._replace(method=(watched._replace(reference=batch), agem, *others))

  def _filled(self, batch: Batch) -> ring.RingState:
    sizes = capacity.slot_sizes(self.spec, self.trace.number("reference_batch"), "class")
    slots = jnp.asarray(capacity.slot_table(self.spec))[batch.task_id, batch.label]
    return ring.insert(ring.empty(sizes, items.exemplar(self.spec)), batch, slots, batch.mask)

  def _note(self, found: dict[str, list], state, loss: float, task: int) -> None:
    """What the trace has after each step."""
    flat, own = self.trace.flat, state.method[1]
    params = state.variables["params"]
    values = {"params": flat(params), "grad": flat(state.method[0].updates), "loss": loss}
    if self.name == "agem" and task:
      values["reference_grad"] = flat(state.method[0].gradient)
      values["projected_grad"] = flat(state.method[2].updates)
    if self.name in ("pi", "rwalk"):
      # The library adds the last step to the path when it takes the next one.
      values["omega"] = flat(self._follow(own.path, own.last, params))
    if self.name == "ewc":
      values |= {"tmp": flat(own.squares), "F": flat(own.fisher)}
    if self.name == "rwalk":
      values |= {
        "tmp": flat(own.squares) + flat(own.last.gradient) ** 2,
        "F": flat(own.fisher),
        "S": flat(own.task_score),
      }
    for key, value in values.items():
      found.setdefault(key, []).append(value)

  def _note_end(self, found: dict[str, list], state) -> None:
    """What the trace has after each task."""
    flat, own = self.trace.flat, state.method[1]
    values = {}
    if self.has("importance"):
      values["importance"] = flat(own.importance)
    if self.name == "rwalk":
      values |= {
        "score": flat(own.score),
        "fisher_norm": flat(min_max(own.fisher)),
        "score_norm": flat(min_max(own.score)),
      }
    for key, value in values.items():
      found.setdefault(key, []).append(value)

  def _compare(self, found: dict[str, list]) -> None:
    for key, values in found.items():
      if key != "params":
        self.deviations.add(key, np.stack(values), self[key])
        continue
      tensors = [self[f"params_{place}"] for place in range(len(self.trace.paths))]
      ends = np.cumsum([tensor[0].size for tensor in tensors])
      for own, tensor in zip(np.split(np.stack(values), ends[:-1], axis=1), tensors, strict=True):
        self.deviations.add(key, own, tensor.reshape(len(tensor), -1))

  def _compare_accuracy(self, state, task: int, snapshot: int) -> None:
    expected = self["accuracy"][task, snapshot]
    served = self._prepare(state, jnp.int32(task))
    for other, examples in enumerate(self._tests):
      if self.trace.is_je and other > task:
        continue
      counted = self._evaluate(served, examples, jnp.int32(task))
      self.deviations.add("accuracy", int(counted.correct) / int(examples.size), expected[other])

  def _compare_zero_shot(self, state, task: int) -> None:
    x = self["zero_shot_x"][task]
    batch = self.trace.batch(x, np.zeros(len(x)), task)
    served = self._prepare(state, jnp.int32(max(task - 1, 0)))
    logits = np.asarray(self._predict(served, batch, jnp.int32(max(task - 1, 0))))
    own = logits[:, self.trace["labels"][task]]
    self.deviations.add("zero_shot_logits", own, self["zero_shot_logits"][task])


def check_metrics(keys: Mapping[str, np.ndarray], tolerance: float) -> dict[str, Deviations]:
  """Average accuracy, forgetting and learning curve areas in both of their forms."""
  made = {}
  for name in ("seen", "all", "ragged"):
    if f"{name}_acc" not in keys:
      continue
    deviations = made[f"metrics_{name}"] = Deviations(tolerance)
    accuracy, is_ragged = keys[f"{name}_acc"], name == "ragged"
    figures = _figures_of_curves(accuracy, int(keys["beta"]), keys.get("ragged_counts"), is_ragged)
    if not is_ragged:
      figures |= _figures_of_ends(accuracy[:, :, -1], figures["lca_trapezoid"][:, -1])
    for what, found in figures.items():
      deviations.add(what, found, keys[f"{name}_{what}"])
  return made


def _figures_of_curves(
  accuracy: np.ndarray, beta: int, counts: np.ndarray | None, is_ragged: bool
) -> dict[str, np.ndarray]:
  curves = _curves(accuracy, counts if is_ragged else None)
  figures = {"Z": metrics.average_learning_curve(curves)}
  for kind in ("mean", "trapezoid"):
    areas = [metrics.learning_curve_area(curves, b, kind) for b in range(beta + 1)]
    figures[f"lca_{kind}"] = np.asarray(areas[-1]) if is_ragged else np.stack(areas, axis=-1)
  return figures


def _figures_of_ends(ends: np.ndarray, area: np.ndarray) -> dict[str, np.ndarray]:
  tasks = range(1, ends.shape[-1])

  def over(figure: Callable[..., Any], *arguments: Any) -> np.ndarray:
    return np.stack([figure(ends, *arguments, after=task) for task in tasks], axis=-1)

  learned = [metrics.average_accuracy(ends, after=task) for task in (0, *tasks)]
  figures = {
    "average_accuracy": np.stack(learned, axis=-1),
    "forgetting": over(metrics.forgetting, "agem-ref"),
    "forgetting_since_learned": over(metrics.forgetting, "agem"),
    "worst": over(functools.partial(metrics.worst_case_forgetting, definition="agem-ref")),
  }
  last = [figures[name][:, -1] for name in ("average_accuracy", "forgetting", "worst")]
  told = [metrics.summarise(figure, ddof=0) for figure in (100 * last[0], *last[1:], area)]
  figures["summary"] = np.array([number for one in told for number in (one.mean, one.std)])
  return figures


def _curves(accuracy: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
  """Accuracy on each task during its own training, `[runs, T, snapshots]`; NaN where over."""
  curves = np.stack([accuracy[:, task, :, task] for task in range(accuracy.shape[1])], axis=1)
  if counts is not None:
    over = np.arange(curves.shape[-1]) >= counts[:, None]
    curves = np.where(over, np.nan, curves)
  return curves


def check(path: str, tolerance: float) -> bool:
  """Prints a line for each method of each stream and for the metrics; whether all agree."""
  traces, of_metrics = load(path)
  good = True
  for trace in traces:
    for name in METHODS:
      if f"{name}_init_0" not in trace.keys:
        continue
      deviations = Driver(trace, name, tolerance).run()
      good &= deviations.is_small()
      print(deviations.line(f"{trace.name}_{name}"), flush=True)
  if of_metrics:
    for name, deviations in check_metrics(of_metrics, tolerance).items():
      good &= deviations.is_small()
      print(deviations.line(name), flush=True)
  return good


if __name__ == "__main__":
  sys.exit(command(__doc__.splitlines()[0], check))
