"""What a run will hold in memory, foreseen from shapes before its programs are compiled.

Counted is what lies on a device from one step to the next: parameters, the method's state (TAG's
accumulators, anchors, importance), exemplars and examples; and what the method prepares for an
evaluation, such as adapted copies of the model. Not counted are activations, gradients and all else
that lives within a step, the copies made when examples change or several devices evaluate, and the
programs. The forecast is a lower bound: a run that is refused could not have
fitted, but one that is not refused may still run out.
"""

import math
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from tagjax.core import register
from tagjax.core.errors import ConfigError
from tagjax.core.method import Cost, Method
from tagjax.core.types import StreamSpec
from tagjax.engine.layout import Layout
from tagjax.engine.learner import Learner, LearnerState
from tagjax.memory import memories
from tagjax.storage import tree_bytes
from tagjax.training.options import RunOptions


class Room(NamedTuple):
  """What trials there is room for, if half of the memory is left to the steps.

  Attributes:
    available: bytes of each device, or of the machine whose memory the devices share; None: not
      known.
    lane: bytes of a trial.
    examples: bytes of the examples that each device holds.
    shared: whether the devices share one memory, as those of a CPU do.
  """

  available: int | None
  lane: int
  examples: int
  shared: bool

  def devices(self) -> int:
    """The most devices that can hold the examples and a trial each; at least one."""
    if self.available is None or not self.shared:
      return _NO_BOUND
    return max(1, self.available // 2 // (self.lane + self.examples))

  def lanes(self, devices: int) -> int:
    """The most trials on each of so many devices; at least one."""
    if self.available is None:
      return _NO_BOUND
    own = self.available // 2 // (devices if self.shared else 1)
    return max(1, (own - self.examples) // self.lane)


_NO_BOUND = 2**31
UNLIMITED = Room(None, 1, 0, shared=False)
"""Nobody knows how much memory there is."""


class Forecast(NamedTuple):
  """Bytes that one memory will hold: that of a device, or of a machine whose CPU devices share it.

  Attributes:
    seeds: the seeds trained together that it holds.
    params: the model's parameters.
    statistics: the model's other variables, such as running averages.
    method: the method's state without exemplars, by member of the chain.
    exemplars: memories of exemplars.
    examples: of the current task for training, and of all tasks for evaluation; or of the
      windows in which they are read (`tagjax.input_pipeline.data_source`).
    kept: variables of the best epoch, to go back to.
    prepared: what the method prepares for an evaluation, see `of_prepared`.
    step: what a step of the method costs; None if it is not told.
    rows: the parameters with a row a task (`tagjax.task_stacked`), which are allocated for all
      tasks and come into use with each; a part of `params`.
  """

  seeds: int
  params: int
  statistics: int
  method: dict[str, int]
  exemplars: int
  examples: int
  kept: int = 0
  prepared: int = 0
  rows: int = 0
  step: Cost | None = None

  @property
  def total(self) -> int:
    """Bytes of all parts."""
    variables = (self.params, self.statistics, self.kept, self.prepared)
    own = (*variables, self.exemplars, self.examples)
    return sum((*own, *self.method.values()))

  @property
  def with_step(self) -> int:
    """Bytes of all parts, and of what a step is known to hold."""
    return self.total + (self.step.bytes if self.step else 0)

  def told_step(self) -> list[str]:
    """A line about the step, if there is something to tell."""
    if self.step is None:
      return []
    kept = f"; at least {readable(self.step.bytes)} of activations" if self.step.bytes else ""
    return [f"step: {self.step.text}{kept}"]

  def __str__(self) -> str:
    """One line, such as `42.0 kB of parameters + 1.6 MB of method state (tag 1.6 MB) = 1.7 MB`."""
    parts = {
      "parameters": self.params,
      "other variables": self.statistics,
      "kept variables": self.kept,
      "method state": sum(self.method.values()),
      "prepared variables": self.prepared,
      "exemplars": self.exemplars,
      "examples": self.examples,
    }
    texts = {name: f"{readable(size)} of {name}" for name, size in parts.items() if size}
    if self.rows:
      texts["parameters"] += f" ({readable(self.rows)} in rows of the tasks)"
    if "method state" in texts:
      largest = max(self.method, key=self.method.__getitem__)
      texts["method state"] += f" ({largest} {readable(self.method[largest])})"
    seeds = f" for {self.seeds} seeds" if self.seeds > 1 else ""
    return f"{' + '.join(texts.values())} = {readable(self.total)}{seeds}"


def foresee(
  state: LearnerState,
  method: Method,
  spec: StreamSpec,
  layout: Layout,
  *,
  training_rows: int,
  evaluation_rows: int,
  prepared: int = 0,
  shared: bool = False,
) -> Forecast:
  """What each device of a run will hold, or all of them if they share one memory.

  Args:
    state: of all trials that are trained together; arrays or `jax.ShapeDtypeStruct`.
    method: whose state it holds.
    spec: of the stream.
    layout: how the trials lie on the devices.
    training_rows: training examples on every device, padding included.
    evaluation_rows: the same of those to evaluate on, which the first device holds.
    prepared: bytes that the method prepares for an evaluation of one trial, see `of_prepared`; on
      the first device, or on those that share the trials out.
    shared: whether the devices of a process share one memory, as those of a CPU do.

  Returns:
    The forecast.
  """
  copies = max(1, layout.num_devices // jax.process_count()) if shared else 1
  if layout.share_lanes:  # what fills up the devices takes room too
    places = layout.places if shared else layout.lanes_a_device
    state = jax.tree.map(lambda leaf: _with_places(leaf, places), state)
    seeds = min(places, layout.num_lanes)
  else:
    places = seeds = layout.num_lanes
    state = jax.tree.map(lambda leaf: _with_copies(leaf, copies), state)
  image = math.prod(spec.image_shape) * np.dtype(spec.image_dtype).itemsize
  # Label, task and index are int32, and so is the number of examples of a task.
  row = image + 4 + 4 + 4
  examples = copies * (training_rows * row + 4) + evaluation_rows * row + spec.num_tasks * 4
  found = of_state(state, method, seeds=seeds, examples=examples)
  return found._replace(prepared=places * prepared)


def of_state(state: LearnerState, method: Method, *, seeds: int = 1, examples: int = 0) -> Forecast:
  """The parts of a learner's state.

  Args:
    state: arrays or `jax.ShapeDtypeStruct`.
    method: whose state it holds; its name names the members of a chain.
    seeds: seeds in `state`.
    examples: bytes of examples.
  """
  names = [name or "optimizer" for name in method.name.split("+")]
  members = state.method if len(names) > 1 else [state.method]
  if len(members) != len(names):  # some are Optax transformations without a name
    names, members = ["method"], [state.method]
  sizes: dict[str, int] = {}
  exemplars = 0
  for name, member in zip(names, members, strict=True):
    own = num_bytes(memories(member))
    sizes[name] = sizes.get(name, 0) + num_bytes(member) - own
    exemplars += own
  params = num_bytes(state.variables["params"])
  return Forecast(
    seeds=seeds,
    params=params,
    statistics=num_bytes(state.variables) - params,
    method=sizes,
    exemplars=exemplars,
    examples=examples,
    kept=num_bytes(state.kept),
  )


def of_prepared(learner: Learner, state: LearnerState) -> int:
  """Bytes that `Learner.prepare` makes of the state of one trial.

  Arrays of the state that it only hands on are not made anew, and do not count.

  Args:
    learner: of one device.
    state: of one trial; arrays or `jax.ShapeDtypeStruct`.
  """
  if not learner.prepares:
    return 0
  current_task = jax.ShapeDtypeStruct((), np.int32)
  traced, served = jax.make_jaxpr(learner.prepare, return_shape=True)(state, current_task)
  given = {id(variable) for variable in traced.jaxpr.invars}
  made = zip(traced.jaxpr.outvars, jax.tree.leaves(served), strict=True)
  return num_bytes([leaf for variable, leaf in made if id(variable) not in given])


def batch_bytes(spec: StreamSpec, options: RunOptions, layout: Layout, *, shared: bool) -> int:
  """Bytes of one batch of images at the least, of all lanes that one memory holds at once.

  A batch has `batch_size` rows however few examples there are: the rest is padding.

  Args:
    spec: of the stream.
    options: of the run.
    layout: how the trials lie on the devices.
    shared: see `foresee`.
  """
  side_by_side = 1 if layout.in_turn else layout.lanes_a_device
  devices = max(1, layout.num_devices // jax.process_count()) if shared else 1
  rows = -(-options.batch_size // layout.batch_devices)
  image = math.prod(spec.image_shape) * np.dtype(spec.image_dtype).itemsize
  return rows * image * side_by_side * devices


def check_batch(needed: int, held: int, options: RunOptions, available: int | None) -> None:
  """Refuses a batch that does not fit beside what the run holds.

  Args:
    needed: bytes of a batch, see `batch_bytes`.
    held: bytes that the run holds.
    options: of the run.
    available: see `check`.

  Raises:
    ConfigError: one line with the figures and the way out.
  """
  if available is not None and needed + held > available:
    raise ConfigError(
      f"batch_size={options.batch_size} takes {readable(needed)} for the images of a batch, which "
      f"is filled up to that size, beside {readable(held)} that the run holds, and there are "
      f"{readable(available)}: lower it"
    )


def by_kind(forecast: Forecast) -> dict[str, int]:
  """Bytes by kind, those of examples left out: `parameters`, ..., and `total`."""
  kinds = {
    "parameters": forecast.params,
    "statistics": forecast.statistics + forecast.kept,
    "method": sum(forecast.method.values()),
    "exemplars": forecast.exemplars,
  }
  return {**kinds, "total": sum(kinds.values())}


def check(
  forecast: Forecast, options: RunOptions, available: int | None, method: Method | None = None
) -> None:
  """Refuses a run that cannot fit.

  Args:
    forecast: what it will hold.
    options: of the run.
    available: bytes that a device can still give; None: unknown, nothing is refused.
    method: whose state it holds; its settings tell which capacities can be lowered.

  Raises:
    ConfigError: one line with the figures and the ways out.
  """
  if available is None:
    return
  if forecast.step is not None and forecast.total <= available < forecast.with_step:
    raise ConfigError(
      f"a step would keep {readable(forecast.step.bytes)} of activations beside the "
      f"{readable(forecast.total)} of the run, and there are {readable(available)} "
      f"({forecast.step.text}): {forecast.step.way_out}"
    )
  if forecast.total <= available:
    return
  raise ConfigError(
    f"the run would hold {forecast}, and there are {readable(available)}: "
    f"{', or '.join(_ways_out(forecast, options, available, method))}"
  )


def _ways_out(
  forecast: Forecast, options: RunOptions, available: int, method: Method | None
) -> list[str]:
  """What to change; only where it makes a difference."""
  ways = []
  for name, size in {**forecast.method, "exemplars": forecast.exemplars}.items():
    if 10 * size >= forecast.total:
      ways += _capacities(method) if name == "exemplars" else _ways_of_member(name, options)
  own = (forecast.total - forecast.examples) // forecast.seeds  # of one seed
  if forecast.seeds > 1 and own + forecast.examples <= available:
    ways.append("train fewer seeds together (seeds_together=1)")
  if 10 * forecast.exemplars < forecast.total:
    ways.append("take a smaller model")
  return ways


def _ways_of_member(name: str, options: RunOptions) -> list[str]:
  """What the declaration of a large member of the chain offers."""
  declared = register.find(name)
  ways = []
  if declared is not None and "accumulator_dtype" in declared.options:
    ways.append(f"set {declared.key('accumulator_dtype')}='bfloat16'")
  can_share = declared is not None and "columns" in declared.provided
  if can_share and options.data_parallel > 1 and not options.shard_state:
    ways.append("set shard_state=True")
  return ways


def _capacities(method: Method | None) -> list[str]:
  """The capacities of the method's memories, as the command line calls them."""
  ways: list[str] = []
  if method is None:
    return ways
  for name in method.name.split("+"):
    settings = method.settings.get(name, method.settings)
    declared = register.find(name)
    if declared is not None and "capacity" in settings:
      ways.append(f"lower {declared.key('capacity')}={settings['capacity']}")
  return ways or ["lower the capacity of the memory"]


def num_bytes(tree: chex.ArrayTree) -> int:
  """Bytes of all leaves; arrays or `jax.ShapeDtypeStruct`.

  >>> import numpy as np
  >>> num_bytes({"weight": np.zeros((2, 3), np.float32), "nothing": None})
  24
  """
  return sum(size for *_, size in tree_bytes.describe(tree))


def _with_places(leaf: Any, places: int) -> jax.ShapeDtypeStruct:
  """An axis of so many lanes; it stays, of length 1, where there is one."""
  return jax.ShapeDtypeStruct((places, *leaf.shape[1:]), leaf.dtype)


def _with_copies(leaf: Any, copies: int) -> Any:
  return leaf if copies == 1 else jax.ShapeDtypeStruct((copies, *leaf.shape), leaf.dtype)


def readable(size: int) -> str:
  """A number of bytes for people.

  >>> readable(999), readable(1_234_567), readable(3 * 10**15)
  ('999 B', '1.2 MB', '3000.0 TB')
  """
  if size < 1000:
    return f"{size} B"
  units = ("kB", "MB", "GB", "TB")
  power = min(int(math.log10(size) / 3), len(units))
  return f"{size / 1000**power:.1f} {units[power - 1]}"
