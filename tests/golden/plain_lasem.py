"""Traces in the format of `lasem_golden.npz`, made in float64 with plain loops.

Written from the formulas, without a line of the library: a whole pass for each configuration, plain
dictionaries for parameters. So the check can be tried on networks of other depth, kernels, pools,
images and hidden layers than the trace of the authors' code has.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]
Row = tuple[bool, ...]  # of layers, whether each is shared
KINDS = ("hps", "tf", "dfcnn")


class Problem(NamedTuple):
  """A stream and a network; the fields are those of the trace's `cfg/`.

  Attributes:
    visits: the task of each visit.
    every: the trace keeps each such step, the last one among them.
  """

  image: tuple[int, ...] = (9, 7, 2)
  kernels: tuple[int, ...] = (3, 5, 3, 1)
  channels: tuple[int, ...] = (3, 4, 5, 4)
  pools: tuple[int, ...] = (2, 1, 3, 1)
  fc_hidden: tuple[int, ...] = (7, 5)
  classes: int = 2
  batch: int = 5
  steps_per_epoch: int = 2
  epochs: int = 2
  lr: float = 0.02
  lr_decay: float = 0.1
  tf_aux_weight: float = 0.05
  kb_size: tuple[int, ...] = (2, 3, 2, 1)
  kb_channels: tuple[int, ...] = (2, 3, 4, 3)
  ts_size: tuple[int, ...] = (3, 4, 5, 3)
  ts_channels: tuple[int, ...] = (4, 3, 5, 2)
  prognn_scale: float = 2.0
  static_hps: Row = (True, False, True, False)
  static_tf: Row = (False, True, True, True)
  static_dfcnn: Row = (True, True, False, True)
  groups: tuple[int, ...] = (2, 2)
  visits: tuple[int, ...] = (0, 1, 0, 2)
  every: int = 3

  def layers(self) -> range:
    """Numbers of the convolutions, from 1."""
    return range(1, len(self.channels) + 1)

  def sizes(self, layer: int) -> tuple[int, int, int]:
    """Kernel, channels in and out."""
    channels = (self.image[2], *self.channels)
    return self.kernels[layer - 1], channels[layer - 1], channels[layer]

  def rows(self) -> list[Row]:
    """All configurations: the first layer varies fastest, shared comes first."""
    rows = itertools.product((True, False), repeat=len(self.channels))
    return [row[::-1] for row in rows]

  def group_rows(self) -> list[Row]:
    """Those that are the same in each group of layers."""
    groups = itertools.product((True, False), repeat=len(self.groups))
    of_groups = (zip(self.groups, row[::-1], strict=True) for row in groups)
    return [tuple(kind for size, kind in row for _ in range(size)) for row in of_groups]


class Drawing:
  """New parameters of a problem, by their names in the trace."""

  def __init__(self, problem: Problem, rng: np.random.Generator):
    self.problem, self.rng = problem, rng

  def normal(self, *shape: int) -> np.ndarray:
    """As float32 has it, since the trace is read in float32."""
    return np.float32(0.3 * self.rng.normal(size=shape)).astype(float)

  def shared(self, kind: str, layer: int) -> Params:
    k, i, o = self.problem.sizes(layer)
    if kind == "hps":
      return {f"shared/W{layer}": self.normal(k, k, i, o), f"shared/b{layer}": self.normal(o)}
    side, channels = self.problem.kb_size[layer - 1], self.problem.kb_channels[layer - 1]
    shape = (k, k, i, o) if kind == "tf" else (1, side, side, channels)
    return {f"shared/KB{layer}": self.normal(*shape)}

  def own(self, layer: int) -> Params:
    k, i, o = self.problem.sizes(layer)
    return {f"task/W{layer}": self.normal(k, k, i, o), f"task/b{layer}": self.normal(o)}

  def factors(self, kind: str, layer: int) -> Params:
    k, i, o = self.problem.sizes(layer)
    if kind == "hps":
      return {}
    if kind == "tf":
      squares = {f"ts/U{n}_{layer}": self.normal(m, m) for n, m in enumerate((k, k, i, o), 1)}
      return {**squares, f"ts/b{layer}": self.normal(o)}
    size, channels = self.problem.ts_size[layer - 1], self.problem.ts_channels[layer - 1]
    base = self.problem.kb_channels[layer - 1]
    return {
      f"ts/D{layer}": self.normal(size, size, channels, base),
      f"ts/Db{layer}": self.normal(1, 1, 1, channels),
      f"ts/V{layer}": self.normal(channels, i, o),
      f"ts/b{layer}": self.normal(o),
    }

  def head(self) -> Params:
    height, width, _ = self.problem.image
    for pool in self.problem.pools:
      height, width = -(-height // pool), -(-width // pool)
    widths = (height * width * self.problem.channels[-1], *self.problem.fc_hidden)
    pairs = itertools.pairwise((*widths, self.problem.classes))
    made = {}
    for layer, (inputs, outputs) in enumerate(pairs, 1):
      made |= {f"fc/W{layer}": self.normal(inputs, outputs), f"fc/b{layer}": self.normal(outputs)}
    return made

  def laterals(self, layer: int, columns: int) -> Params:
    k, i, o = self.problem.sizes(layer)
    width = max(1, int(i / (self.problem.prognn_scale * (columns + 1))))
    made = {}
    for column in range(columns):
      name = f"lat/l{layer}_from{column}"
      made |= {f"{name}/alpha": self.normal(1), f"{name}/b1x1": self.normal(width)}
      made |= {
        f"{name}/W1x1": self.normal(1, 1, i, width),
        f"{name}/U": self.normal(k, k, width, o),
      }
    return made


def layer_of(name: str) -> int:
  """The convolution that a parameter belongs to."""
  return int(name[-1])


def convolved(image, kernel):
  return jax.lax.conv_general_dilated(
    image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def pooled(image, size: int):
  window = (1, size, size, 1)
  return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, window, window, "SAME")


def generated(kind: str, p: Params, layer: int):
  """Kernel and bias of a shared convolution."""
  if kind == "hps":
    return p[f"shared/W{layer}"], p[f"shared/b{layer}"]
  base = p[f"shared/KB{layer}"]
  if kind == "tf":
    squares = [p[f"ts/U{number}_{layer}"] for number in (1, 2, 3, 4)]
    return jnp.einsum("abcd,ae,bf,cg,dh->efgh", base, *squares), p[f"ts/b{layer}"]
  taps = p[f"ts/D{layer}"]
  size, side = len(taps), base.shape[1]
  spread = jnp.zeros((2 * side - 2 + size,) * 2 + taps.shape[2:3])
  for a, b in itertools.product(range(side), repeat=2):
    spread = spread.at[2 * a : 2 * a + size, 2 * b : 2 * b + size].add(taps @ base[0, a, b])
  seen = slice((size - 1) // 2, (size - 1) // 2 + 2 * side - 1)
  enlarged = spread[seen, seen] + p[f"ts/Db{layer}"][0]
  return jnp.einsum("ijt,tmn->ijmn", enlarged, p[f"ts/V{layer}"]), p[f"ts/b{layer}"]


def activated(image, kernel, bias):
  return jax.nn.relu(convolved(image, kernel) + bias)


def classified(p: Params, image):
  """Hidden layers and head."""
  value = image.reshape(len(image), -1)
  last = max(layer_of(name) for name in p if name.startswith("fc/"))
  for layer in range(1, last + 1):
    value = value @ p[f"fc/W{layer}"] + p[f"fc/b{layer}"]
    value = jax.nn.relu(value) if layer < last else value
  return value


def chosen(kind: str, p: Params, layer: int, is_shared):
  """Kernel and bias of a convolution, of the one kind that there is, or of the two."""
  own = [p[name] for name in (f"task/W{layer}", f"task/b{layer}") if name in p]
  if (f"shared/b{layer}" if kind == "hps" else f"ts/b{layer}") not in p:
    return own
  shared = generated(kind, p, layer)
  pairs = zip(shared, own, strict=True) if own else ()
  return [jnp.where(is_shared, one, other) for one, other in pairs] or shared


def logits_of(problem: Problem, kind: str, p: Params, row, image):
  for layer in problem.layers():
    image = activated(image, *chosen(kind, p, layer, row[layer - 1]))
    image = pooled(image, problem.pools[layer - 1])
  return classified(p, image)


def mixed_logits(problem: Problem, kind: str, p: Params, image):
  """Of DARTS: both kinds of each layer, by the softmax of its logits."""
  for layer in problem.layers():
    own, shared = jax.nn.softmax(p[f"select/a{layer}"])
    image = own * activated(image, p[f"task/W{layer}"], p[f"task/b{layer}"]) + (
      shared * activated(image, *generated(kind, p, layer))
    )
    image = pooled(image, problem.pools[layer - 1])
  return classified(p, image)


def progressive_logits(problem: Problem, columns: list[Params], image):
  """Of the last column."""
  earlier: list[list] = []  # of each column what its layers are given
  for number, p in enumerate(columns):
    value, inputs = image, []
    for layer in problem.layers():
      inputs.append(value)
      total = convolved(value, p[f"task/W{layer}"]) + p[f"task/b{layer}"]
      for column in range(number if layer > 1 else 0):
        name = f"lat/l{layer}_from{column}"
        scaled = p[f"{name}/alpha"] * earlier[column][layer - 1]
        narrow = activated(scaled, p[f"{name}/W1x1"], p[f"{name}/b1x1"])
        total = total + convolved(narrow, p[f"{name}/U"])
      value = pooled(jax.nn.relu(total), problem.pools[layer - 1])
    earlier.append(inputs)
  return classified(columns[-1], value)


def cross_entropy(logits, label):
  return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(label)), label])


def orthogonality(p: Params, layer: int):
  squares = (p[f"ts/U{number}_{layer}"] for number in (1, 2, 3, 4))
  return sum(jnp.linalg.norm(square.T @ square - jnp.eye(len(square))) for square in squares)


class RMSProp:
  """TensorFlow 1's: the mean of squares is 1 at first, ε stands within the root."""

  def __init__(self, p: Params):
    self.squares = {name: np.ones(np.shape(value)) for name, value in p.items()}

  def moved(self, p: Params, gradient: Params, rate: float) -> Params:
    """The parameters after a step; only those that have a state."""
    new = dict(p)
    for name, mean in self.squares.items():
      slope = np.asarray(gradient[name])
      self.squares[name] = 0.9 * mean + 0.1 * slope**2
      new[name] = p[name] - rate * slope / np.sqrt(self.squares[name] + 1e-10)
    return new


class Recorder:
  """The keys of one method."""

  def __init__(self, name: str, every: int):
    self.name, self.every = name, every
    self.keys: dict[str, np.ndarray] = {}
    self.steps: dict[str, list] = {}

  def put(self, key: str, value: Any) -> None:
    self.keys[f"{self.name}/{key}"] = np.array(value)

  def put_params(self, where: str, p: Params) -> None:
    for name, value in p.items():
      self.put(f"{where}/{name}", np.float32(value))

  def step(self, visit: int, **values: Any) -> None:
    for key, value in values.items():
      self.steps.setdefault(f"v{visit}/{key}", []).append(np.float32(value))

  def params_after_step(self, visit: int, p: Params) -> None:
    self.step(visit, **{f"step/{name}": value for name, value in p.items()})

  def end_visit(self) -> None:
    """Keeps some of the steps."""
    for key, values in self.steps.items():
      self.put(key, np.stack(values[:: -self.every][::-1]))
    self.steps = {}


class Learning(NamedTuple):
  """A visit: what `learn` gets and gives back.

  Attributes:
    visit: its number.
    params: of the shared layers and of the task.
    row: the task's configuration, if it is known.
    batches: of each step image, label and rate.
  """

  visit: int
  params: Params
  row: Row | None
  batches: list[tuple[Any, Any, float]]


Learn = Callable[["Trainer", Recorder, Learning], tuple[Params, Row]]


class Trainer:
  """Trains methods on the minibatches of a problem."""

  def __init__(self, problem: Problem, seed: int):
    self.problem = problem
    self.draw = Drawing(problem, np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    steps = problem.steps_per_epoch * problem.epochs
    shape = (len(problem.visits), steps, problem.batch)
    self.images = np.float32(rng.normal(size=(*shape, *problem.image)))
    self.labels = rng.integers(0, problem.classes, shape)
    self.epochs = np.arange(steps)[None] // problem.steps_per_epoch
    self.epochs = self.epochs + problem.epochs * np.arange(len(problem.visits))[:, None]
    self._functions: dict[Any, Callable] = {}

  def common(self) -> dict[str, np.ndarray]:
    told = {f"cfg/{name}": np.array(value) for name, value in self.problem._asdict().items()}
    return {
      **told,
      "visits": np.array(self.problem.visits),
      "x": self.images,
      "y": self.labels,
      "epoch": self.epochs,
    }

  def batches(self, visit: int) -> list[tuple[Any, Any, float]]:
    rates = self.problem.lr / (1 + self.epochs[visit] * self.problem.lr_decay)
    images = self.images[visit].astype(float)
    return list(zip(images, self.labels[visit], rates, strict=True))

  def gradients(self, kind: str, p: Params, rows: list[Row], image, label):
    """Of each configuration the probability of the true labels, cross-entropy, its gradient."""

    def loss(p, row, image, label):
      logits = logits_of(self.problem, kind, p, row, image)
      likely = jax.nn.softmax(logits)[jnp.arange(len(label)), label].mean()
      return cross_entropy(logits, label), likely

    def each(p, rows, image, label):
      one = functools.partial(jax.value_and_grad(loss, has_aux=True), p)
      return jax.lax.map(lambda row: one(row, image, label), rows)

    (values, likely), slopes = self._compiled(each, kind, p)(p, np.array(rows), image, label)
    return np.asarray(likely), values, slopes

  def penalized(self, p: Params, slope: Params, weights: Any) -> Params:
    """The gradient, with that of the orthogonality of the layers' factors."""

    def penalty(p, weights):
      strength = self.problem.tf_aux_weight
      there = [layer for layer in self.problem.layers() if f"ts/b{layer}" in p]
      return strength * sum((weights[n - 1] * orthogonality(p, n) for n in there), jnp.zeros(()))

    added = self._compiled(jax.grad(penalty), "penalty", p)(p, np.array(weights, float))
    return {name: slope[name] + added[name] for name in slope}

  def _compiled(self, function: Callable, what: str, p: Params) -> Callable:
    """Compiles a function of these parameters once."""
    return self._functions.setdefault((what, *sorted(p)), jax.jit(function))

  def run(
    self, name: str, kind: str, learn: Learn, *, row: Row | None = None, returns: bool = False
  ) -> dict[str, np.ndarray]:
    """The keys of a method over all its visits; `row`: of a static network."""
    recorder = Recorder(name, self.problem.every)
    shared: Params = {}
    tasks: dict[int, tuple[Row, Params, int]] = {}
    for visit, task in enumerate(self.problem.visits):
      if task in tasks and not returns:
        continue
      for other, (known, own, first) in tasks.items():
        image = self.images[first, 0].astype(float)
        logits = logits_of(self.problem, kind, shared | own, known, image)
        recorder.put(f"v{visit}/probs_start/task{other}", jax.nn.softmax(logits))
      known, own, first = tasks.get(task, (row, {}, visit))
      before = {n: v for n, v in shared.items() if known is None or known[layer_of(n) - 1]}
      params = (before | own) if own else self._drawn(kind, known, before)
      recorder.put_params(f"v{visit}/init", params)
      given = Learning(visit, params, known, self.batches(visit))
      params, known = learn(self, recorder, given)
      recorder.end_visit()
      for n, value in params.items():
        if n.startswith("shared/") and known[layer_of(n) - 1]:
          shared[n] = value
      own = {n: value for n, value in params.items() if _stays(n, known)}
      tasks[task] = (known, own, first)
      recorder.put_params(f"v{visit}/end", shared | own)
    return recorder.keys

  def _drawn(self, kind: str, row: Row | None, shared: Params) -> Params:
    """A new task: what is not shared yet is drawn; without a row both kinds of each layer."""
    made = dict(shared)
    for layer in self.problem.layers():
      if row is None or row[layer - 1]:
        made = self.draw.shared(kind, layer) | made | self.draw.factors(kind, layer)
      if row is None or not row[layer - 1]:
        made |= self.draw.own(layer)
    return made | self.draw.head()

  def progressive(self) -> dict[str, np.ndarray]:
    """The keys of progressive networks; tasks come in the order of their numbers."""
    recorder = Recorder("prognn", self.problem.every)
    columns: list[Params] = []
    firsts: list[int] = []
    for visit, task in enumerate(self.problem.visits):
      if task < len(columns):
        continue
      for other, first in enumerate(firsts):
        image = self.images[first, 0].astype(float)
        logits = progressive_logits(self.problem, columns[: other + 1], image)
        recorder.put(f"v{visit}/probs_start/task{other}", jax.nn.softmax(logits))
      p = self.draw.head()
      for layer in self.problem.layers():
        p |= self.draw.own(layer) | (self.draw.laterals(layer, task) if layer > 1 else {})
      recorder.put_params(f"v{visit}/init", p)

      @jax.jit
      @jax.value_and_grad
      def loss(p, image, label, earlier=tuple(columns)):
        return cross_entropy(progressive_logits(self.problem, [*earlier, p], image), label)

      optimizer = RMSProp(p)
      for image, label, rate in self.batches(visit):
        value, slope = loss(p, image, label)
        p = optimizer.moved(p, slope, rate)
        recorder.step(visit, loss=value)
        recorder.params_after_step(visit, p)
      recorder.end_visit()
      recorder.put_params(f"v{visit}/end", p)
      columns.append(p)
      firsts.append(visit)
    return recorder.keys


def _stays(name: str, row: Row) -> bool:
  """Whether a parameter of the task's own is kept when the task ends."""
  if name.startswith("fc/"):
    return True
  return name.startswith("ts/" if row[layer_of(name) - 1] else "task/")


def static(trainer: Trainer, recorder: Recorder, given: Learning, *, kind: str):
  """A known configuration."""
  visit, p, row, batches = given
  optimizer = RMSProp(p)
  for image, label, rate in batches:
    _, (loss,), slopes = trainer.gradients(kind, p, [row], image, label)
    slope = {name: value[0] for name, value in slopes.items()}
    p = optimizer.moved(p, trainer.penalized(p, slope, row) if kind == "tf" else slope, rate)
    recorder.step(visit, loss=loss)
    recorder.params_after_step(visit, p)
  return p, row


def lasem(
  trainer: Trainer,
  recorder: Recorder,
  given: Learning,
  *,
  kind: str,
  rows: list[Row],
  counts: bool = False,
  last_only: bool = False,
):
  """LASEM; a task that comes again has its configuration."""
  visit, p, known, batches = given
  if known is not None:
    recorder.put(f"v{visit}/sharing", known)
    return static(trainer, recorder, given, kind=kind)
  recorder.put("configs", rows)
  prior, total = np.full(len(rows), 1 / len(rows)), np.full(len(rows), float(counts))
  optimizer = RMSProp(p)
  for image, label, rate in batches:
    likely, _, slopes = trainer.gradients(kind, p, rows, image, label)
    q = prior * likely / ((prior * likely).sum() + 1e-30)
    slope = {name: np.tensordot(q, value, 1) for name, value in slopes.items()}
    if kind == "tf":
      slope = trainer.penalized(p, slope, q @ np.array(rows))
    p = optimizer.moved(p, slope, rate)
    total += np.arange(len(rows)) == q.argmax() if counts else q
    prior = total / total.sum()
    recorder.step(visit, q=q, prior=prior)
    if not last_only:
      recorder.params_after_step(visit, p)
  if last_only:
    for name, value in p.items():
      recorder.put(f"v{visit}/last/{name}", np.float32(value)[None])
  chosen = int(prior.argmax())
  recorder.put(f"v{visit}/chosen", chosen)
  recorder.put(f"v{visit}/sharing", rows[chosen])
  return p, rows[chosen]


def darts(trainer: Trainer, recorder: Recorder, given: Learning, *, kind: str):
  """DARTS transfer, first order."""
  visit, p, _, batches = given
  logits = {f"select/a{layer}": trainer.draw.normal(2) for layer in trainer.problem.layers()}
  recorder.put_params(f"v{visit}/init", logits)

  @jax.jit
  @jax.value_and_grad
  def loss(p, image, label):
    return cross_entropy(mixed_logits(trainer.problem, kind, p, image), label)

  of_logits, of_params = RMSProp(logits), RMSProp(p)
  p = p | logits
  for image, label, rate in batches:
    value, slope = loss(p, image, label)
    p = of_logits.moved(p, slope, rate)
    _, slope = loss(p, image, label)
    p = of_params.moved(p, slope, rate)
    recorder.step(visit, loss=value)
    recorder.params_after_step(visit, p)
  pairs = [p.pop(name) for name in logits]
  row = tuple(bool(shared > own) for own, shared in pairs)
  recorder.put(f"v{visit}/chosen", sum(2**place for place in np.flatnonzero(row)))
  recorder.put(f"v{visit}/sharing", row)
  return p, row


def make(problem: Problem, seed: int = 0) -> dict[str, np.ndarray]:
  """All keys of a trace of all methods."""
  with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
    return _keys_of(Trainer(problem, seed))


def _keys_of(trainer: Trainer) -> dict[str, np.ndarray]:
  problem, made = trainer.problem, trainer.common()
  learn: Learn
  for kind in KINDS:
    learn = functools.partial(lasem, kind=kind, rows=problem.rows())
    made |= trainer.run(f"lasem_{kind}", kind, learn, returns=True)
    row = getattr(problem, f"static_{kind}")
    learn = functools.partial(static, kind=kind)
    made[f"static_{kind}/sharing"] = np.array(row)
    made |= trainer.run(f"static_{kind}", kind, learn, row=row)
  learn = functools.partial(lasem, kind="hps", rows=problem.group_rows(), last_only=True)
  made |= trainer.run("lasem_group_hps", "hps", learn)
  learn = functools.partial(lasem, kind="hps", rows=problem.rows(), counts=True, last_only=True)
  made |= trainer.run("lasem_count_hps", "hps", learn)
  for kind in ("hps", "dfcnn"):
    made |= trainer.run(f"darts_{kind}", kind, functools.partial(darts, kind=kind))
  return made | trainer.progressive()
