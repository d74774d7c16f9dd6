"""Holds the library against a trace of LASEM and its baselines.

    python tests/golden/check_lasem.py lasem_golden.npz [METHOD ...]

Prints the largest deviation of each method, on the scale |b| + 0.01, of posteriors, priors and
parameters, and which choices are not those of the trace. Exits with 1 if a deviation is above 1e-4
or a choice differs. Nothing is computed here: the library trains on the minibatches of the trace,
from its initial values. A trace may have some of its steps only, each then has its nearest.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from deviations import Deviations

import tagjax
from tagjax.core.sharing import SEARCHED
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import make_learner
from tagjax.methods import factor_penalty, fresh_each_task
from tagjax.methods.searched import anchor_of
from tagjax.models.progressive_cnn import lateral_width

TOLERANCE = 1e-4
SMALLEST = 0.01  # of what deviations are relative to


class Trace:
  """The arrays of one method in the file."""

  def __init__(self, arrays: dict[str, np.ndarray], method: str):
    self.config = {key[4:]: value for key, value in arrays.items() if key.startswith("cfg/")}
    self.common = arrays
    prefix = f"{method}/"
    self.own = {
      key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)
    }

  def visits(self) -> dict[int, int]:
    """The task of each visit that this method has, in order."""
    tasks = enumerate(map(int, self.common["visits"]))
    return {visit: task for visit, task in tasks if self.below(f"v{visit}/init/")}

  def below(self, prefix: str) -> dict[str, np.ndarray]:
    found = {k.removeprefix(prefix): v for k, v in self.own.items() if k.startswith(prefix)}
    return found

  def sizes(self) -> dict[str, Any]:
    """The options of a network."""
    names = {"channels": "channels", "kernels": "kernels", "pools": "pools", "fc_hidden": "hidden"}
    return {ours: _numbers(self.config[theirs]) for theirs, ours in names.items()}


def _numbers(values: np.ndarray) -> tuple[int, ...]:
  return tuple(int(value) for value in values)


class Place(NamedTuple):
  """Where the library keeps a tensor of the trace: a path in the parameters, perhaps a row of it.

  Attributes:
    path: keys.
    rows: of task-stacked parameters, the indices in front.
    take: the part of the row that the trace has; None: all of it.
  """

  path: tuple[str, ...]
  rows: tuple[int, ...] = ()
  take: tuple[slice, ...] = ()


_OF_FACTORS = {"D": "filter", "Db": "filter_bias", "V": "mix", "b": "bias"}


def place_of(name: str, task: int, hidden: int) -> Place:
  """Of a tensor that all the convolutional networks have."""
  group, leaf = name.split("/")
  kind, layer = leaf.rstrip("0123456789"), int(leaf[len(leaf.rstrip("0123456789")) :])
  if group == "fc":
    part = f"hidden{layer - 1}" if layer <= hidden else "head"
    return Place((part, "task", {"W": "kernel", "b": "bias"}[kind]), (task,))
  if group == "ts":
    part = f"u{leaf[1]}" if kind.endswith("_") else _OF_FACTORS[kind]
    return Place((f"conv{layer - 1}", "factors", part), (task,))
  part = {"W": "kernel", "b": "bias", "KB": "base"}[kind]
  return Place((f"conv{layer - 1}", group, part), () if group == "shared" else (task,))


def read(tree: Any, place: Place) -> np.ndarray:
  for key in place.path:
    tree = tree[key]
  return np.asarray(tree)[(*place.rows, *place.take)]


def written(tree: Any, place: Place, value: np.ndarray) -> Any:
  """The tree with the value at its place."""
  if place.path:
    first, *rest = place.path
    return {**tree, first: written(tree[first], place._replace(path=tuple(rest)), value)}
  there = tuple(index for index in place.take if index is not None)
  added = tuple(axis for axis, index in enumerate(place.take) if index is None)
  return jnp.asarray(tree).at[(*place.rows, *there)].set(np.squeeze(value, added))


class Driver:
  """A model and a method of the library, trained on the minibatches of a trace."""

  def __init__(self, trace: Trace, model: Any, members: Callable[[Any], list], spec: StreamSpec):
    self.trace, self.spec, self.model = trace, spec, model
    self.hidden = len(trace.config["fc_hidden"])
    stacked = tagjax.task_stacked(model, spec)

    def optimizer(rate):
      inner = optax.rmsprop(rate, decay=0.9, eps=1e-10, initial_scale=1.0)
      return fresh_each_task(tagjax.only_current_task(inner, stacked))

    def method(hyper):
      rate = hyper.get("rate", 1.0)
      return tagjax.chain(*members(rate), optimizer(rate))

    learner = make_learner(model, method, spec, max_value=1.0)
    self.state = learner.init(jax.random.key(0), {"rate": jnp.float32(0)})
    # The roll-back, the choice, and a fresh state of the optimizer.
    self.step = jax.jit(lambda state, batch, task: learner.step(state, batch, task, phase="train"))
    self.end = jax.jit(lambda state, task: learner.consolidate(state, None, task, phase="train"))
    prepare = jax.jit(learner.prepare)
    predict = jax.jit(learner.predict)
    self.logits = lambda batch, last: predict(prepare(self.state, last), batch, last)

  def place(self, name: str, task: int) -> Place:
    return place_of(name, task, self.hidden)

  def tensors(self, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in self.trace.below(prefix).items():
      if not name.startswith(("gen/", "select/")):
        yield name, value

  def params(self) -> Any:
    return self.state.variables["params"]

  def set_params(self, params: Any) -> None:
    self.state = self.state._replace(variables={**self.state.variables, "params": params})

  def batch(self, visit: int, step: int) -> Batch:
    task = int(self.trace.common["visits"][visit])
    label = self.trace.common["y"][visit, step] + task * int(self.trace.config["classes"])
    image = jnp.asarray(self.trace.common["x"][visit, step])
    full = jnp.full(len(label), task, jnp.int32)
    return Batch(image, jnp.asarray(label, jnp.int32), full, jnp.ones(len(label), bool))

  def load(self, visit: int, task: int) -> None:
    """What is newly drawn in this visit; all else must be there already."""
    known = self.kept(visit, task)
    params = self.params()
    for name, value in self.tensors(f"v{visit}/init/"):
      if name not in known:
        params = written(params, self.place(name, task), value)
    self.set_params(params)

  def kept(self, visit: int, task: int) -> set[str]:
    """What earlier visits have left of all tasks, and of this one."""
    names: set[str] = set()
    for earlier in range(visit):
      ended = self.trace.below(f"v{earlier}/end/")
      own = int(self.trace.common["visits"][earlier]) == task
      names |= {name for name in ended if own or name.startswith("shared/")}
    return names

  def set_rate(self, visit: int, step: int) -> None:
    config = self.trace.config
    rate = float(config["lr"]) / (
      1 + int(self.trace.common["epoch"][visit, step]) * float(config["lr_decay"])
    )
    self.state = self.state._replace(hyper={"rate": jnp.float32(rate)})

  def run(self, found: Deviations) -> None:
    learned: dict[int, int] = {}
    last = 0
    for visit, task in self.trace.visits().items():
      self.load(visit, task)
      self.check_params(f"v{visit}/init/", task, found)
      self.check_probabilities(visit, learned, last, found)
      returns = task in learned
      self.series: dict[tuple[str, str], list] = {}
      for step in range(self.trace.common["x"].shape[1]):
        self.set_rate(visit, step)
        self.state, info = self.step(self.state, self.batch(visit, step), jnp.int32(task))
        self.keep_step(visit, task, returns, info)
      for (what, key), values in self.series.items():
        found.add_steps(what, values, self.trace.own[key])
      self.check_params(f"v{visit}/last/", task, found, row=0)
      self.check_choice(visit, returns, found)
      self.state = self.end(self.state, jnp.int32(task))
      self.check_params(f"v{visit}/end/", task, found, what="roll-back")
      self.check_sharing(visit, task, found)
      learned.setdefault(task, visit)
      last = task

  def check_params(self, prefix, task, found, *, row=None, what="parameters") -> None:
    for name, value in self.tensors(prefix):
      ours = read(self.params(), self.place(name, task))
      found.add(what, ours, value if row is None else value[row])

  def keep(self, what: str, key: str, value: Any) -> None:
    """Keeps what the trace has of this step under that key, if it has anything."""
    if key in self.trace.own:
      self.series.setdefault((what, key), []).append(np.asarray(value))

  def keep_step(self, visit, task, returns, info) -> None:
    for name, _ in self.tensors(f"v{visit}/step/"):
      value = read(self.params(), self.place(name, task))
      self.keep("parameters", f"v{visit}/step/{name}", value)
    self.keep_own(visit, returns, info)

  def keep_own(self, visit, returns, info) -> None:
    del returns
    self.keep("loss", f"v{visit}/loss", info.loss)

  def check_probabilities(self, visit, learned, last, found) -> None:
    """The softmax of the tasks that are learned, on their first minibatches."""
    for task, first in learned.items():
      batch = self.batch(first, 0)
      classes = np.flatnonzero(self.spec.classes[task])
      probabilities = jax.nn.softmax(self.logits(batch, jnp.int32(last))[:, classes])
      expected = self.trace.own.get(f"v{visit}/probs_start/task{task}")
      if expected is not None:
        found.add("probabilities", probabilities, expected)

  def check_choice(self, visit, returns, found) -> None:
    """Of methods that choose."""

  def check_sharing(self, visit, task, found) -> None:
    """Of methods that choose."""


def spec_of(trace: Trace) -> StreamSpec:
  tasks, classes = max(map(int, trace.common["visits"])) + 1, int(trace.config["classes"])
  of_tasks = np.kron(np.eye(tasks), np.ones((1, classes))).astype(bool)
  image = _numbers(trace.config["image"])
  return StreamSpec(tasks, tasks * classes, of_tasks, "task", image, np.dtype(np.float32))


def network(trace: Trace, kind: str, sharing: Any) -> Any:
  make = {"hps": tagjax.models.hps, "tf": tagjax.models.tf, "dfcnn": tagjax.models.dfcnn}[kind]
  sizes = trace.sizes()
  if kind == "dfcnn":
    names = ("kb_channels", "base_channels"), ("ts_size", "filter_sizes")
    for theirs, ours in (*names, ("ts_channels", "filter_channels")):
      sizes[ours] = _numbers(trace.config[theirs])
  return make(spec_of(trace), sharing=sharing, dropout=0.0, **sizes)


def penalty(trace: Trace, kind: str) -> dict[str, float]:
  """The trace is of networks without an L2 penalty, and of TF with its orthogonality loss."""
  strength = float(trace.config["tf_aux_weight"]) if kind == "tf" else 0.0
  return {"orthogonality": strength, "base_l2": 0.0, "own_l2": 0.0}


def static(trace: Trace, kind: str) -> Driver:
  sharing = tuple(map(bool, trace.own["sharing"]))
  model = network(trace, kind, sharing)

  def members(rate):
    del rate
    return [factor_penalty(**penalty(trace, kind))] if kind == "tf" else []

  return Driver(trace, model, members, spec_of(trace))


class Lasem(Driver):
  """LASEM: posteriors and priors of new tasks, choices, roll-backs."""

  def __init__(self, trace: Trace, kind: str, **options: Any):
    def members(rate):
      del rate
      return [tagjax.methods.lasem(**options, **penalty(trace, kind))]

    super().__init__(trace, network(trace, kind, SEARCHED), members, spec_of(trace))

  def load(self, visit, task):
    super().load(visit, task)
    own, *others = self.state.method
    own = own._replace(anchor=anchor_of(self.params()))
    self.state = self.state._replace(method=(own, *others))

  def keep_own(self, visit, returns, info):
    if not returns:
      self.keep("posterior", f"v{visit}/q", self.state.method[0].posterior)
      self.keep("prior", f"v{visit}/prior", self.state.method[0].prior)

  def check_choice(self, visit, returns, found):
    if not returns:
      best = int(jnp.argmax(self.state.method[0].prior))
      found.same(f"visit {visit}", best, self.trace.own[f"v{visit}/chosen"])

  def check_sharing(self, visit, task, found):
    row = self.state.variables["routing"]["sharing"][task]
    found.same(f"sharing in visit {visit}", row, self.trace.own[f"v{visit}/sharing"])


class Darts(Driver):
  """DARTS transfer: the logits of the layers, choices, roll-backs."""

  def __init__(self, trace: Trace, kind: str):
    def members(rate):
      return [tagjax.methods.darts(learning_rate=rate, **penalty(trace, kind))]

    super().__init__(trace, network(trace, kind, SEARCHED), members, spec_of(trace))

  def load(self, visit, task):
    super().load(visit, task)
    own, *others = self.state.method
    logits = self.trace.below(f"v{visit}/init/select/")
    logits = jnp.asarray(np.stack([logits[f"a{layer + 1}"] for layer in range(len(logits))]))
    own = own._replace(anchor=anchor_of(self.params()), logits=logits)
    self.state = self.state._replace(method=(own, *others))

  def keep_own(self, visit, returns, info):
    for layer, logits in enumerate(np.asarray(self.state.method[0].logits), 1):
      self.keep("logits", f"v{visit}/step/select/a{layer}", logits)

  def check_sharing(self, visit, task, found):
    row = np.asarray(self.state.variables["routing"]["sharing"][task])
    found.same(f"sharing in visit {visit}", row, self.trace.own[f"v{visit}/sharing"])
    index = int(np.sum(row * 2 ** np.arange(len(row))))
    found.same(f"visit {visit}", index, self.trace.own[f"v{visit}/chosen"])


_OF_LATERALS = {"alpha": "alpha", "W1x1": "reduce", "b1x1": "reduce_bias", "U": "kernel"}


class Progressive(Driver):
  """Progressive nets."""

  def __init__(self, trace: Trace):
    spec = spec_of(trace)
    scale = float(trace.config["prognn_scale"])
    model = tagjax.models.prognn(spec, scale=scale, dropout=0.0, **trace.sizes())
    super().__init__(trace, model, lambda rate: [], spec)

  def place(self, name, task):
    if not name.startswith("lat/"):
      return super().place(name, task)
    _, where, leaf = name.split("/")
    layer, column = (int(number) for number in where.removeprefix("l").split("_from"))
    inputs = int(self.trace.config["channels"][layer - 2])
    width = slice(lateral_width(inputs, task, float(self.trace.config["prognn_scale"])))
    every = slice(None)
    take = {
      "alpha": (),
      "W1x1": (None, None, every, width),
      "b1x1": (width,),
      "U": (every, every, width),
    }[leaf]
    path = (f"conv{layer - 1}", "lateral", _OF_LATERALS[leaf])
    return Place(path, (task, column), take)


def group(trace: Trace) -> Driver:
  return Lasem(trace, "hps", groups=_numbers(trace.config["groups"]))


KINDS = ("hps", "tf", "dfcnn")
METHODS: dict[str, Callable[[Trace], Driver]] = {
  **{f"lasem_{kind}": functools.partial(Lasem, kind=kind) for kind in KINDS},
  "lasem_group_hps": group,
  "lasem_count_hps": functools.partial(Lasem, kind="hps", prior="count"),
  **{f"darts_{kind}": functools.partial(Darts, kind=kind) for kind in ("hps", "dfcnn")},
  "prognn": Progressive,
  **{f"static_{kind}": functools.partial(static, kind=kind) for kind in KINDS},
}


def main(path: str, *names: str) -> int:
  arrays = dict(np.load(path))
  there = {key.split("/")[0] for key in arrays}
  passed = True
  for name, make in METHODS.items():
    if names and name not in names:
      continue
    if name not in there:
      print(f"{name:16} is not in the trace")
      continue
    found = Deviations(TOLERANCE, SMALLEST)
    make(Trace(arrays, name)).run(found)
    print(found.line(name), flush=True)
    passed &= found.is_small()
  return 0 if passed else 1


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
