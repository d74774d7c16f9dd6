"""Drives iTAML with a trace of the authors' learner: `python tests/golden/check_itaml.py FILE.npz`.

The trace says which rows each minibatch, each adaptation and each test has; the library does the
rest: inner loops, optimizers, memory, adaptation, votes and classes. Of each variant a line says
how far parameters and logits are from the trace, and whether memories, votes and accuracies are
equal. Exit status 1 if anything is further away than `--tolerance` (1e-5; 1e-9 with `--x64`).

A deviation is relative to the largest number of its tensor. A bias in front of batch normalisation
has no gradient but rounding, which Adam and RAdam divide by its own size: in float32 that bias, the
running mean behind it and the logits with them drift, and are held to `LOOSE` only, absolutely.
"""

import functools
import sys
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from deviations import Deviations, command

from tagjax.core.chain import chain
from tagjax.core.method import Method
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import Learner, LearnerState, make_learner
from tagjax.methods import itaml, naive
from tagjax.methods.itaml import Copies, adapt
from tagjax.models import BatchNorm
from tagjax.transforms import radam, weight_decay

LOOSE = 2e-2


class Dense(nn.Module):
  """A perceptron; `layers` are `(name, outputs, has a bias)`."""

  layers: tuple

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    x = image.reshape(image.shape[0], -1)
    for place, (name, width, bias) in enumerate(self.layers):
      x = nn.Dense(width, use_bias=bias, name=name)(nn.relu(x) if place else x)
    return x


class Convolution(nn.Module):
  """Convolution, batch normalisation, ReLU, generalised mean, head."""

  layers: tuple

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id
    (conv, width, bias), (norm, _, _), (head, outputs, head_bias) = self.layers
    x = nn.Conv(width, (3, 3), padding=1, use_bias=bias, name=conv)(image)
    x = nn.relu(BatchNorm(name=norm)(x, mask=mask, train=train))
    x = jnp.mean(jnp.maximum(x, 1e-6) ** 3, axis=(1, 2)) ** (1 / 3)
    return nn.Dense(outputs, use_bias=head_bias, name=head)(x)


class Tensors(NamedTuple):
  """The tensors of a flat vector of the trace, and where each lies in a Flax tree."""

  names: list[str]
  shapes: list[tuple[int, ...]]

  @property
  def is_convolution(self) -> bool:
    return any(len(shape) == 4 for shape in self.shapes)

  @property
  def bias_before_norm(self) -> str | None:
    return self.names[1] if self.is_convolution else None

  def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of each tensor, of `[..., P]`."""
    ends = np.cumsum([np.prod(shape) for shape in self.shapes])
    return dict(zip(self.names, np.split(flat, ends[:-1], axis=-1), strict=True))

  def model(self) -> nn.Module:
    layers = {}
    for name, shape in zip(self.names, self.shapes, strict=True):
      layer, kind = name.rsplit(".", 1)
      layers.setdefault(layer, {})[kind] = shape
    made = tuple((name, kinds["weight"][0], "bias" in kinds) for name, kinds in layers.items())
    return Convolution(made) if self.is_convolution else Dense(made)

  def _place(self, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
    layer, kind = name.rsplit(".", 1)
    return layer, {"bias": "bias", "weight": "kernel" if len(shape) > 1 else "scale"}[kind]

  def tree(self, flat: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Flax's parameters of a vector `[P]`."""
    tree: dict[str, dict[str, np.ndarray]] = {}
    for (name, column), shape in zip(self.split(flat).items(), self.shapes, strict=True):
      layer, kind = self._place(name, shape)
      order = (*range(2, len(shape)), 1, 0) if len(shape) > 1 else (0,)
      tree.setdefault(layer, {})[kind] = column.reshape(shape).transpose(order)
    return tree

  def flat(self, tree: Any) -> np.ndarray:
    """The vector `[P]` of Flax's parameters."""
    columns = []
    for name, shape in zip(self.names, self.shapes, strict=True):
      layer, kind = self._place(name, shape)
      leaf = np.asarray(tree[layer][kind])
      order = (leaf.ndim - 1, leaf.ndim - 2, *range(leaf.ndim - 2)) if leaf.ndim > 1 else (0,)
      columns.append(leaf.transpose(order).ravel())
    return np.concatenate(columns)


class Trace(NamedTuple):
  """One problem of a file: its keys without their prefix."""

  prefix: str
  keys: dict[str, np.ndarray]

  def __getitem__(self, key: str) -> np.ndarray:
    return self.keys[key]

  def number(self, key: str) -> Any:
    return self.keys[key].item()

  @property
  def tensors(self) -> Tensors:
    names = [str(name) for name in self["param_names"]]
    shapes = [tuple(int(n) for n in shape if n) for shape in self["param_shapes"]]
    return Tensors(names, shapes)

  @property
  def spec(self) -> StreamSpec:
    tasks, width = self.number("num_tasks"), self.number("classes_per_task")
    classes = np.eye(tasks, dtype=bool).repeat(width, axis=1)
    shape = self.images("train_x").shape[1:]
    return StreamSpec(tasks, tasks * width, classes, "class", shape, np.dtype(np.float32))

  def images(self, key: str) -> np.ndarray:
    """Channels last."""
    images = self[key].astype(np.float32)
    return np.moveaxis(images, 1, -1) if images.ndim == 4 else images

  def batch(self, rows: np.ndarray, part: str = "train") -> Batch:
    """The rows of a part as a batch; -1 is padding."""
    label = self[f"{part}_y"].astype(np.int32)
    task = label // self.number("classes_per_task")
    own = np.maximum(rows, 0)
    return Batch(
      *(jnp.asarray(column[own]) for column in (self.images(f"{part}_x"), label, task)),
      mask=jnp.asarray(rows >= 0),
      index=jnp.asarray(self.place_in_task()[own] if part == "train" else np.full(own.shape, -1)),
    )

  def rows_of(self, task: int, part: str = "train") -> np.ndarray:
    """The rows of a task, in data-set order."""
    return np.flatnonzero(self[f"{part}_y"] // self.number("classes_per_task") == task)

  def place_in_task(self) -> np.ndarray:
    place = np.zeros(len(self["train_y"]), np.int32)
    for task in range(self.number("num_tasks")):
      rows = self.rows_of(task)
      place[rows] = np.arange(len(rows))
    return place

  def adaptation(self, session: int) -> np.ndarray:
    """Rows of the memory in each batch of each copy, int32 `[T, N, b]`."""
    tasks = self.number("num_tasks")
    given = [self.keys.get(f"adapt_index_e{s}_t{t}") for s in range(tasks) for t in range(tasks)]
    shapes = np.array([rows.shape for rows in given if rows is not None])
    table = np.full((tasks, *shapes.max(axis=0)), -1, np.int32)
    memory = self[f"memory_index_e{session}"]
    for task in range(session + 1):
      rows = self.keys.get(f"adapt_index_e{session}_t{task}")
      if rows is not None:
        place = np.array(
          [np.flatnonzero(memory == row)[0] if row >= 0 else -1 for row in rows.flat]
        )
        table[task, : rows.shape[0], : rows.shape[1]] = place.reshape(rows.shape)
    return table


def load(path: str) -> list[Trace]:
  """The problems of a file: each key that ends with `variants` begins with a problem's prefix."""
  with np.load(path) as file:
    keys = {key: file[key] for key in file.files}
  prefixes = sorted(key.removesuffix("variants") for key in keys if key.endswith("variants"))
  return [
    Trace(
      prefix,
      {
        key.removeprefix(prefix): value
        for key, value in keys.items()
        if key.startswith(prefix)
        and not any(p and p != prefix and key.startswith(p) for p in prefixes)
      },
    )
    for prefix in prefixes
  ]


class Variant(NamedTuple):
  """What the name of a variant says, such as `paper_own_radam_r2`."""

  name: str
  variant: str
  merge: str
  optimizer: str
  r: int


def parse(name: str) -> Variant:
  kind, *own, optimizer, r = name.split("_")
  return Variant(name, kind, "own" if own else "mean", optimizer, int(r.removeprefix("r")))


def method_of(trace: Trace, variant: Variant, hyper: Any) -> Method:
  """iTAML of the library; the order of the adaptation comes from the trace."""
  rate = hyper.get("learning_rate", 1.0)
  inner = radam(rate)
  if variant.optimizer == "sgd":
    decay = weight_decay(trace.number("weight_decay"))
    inner = chain(decay, naive.sgd(rate, momentum=trace.number("momentum")))
  rate = trace.number("adapt_learning_rate")
  made = itaml(
    trace.spec,
    inner,
    beta=trace.number("beta"),
    r=variant.r,
    variant=variant.variant,
    classifier_merge=variant.merge,
    head=f"{trace.tensors.names[-1].rsplit('.', 1)[0]}/*",
    capacity=trace.number("memory_budget"),
    per="total",
    adapt_learning_rate=rate,
    adapt_batch_size=trace.number("adapt_batch_size"),
  )

  def prepare(state, variables, *, at):
    exemplars, rows = state.memory.exemplars, hyper["adaptation"]
    return adapt(
      at, trace.spec, variables, exemplars, rows_of=lambda task: rows[task], learning_rate=rate
    )

  return made._replace(prepare=prepare)


class WithDrift(Deviations):
  """The largest deviations so far, and the absolute ones of what drifts."""

  drift = 0.0

  def add(self, what: str, found: Any, expected: Any, *, drifts: bool = False) -> None:
    """Compares two arrays, which have drifted apart or not."""
    if not drifts:
      super().add(what, found, expected)
      return
    error = float(np.abs(np.asarray(found, np.float64) - expected).max())
    self.drift = max(self.drift, float("inf") if np.isnan(error) else error)

  def is_small(self) -> bool:
    return super().is_small() and self.drift <= LOOSE


def padded(trace: Trace, order: np.ndarray, p: int) -> np.ndarray:
  """The test rows of each task, in the given order, filled up to runs of p: `[T, n]`."""
  tasks = trace.number("num_tasks")
  own = [
    row for task in range(tasks) for row in [order[np.isin(order, trace.rows_of(task, "test"))]]
  ]
  longest = max(len(trace.rows_of(task, "test")) for task in range(tasks))
  length = -(-longest // p) * p
  return np.stack([np.pad(rows, (0, length - len(rows)), constant_values=-1) for rows in own])


def _predictions(learner: Learner, served, batches: Batch, current_task, *, p: int):
  """Logits of all tasks' test rows, `[T, n, K]`."""

  def of_task(batch):
    asked = batch._replace(
      label=jnp.zeros_like(batch.label), task_id=jnp.full_like(batch.task_id, current_task)
    )
    return learner.predict(served, asked, current_task, continuum=p)

  return jax.lax.map(of_task, batches)


class Driver:
  """Runs one variant through the trace."""

  def __init__(self, trace: Trace, variant: Variant, tolerance: float) -> None:
    self.trace, self.variant, self.spec = trace, variant, trace.spec
    model = trace.tensors.model()
    self.learner = make_learner(
      model, functools.partial(method_of, trace, variant), self.spec, max_value=1.0
    )
    self._step = jax.jit(functools.partial(self.learner.step, phase="train"))
    self._consolidate = jax.jit(functools.partial(self.learner.consolidate, phase="train"))
    self._prepare = jax.jit(self.learner.prepare)
    self._predict = jax.jit(functools.partial(_predictions, self.learner), static_argnames="p")
    self._apply = jax.jit(functools.partial(self._logits, model))
    self.deviation = WithDrift(tolerance)
    # What Adam adapts drifts, and what RAdam trains.
    self._adapted_drifts = trace.tensors.is_convolution and not jax.config.jax_enable_x64
    self._trained_drifts = self._adapted_drifts and variant.optimizer == "radam"
    self.memory = self.votes = self.accuracies = True

  @staticmethod
  def _logits(model, variables, images):
    given = {"task_id": jnp.zeros(len(images), jnp.int32), "mask": jnp.ones(len(images), bool)}
    return model.apply(variables, images, train=False, **given)

  def _key(self, key: str) -> np.ndarray:
    return self.trace[f"{self.variant.name}.{key}"]

  def run(self) -> None:
    state = self._start()
    for session in range(self.spec.num_tasks):
      state = self._train(state, session)
      state = self._end(state, session)
      self._test(state, session)

  def _start(self) -> LearnerState:
    hyper = {"learning_rate": jnp.ones(()), "adaptation": jnp.asarray(self.trace.adaptation(0))}
    state = self.learner.init(jax.random.key(0), hyper)
    stats = self.trace.keys.get("init_stats")
    variables = {**state.variables, **self._variables(self.trace["init"], stats)}
    # The optimizer's state has the dtype of the parameters.
    method = method_of(self.trace, self.variant, hyper).init(variables["params"])
    return state._replace(variables=variables, method=method)

  def _variables(self, params: np.ndarray, stats: np.ndarray | None) -> dict[str, Any]:
    wide = jnp.asarray(0.0).dtype
    variables: dict[str, Any] = {"params": self.trace.tensors.tree(params)}
    if stats is not None:
      mean, var = np.split(stats, 2)
      norm = self.trace.tensors.names[2].rsplit(".", 1)[0]
      variables["batch_stats"] = {norm: {"mean": mean, "var": var}}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, wide), variables)

  def _train(self, state: LearnerState, session: int) -> LearnerState:
    trace, best = self.trace, None
    steps = np.flatnonzero(trace["batch_experience"] == session)
    rates = trace[f"learning_rates_{self.variant.optimizer}"]
    found_params, found_stats = [], []
    for step in steps:
      rate = jnp.asarray(rates[step], jnp.asarray(0.0).dtype)
      state = state._replace(hyper={**state.hyper, "learning_rate": rate})
      batch = trace.batch(trace["batch_index"][step])
      state, _ = self._step(state, batch, jnp.int32(session))
      found_params.append(trace.tensors.flat(state.variables["params"]))
      found_stats.append(self._stats(state.variables))
      epoch = trace["batch_epoch"][step]
      if step == steps[-1] or trace["batch_epoch"][step + 1] != epoch:
        best = self._better(best, state.variables, session, int(epoch))
    self._compare_params(
      np.stack(found_params), self._key("params")[steps], drifts=self._trained_drifts
    )
    if found_stats[0] is not None:
      self._compare_stats(np.stack(found_stats), self._key("stats")[steps])
    _, variables, epoch = best
    self.accuracies &= epoch == int(self._key("selected_epoch")[session])
    return state._replace(variables=variables)

  def _better(self, best, variables, session: int, epoch: int):
    """The first epoch of highest accuracy, as the authors' code chooses it."""
    rows = self.trace[f"test_index_e{session}"]
    logits = self._apply(variables, self.trace.images("test_x")[rows])
    accuracy = self._plain_accuracy(np.asarray(logits), rows, session)
    self.accuracies &= bool(np.isclose(accuracy, self._key("epoch_accuracy")[session, epoch]))
    return (accuracy, variables, epoch) if best is None or accuracy > best[0] else best

  def _plain_accuracy(self, logits: np.ndarray, rows: np.ndarray, session: int) -> float:
    seen = (session + 1) * self.trace.number("classes_per_task")
    return float(np.mean(np.argmax(logits[:, :seen], axis=1) == self.trace["test_y"][rows]))

  def _end(self, state: LearnerState, session: int) -> LearnerState:
    self._compare_params(
      self.trace.tensors.flat(state.variables["params"]),
      self._key("selected")[session],
      drifts=self._trained_drifts,
    )
    # All sessions have a chunk of the largest one's size; the order says nothing.
    rows = self.trace.rows_of(session)
    longest = max(len(self.trace.rows_of(task)) for task in range(self.spec.num_tasks))
    rows = np.random.default_rng(session).permutation(rows)
    rows = np.pad(rows, (0, longest - len(rows)), constant_values=-1)
    state = self._consolidate(state, self.trace.batch(rows[None]), jnp.int32(session))
    held = state.method.memory.exemplars
    mask = np.asarray(held.mask)
    label, task, index = (np.asarray(x)[mask] for x in (held.label, held.task_id, held.index))
    found = [self.trace.rows_of(t)[i] for t, i in zip(task, index, strict=True)]
    self.memory &= np.array_equal(found, self.trace[f"memory_index_e{session}"])
    self.memory &= np.array_equal(label, self.trace[f"memory_label_e{session}"])
    return state

  def _test(self, state: LearnerState, session: int) -> None:
    table = jnp.asarray(self.trace.adaptation(session))
    state = state._replace(hyper={**state.hyper, "adaptation": table})
    served = self._prepare(state, jnp.int32(session))
    self._compare_served(served.served, session)
    self._compare_predictions(served, session)

  def _compare_served(self, served: Copies, session: int) -> None:
    width = self.trace.number("classes_per_task")
    images = self.trace.images("test_x")[self.trace[f"test_index_e{session}"]]
    logits = self._apply(served.general, images)
    expected = self._key(f"base_logits_e{session}")
    self.deviation.add("logits", logits, expected, drifts=self._trained_drifts)
    copies = [jax.tree.map(lambda x, t=t: x[t], served.adapted) for t in range(session + 1)]
    flat = np.stack([self.trace.tensors.flat(copy["params"]) for copy in copies])
    expected = self._key(f"adapted_e{session}")
    self._compare_params(flat, expected, drifts=self._adapted_drifts)
    own = [self._apply(copy, images)[:, t * width :][:, :width] for t, copy in enumerate(copies)]
    expected = self._key(f"adapted_logits_e{session}")
    self.deviation.add("logits", np.stack(own), expected, drifts=self._adapted_drifts)
    rows = self.trace[f"test_index_e{session}"]
    accuracy = self._plain_accuracy(np.asarray(logits), rows, session)
    self.accuracies &= bool(np.isclose(accuracy, self._key("plain_accuracy")[session]))

  def _compare_predictions(self, served, session: int) -> None:
    width, order = self.trace.number("classes_per_task"), self.trace[f"test_index_e{session}"]
    for place, p in enumerate(map(int, self.trace["chunk_sizes"])):
      rows = padded(self.trace, order, p)
      batches = self.trace.batch(rows, "test")
      logits = np.asarray(self._predict(served, batches, jnp.int32(session), p=p), np.float64)[
        : session + 1
      ]
      rows = rows[: session + 1]
      known, label = rows >= 0, self.trace["test_y"][rows]
      predicted = np.argmax(logits[..., : (session + 1) * width], axis=-1)
      votes = (predicted // width)[:, ::p][known[:, ::p]]
      self.votes &= np.array_equal(votes, self._key(f"chunk_task_e{session}_p{p}"))
      own_task = np.arange(session + 1)[:, None]
      for key, hits in (
        ("accuracy", predicted == label),
        ("task_accuracy", predicted // width == own_task),
      ):
        self.accuracies &= bool(np.isclose(hits[known].mean(), self._key(key)[session, place]))
      for task in range(session + 1):
        slice_ = logits[task, :, task * width :][:, :width]
        hits = np.argmax(slice_, axis=-1) == label[task] - task * width
        expected = self._key("task_aware_accuracy")[session, task]
        self.accuracies &= bool(np.isclose(hits[known[task]].mean(), expected))

  def _compare_params(self, found: np.ndarray, expected: np.ndarray, *, drifts: bool) -> None:
    tensors = self.trace.tensors
    expected_columns = tensors.split(expected)
    for name, column in tensors.split(found).items():
      of_bias = drifts and name == tensors.bias_before_norm
      self.deviation.add("parameters", column, expected_columns[name], drifts=of_bias)

  def _stats(self, variables) -> np.ndarray | None:
    for norm in variables.get("batch_stats", {}).values():
      return np.concatenate([np.asarray(norm["mean"]), np.asarray(norm["var"])])
    return None

  def _compare_stats(self, found: np.ndarray, expected: np.ndarray) -> None:
    (mean, var), (expected_mean, expected_var) = (np.split(x, 2, axis=1) for x in (found, expected))
    self.deviation.add("parameters", mean, expected_mean, drifts=self._trained_drifts)
    self.deviation.add("parameters", var, expected_var, drifts=False)


def check(path: str, tolerance: float, variants: set[str] | None = None) -> bool:
  """Prints a line for each variant; whether all of them agree.

  Args:
    path: the trace.
    tolerance: of the relative deviations.
    variants: names with their prefix; None: all.
  """
  good = True
  for trace in load(path):
    for name in map(str, trace["variants"]):
      if variants is not None and trace.prefix + name not in variants:
        continue
      driver = Driver(trace, parse(name), tolerance)
      driver.run()
      said = {
        "memory": driver.memory,
        "chunk decisions": driver.votes,
        "accuracies": driver.accuracies,
      }
      is_good = driver.deviation.is_small() and all(said.values())
      good &= is_good
      largest, drift = driver.deviation.largest, driver.deviation.drift
      print(
        f"{trace.prefix + name:24}",
        *(f"{what} {largest.get(what, 0.0):.1e}" for what in ("parameters", "logits")),
        *(f"{what} {'equal' if same else 'DIFFER'}" for what, same in said.items()),
        f"{'ok' if is_good else 'FAILED'}{f', drift {drift:.1e}' if drift else ''}",
        sep="  ",
        flush=True,
      )
  return good


def main() -> int:
  return command(__doc__.splitlines()[0], check)


if __name__ == "__main__":
  sys.exit(main())
