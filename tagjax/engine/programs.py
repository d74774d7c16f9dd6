"""Compiled programs: the only file that jits, donates, and maps over seeds and devices.

A lane is one training of the stream: a seed, at a point of a grid if there is one. One program
trains the lanes of a device, side by side under `vmap` or one after another.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tagjax.core.errors import ConfigError
from tagjax.core.method import EpochStep
from tagjax.core.types import Batch, Hyper
from tagjax.engine import flops
from tagjax.engine.counts import ACCURACY_ALONE, Measures
from tagjax.engine.evaluate import Evaluation, evaluate
from tagjax.engine.growth import Usage
from tagjax.engine.layout import Layout
from tagjax.engine.learner import Learner, LearnerState, ServedState, serve
from tagjax.engine.train_loop import DEVICE_AXIS, consolidate_task, order_epoch, train_chunk
from tagjax.input_pipeline.device_examples import DeviceExamples
from tagjax.transforms import columns

LANE_AXIS = "lanes"


class _Order(NamedTuple):
  """The order of an epoch, on the devices, kept from one chunk to the next.

  Attributes:
    rows: see `order_epoch`.
    of: the arrays and the number that it was made of: the run's key, the examples of the task, the
      epoch. An array is a constant, so the same object has the same order.
  """

  rows: chex.Array
  of: tuple[chex.PRNGKey, chex.Array, int]

  def fits(self, key: chex.PRNGKey, size: chex.Array, epoch_id: int) -> bool:
    return self.of[0] is key and self.of[1] is size and self.of[2] == epoch_id


class Programs:
  """The compiled programs of a run, and how long compiling them took.

  Attributes:
    compile_seconds: seconds spent tracing and compiling so far.
    phases: the training phases of a task.
    num_boundary_examples: see `tagjax.core.method.Method`.
    consolidates: whether `consolidate` changes anything.
    rehearses: whether exemplars are mixed into the tasks.
    single: the learner of one device.
    layout: see `Layout`.
    traces: how often each program was traced; `train` must stay at one for the whole stream.
  """

  def __init__(
    self,
    learner: Learner,
    single: Learner,
    *,
    batch_size: int,
    eval_batch_size: int,
    layout: Layout | None = None,
    keep_going: bool = False,
    in_order: bool = False,
    measures: Measures = ACCURACY_ALONE,
    tested_in_order: bool = False,
    plain: Learner | None = None,
    validation_batch_size: int = 0,
  ):
    """Prepares the programs; each is compiled when it is first called.

    Args:
      learner: trains; built with `axis_name=DEVICE_AXIS` if several devices share a batch.
      single: evaluates, on one device; the same learner unless several devices share a batch.
      batch_size: examples a training step, over all devices; a multiple of their number.
      eval_batch_size: examples an evaluation pass.
      layout: lanes and devices; None: one of each.
      keep_going: see `train_chunk`.
      in_order: see `train_chunk`; whoever gives the examples computes their order by
        `tagjax.input_pipeline.order`.
      measures: what evaluations measure.
      tested_in_order: whether examples to evaluate on are given in the order of the evaluation.
      plain: the learner of one device with a method that has no prediction of its own; validates.
      validation_batch_size: examples a pass over validation examples; 0: there are none.
    """
    layout = Layout() if layout is None else layout
    self.compile_seconds = 0.0
    self.traces = Counter()
    self.phases = learner.phases
    self.num_boundary_examples = learner.num_boundary_examples
    self.consolidates = learner.consolidates
    self.rehearses = learner.rehearses
    self.single = single
    self.layout = layout
    self._learner = learner
    self._devices = _devices(layout.num_devices)
    self._compiled: dict[Any, Callable] = {}
    self._traced: dict[Any, tuple[Any, chex.ArrayTree]] = {}
    self._copied: tuple[DeviceExamples, DeviceExamples] | None = None
    self._train = functools.partial(
      train_chunk,
      learner,
      batch_size=batch_size,
      num_devices=layout.batch_devices,
      lane_axis=LANE_AXIS if layout.lanes_a_device > 1 and not layout.in_turn else None,
      keep_going=keep_going,
    )
    self._order: _Order | None = None
    self._in_order, self._batch_size = in_order, batch_size
    self._consolidate = functools.partial(
      consolidate_task, learner, batch_size=batch_size, in_order=in_order
    )
    self._measures, self._eval_batch_size = measures, eval_batch_size
    self._evaluate = functools.partial(
      evaluate,
      single,
      batch_size=eval_batch_size,
      measures=measures,
      in_order=tested_in_order,
    )
    self._validate_served = functools.partial(evaluate, single, batch_size=validation_batch_size)
    self._validate = None
    if plain is not None:
      self._validate = functools.partial(evaluate, plain, batch_size=validation_batch_size)

  def init(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """The state at the start of a stream, of all lanes.

    Args:
      keys: `[num_lanes]`.
      hyper: see `LearnerState`, each `[num_lanes]`; None: none.
    """
    # On the host: each step of sharing keys out by the devices would be a program of its own.
    data = np.asarray(jax.random.key_data(keys))
    start = self._without_one((data, jax.tree.map(np.asarray, hyper)))
    init = functools.partial(self._init, jax.random.key_impl(keys))
    if self.layout.share_lanes:
      return self._call("init", init, self.replicate(start), once=True)
    return self.replicate(self._call("init", init, start, mapped=False, once=True))

  def template(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """Shapes and dtypes of what `to_host` gives of the state that `init` makes.

    An array that the devices share by columns is one of NumPy (without memory of its own): it is
    put together on the host, and is to be read there.
    """
    start = jax.eval_shape(self._without_one, (keys, hyper))
    whole = self._shapes(self.single, start)
    if not self.layout.share_columns:
      return whole

    def one(leaf, part):
      if leaf.shape == part.shape:
        return leaf
      return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)

    return jax.tree.map(one, whole, self._shapes(self._learner, start))

  def held(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """Shapes and dtypes of what one device holds, all lanes counted if the devices share them."""
    return self._shapes(self._learner, jax.eval_shape(self._without_one, (keys, hyper)))

  def _shapes(self, learner: Learner, start) -> LearnerState:
    several = self.layout.num_lanes > 1
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[several:], leaf.dtype), start)
    shapes = jax.eval_shape(learner.init, *one)  # traced once: JAX keeps the trace of a function
    if not several:
      return shapes
    lanes = (self.layout.num_lanes,)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(lanes + leaf.shape, leaf.dtype), shapes)

  def _init(self, impl, start) -> LearnerState:
    data, hyper = start
    return self._learner.init(jax.random.wrap_key_data(data, impl=impl), hyper)

  def train(self, state, examples, task_id, epoch_id, start, stop, *, phase, first=None):
    """See `train_chunk`; donates `state`. The sums, on the host, have an axis of lanes in front."""

    def function(carried, examples, numbers):
      state, order = carried
      task_id, start, stop, *where = numbers
      told = EpochStep(*where) if where else None
      state, chunk = self._train(
        state, order, examples, task_id, start, stop, phase=phase, first=told
      )
      return (state, order), chunk

    rows = None if self._in_order else self._order_of(state, examples, epoch_id)
    numbers = np.array([task_id, start, stop, *(first or ())], np.int32)  # one copy
    (state, rows), chunk = self._call(
      ("train", phase), function, (state, rows), self._on_all(examples), numbers, donate=True
    )
    self._order = None if rows is None else _Order(rows, (state.key, examples.size, epoch_id))
    return state, self._figures(chunk)

  def _order_of(self, state: LearnerState, examples: DeviceExamples, epoch_id: int) -> chex.Array:
    """The order of the epoch; sorting a large task costs as much as some dozens of steps."""
    if self._order is not None and self._order.fits(state.key, examples.size, epoch_id):
      return self._order.rows
    self._order = None

    def order(state, size, epoch_id):
      return order_epoch(
        self._learner,
        state,
        size,
        epoch_id,
        capacity=examples.label.shape[0],
        batch_size=self._batch_size,
      )

    return self._call("order", order, state, examples.size, np.int32(epoch_id), once=True)

  def consolidate(self, state, examples, task_id, *, phase):
    """See `consolidate_task`; donates `state`."""

    def function(state, examples, task_id):
      return self._consolidate(state, examples, task_id, phase=phase), None

    examples, task_id = self._on_all(examples), np.int32(task_id)
    state, _ = self._call(("consolidate", phase), function, state, examples, task_id, donate=True)
    return state

  def rehearsal(self, state: LearnerState) -> Batch | None:
    """The exemplars that the method rehearses, on the host; None if it does not.

    See `tagjax.core.method.Method`. Leaves have an axis of lanes in front if there are several.
    """
    if not self.single.rehearses:
      return None
    return jax.device_get(self._of_single("rehearsal", self.single.rehearsal, state))

  def rehearsal_size(self, state: LearnerState) -> int:
    """How many exemplars belong to the task's training set besides its own examples.

    Raises:
      ConfigError: if that differs between lanes side by side, which take the same steps.
    """
    if not self.single.rehearses:
      return 0
    sizes = np.unique(self._of_single("rehearsal_size", self._rehearsal_size, state))
    if len(sizes) > 1:
      raise ConfigError(
        f"seeds side by side rehearse {sizes.tolist()} exemplars, and must take the same number of "
        "steps: set seed_axis='loop'"
      )
    return int(sizes[0])

  def _rehearsal_size(self, state: LearnerState) -> chex.Array:
    exemplars = self.single.rehearsal(state)
    return jnp.int32(0) if exemplars is None else jnp.sum(exemplars.mask, dtype=jnp.int32)

  def usage(self, state: LearnerState, used: Any, tasks: np.ndarray, task_id: int) -> Usage:
    """See `Learner.usage`; on the host, an axis of lanes in front."""
    result = self._on_single("usage", self.single.usage, state, used, tasks, np.int32(task_id))
    return self._figures(result, mapped=self.layout.share_lanes)

  def step_flops(self, phase: str, task_id: int) -> float | None:
    """Operations of a training step of one lane at a task; None before a step was traced."""
    name = ("train", phase)
    if name not in self._traced:
      return None
    jaxpr, (carried, examples, numbers) = self._traced[name]
    start, stop, visit, epochs_and_step, num_steps = 0, 1, task_id, (0, 0, 0), 1
    where = [task_id, visit, *epochs_and_step, num_steps]
    values = np.array([task_id, start, stop, *where], np.int32)[: numbers.shape[0]]
    examples = _known_of(examples)._replace(task_id=_all(task_id, examples.task_id))
    known = (_known_of(carried), examples, values)
    return flops.count(jaxpr, jax.tree.leaves(known)) * self.layout.batch_devices

  def evaluation_flops(self, task_id: int) -> float | None:
    """Operations to classify an image of a task when it is the last one learned.

    Of a pass, over the images that it takes; None before one was traced.
    """
    if "evaluate" not in self._traced:
      return None
    jaxpr, (served, examples, task) = self._traced["evaluate"]
    size = _all(1, examples.size)  # a single pass
    examples = _known_of(examples)._replace(size=size, task_id=_all(task_id, examples.task_id))
    known = (_known_of(served), examples, _all(task_id, task))
    return flops.count(jaxpr, jax.tree.leaves(known)) / self._eval_batch_size

  def prepare(self, state: LearnerState, current_task) -> ServedState:
    """What `evaluate` takes, see `Learner.prepare`; to be made anew when the state has changed.

    Where the method does not prepare, it shares the state's buffers: nothing is compiled, and
    training, which donates them, ends its use. So do the model's variables, which evaluations with
    details compare with.
    """
    if not self.single.prepares:
      return self._served(state)
    served = self._on_single("prepare", self.single.prepare, state, np.int32(current_task))
    if not self._measures.details:
      return served
    own = state.variables
    return served._replace(variables=own if self.layout.share_lanes else self.unreplicate(own))

  def evaluate(self, served: ServedState, examples, current_task) -> Evaluation:
    """See `tagjax.engine.evaluate.evaluate`; figures on the host, an axis of lanes in front.

    Runs on the first device (of each process), or on those that share the lanes out.
    """
    return self._test("evaluate", self._evaluate, served, examples, current_task)

  def validate(self, state: LearnerState, examples, current_task) -> Evaluation:
    """As `evaluate`, of the model itself, whatever the method makes of it; reads `state` only."""
    return self._test("validate", self._validate, self._served(state), examples, current_task)

  def validate_served(self, served: ServedState, examples, current_task) -> Evaluation:
    """As `evaluate`, of single validation examples."""
    return self._test("validate_served", self._validate_served, served, examples, current_task)

  def _test(self, name, function, served: ServedState, examples, current_task) -> Evaluation:
    shared = self.layout.share_lanes
    result = self._call(name, function, served, examples, np.int32(current_task), mapped=shared)
    return self._figures(result, mapped=shared)

  def _served(self, state: LearnerState) -> ServedState:
    served = serve(state)
    return served if self.layout.share_lanes else self.unreplicate(served)

  def keep(self, state: LearnerState, chosen: np.ndarray) -> LearnerState:
    """Keeps the variables of the lanes that are `chosen`, bool `[num_lanes]`; donates `state`."""

    def function(carried):
      state, chosen = carried
      kept = jax.tree.map(lambda new, old: jnp.where(chosen, new, old), state.variables, state.kept)
      return (state._replace(kept=kept), chosen), None

    chosen = self.replicate(self._without_one(jnp.asarray(chosen)))
    (state, _), _ = self._call("keep", function, (state, chosen), donate=True)
    return state

  def take_kept(self, state: LearnerState) -> LearnerState:
    """Puts the variables that are kept back; donates `state`."""

    def function(state):
      return state._replace(variables=jax.tree.map(jnp.copy, state.kept)), None

    state, _ = self._call("take_kept", function, state, donate=True)
    return state

  def _on_single(self, name: str, function: Callable, state: LearnerState, *args):
    """`function` of the single learner's; the axis of devices stays if they share the lanes out."""
    if self.layout.share_lanes:
      return self._call(name, function, state, *args)
    return self._call(name, function, self.unreplicate(state), *args, mapped=False)

  def _of_single(self, name: str, function: Callable, state: LearnerState):
    result = self._on_single(name, function, state)
    return self.unreplicate(result) if self.layout.share_lanes else result

  def unreplicate(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """`tree` without the axis of devices: the lanes of all of them, or the first one's copy.

    With several processes that is the first device of this process.
    """
    if self.layout.num_devices == 1:
      return tree
    if self.layout.share_lanes:
      return jax.tree.map(self._lanes_of, tree)
    return jax.tree.map(lambda leaf: leaf[0], tree)

  def _lanes_of(self, leaf):
    """The lanes of a leaf that the devices share out, without those that fill up."""
    if _is_key(leaf):
      data = self._lanes_of(np.asarray(jax.random.key_data(leaf)))
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if self.layout.lanes_a_device > 1:
      leaf = leaf.reshape(-1, *leaf.shape[2:])
    return leaf if len(leaf) == self.layout.num_lanes else leaf[: self.layout.num_lanes]

  def replicate(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """The inverse of `unreplicate`: a copy, or a share of the lanes, on every device.

    With several processes: on every device of this process, which all processes do at once.
    """
    devices = self.layout.num_devices
    if devices == 1:
      return tree
    if not self.layout.share_lanes:
      copy = jax.pmap(lambda leaf, _: leaf, in_axes=(None, 0), devices=self._devices)
      return copy(tree, jnp.arange(devices // jax.process_count()))
    return self._give_out(jax.tree.map(self._places_of, tree))

  def _places_of(self, leaf):
    """The inverse of `_lanes_of`."""
    layout = self.layout
    if layout.places > layout.num_lanes:
      leaf = leaf[np.minimum(np.arange(layout.places), layout.num_lanes - 1)]
    each = layout.lanes_a_device
    return leaf.reshape(layout.num_devices, each, *leaf.shape[1:]) if each > 1 else leaf

  def to_host(self, state: LearnerState) -> LearnerState:
    """The state as a checkpoint keeps it: without the axis of devices.

    Columns that devices share are put together on the host, and so are lanes.
    """
    if self.layout.share_lanes:
      return self.unreplicate(jax.tree.map(_readable, state))
    first = self.unreplicate(state)
    if not self.layout.share_columns:
      return first
    whole = self._shapes(self.single, (first.key, first.hyper))

    def one(leaf, own, like):
      same = own.shape == like.shape
      return own if same else columns.join(np.asarray(leaf), like.shape)

    return jax.tree.map(one, state, first, whole)

  def to_devices(self, state: LearnerState) -> LearnerState:
    """The inverse of `to_host`."""
    if not self.layout.share_columns:
      return self.replicate(state)
    leaves, structure = jax.tree.flatten(state)
    held = jax.tree.leaves(self._shapes(self._learner, (state.key, state.hyper)))
    shared = [leaf.shape != own.shape for leaf, own in zip(leaves, held, strict=True)]
    triples = list(zip(leaves, held, shared, strict=True))
    copies = iter(self.replicate([leaf for leaf, _, is_shared in triples if not is_shared]))
    split = functools.partial(columns.split, num_devices=self.layout.num_devices)
    rows = [split(leaf, own.shape) for leaf, own, is_shared in triples if is_shared]
    parts = iter(self._give_out(rows))
    return structure.unflatten([next(parts if is_shared else copies) for is_shared in shared])

  def _give_out(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Arrays with an axis of devices in front, to the devices."""
    if jax.process_count() > 1:
      return jax.pmap(lambda leaf: leaf, devices=self._devices)(tree)
    return jax.device_put(tree, self._sharding(DEVICE_AXIS))

  def _sharding(self, *axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(self._devices), (DEVICE_AXIS,)), PartitionSpec(*axes))

  def _on_all(self, examples: DeviceExamples) -> DeviceExamples:
    """Examples on every device, so that not each call copies them; those of the last call stay."""
    if self.layout.num_devices == 1 or jax.process_count() > 1:
      return examples
    if self._copied is None or self._copied[0] is not examples:
      self._copied = None  # frees the memory first
      self._copied = examples, jax.device_put(examples, self._sharding())
    return self._copied[1]

  def _figures(self, tree: chex.ArrayTree, mapped: bool = True) -> chex.ArrayTree:
    """Small results on the host, an axis of lanes in front; this waits for them."""
    tree = jax.device_get(tree)
    return self._with_one(self.unreplicate(tree) if mapped else tree)

  def _with_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """One lane has no axis of lanes; here it gets one."""
    return jax.tree.map(lambda leaf: leaf[None], tree) if self.layout.num_lanes == 1 else tree

  def _without_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    return jax.tree.map(lambda leaf: leaf[0], tree) if self.layout.num_lanes == 1 else tree

  def _call(
    self, name, function, *args, mapped: bool = True, donate: bool = False, once: bool = False
  ):
    """Compiles `function` at its first call and runs it.

    The first argument carries the axis of lanes, if there is one, and if `mapped` that of devices;
    if not, one device runs the function. What runs `once` is compiled quickly.
    """
    if jax.config.jax_disable_jit:  # for a debugger: Python goes through the steps
      return self._compiler(name, function, len(args), mapped, donate)(*args)
    if name in self._compiled:
      return self._compiled[name](*args)
    start = time.perf_counter()
    program = self._compiler(name, function, len(args), mapped, donate)
    if mapped and jax.process_count() > 1:
      # What pmap compiles ahead of time takes no arrays of several processes: the first call
      # compiles, and counts as compiling.
      result = jax.block_until_ready(program(*args))
      self.compile_seconds += time.perf_counter() - start
    else:
      program = program.lower(*args).compile(compiler_options=_quickly() if once else None)
      self.compile_seconds += time.perf_counter() - start
      result = program(*args)
    self._compiled[name] = program
    return result

  def _compiler(self, name, function, num_args, mapped, donate):
    def traced(*args):
      self.traces[name] += 1
      if jax.config.jax_disable_jit or (name != "evaluate" and name[0] != "train"):
        return function(*args)
      jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
      self._traced[name] = jaxpr, jax.tree.map(jax.typeof, args)
      made = jax.extend.core.jaxpr_as_fun(jaxpr)(*jax.tree.leaves(args))
      return jax.tree.unflatten(jax.tree.structure(shapes), made)

    in_axes = (0, *[None] * (num_args - 1))
    donated = (0,) if donate else ()
    if self.layout.lanes_a_device > 1 and self.layout.in_turn:
      traced = _in_turn(traced, self._own_lanes, passes_on=donate)
    elif self.layout.lanes_a_device > 1:
      traced = jax.vmap(traced, in_axes=in_axes, axis_name=LANE_AXIS)
    traced.__name__ = name if isinstance(name, str) else "_".join(name)  # as a trace shows it
    if not mapped or self.layout.num_devices == 1:
      return jax.jit(traced, donate_argnums=donated)
    return jax.pmap(
      traced, axis_name=DEVICE_AXIS, in_axes=in_axes, donate_argnums=donated, devices=self._devices
    )

  def _own_lanes(self) -> chex.Array | int:
    """Inside a program: the lanes of this device, without those that fill it up."""
    layout = self.layout
    if layout.places == layout.num_lanes:
      return layout.lanes_a_device
    before = jax.lax.axis_index(DEVICE_AXIS) * layout.lanes_a_device
    return jnp.clip(layout.num_lanes - before, 0, layout.lanes_a_device)


_UNOPTIMISED = "jax_disable_most_optimizations"


def _known_of(tree: chex.ArrayTree) -> chex.ArrayTree:
  """Nothing is known of any leaf."""
  return jax.tree.map(lambda leaf: flops.Unknown, tree)


def _all(value: int, like: Any) -> np.ndarray:
  """That value throughout; takes no memory."""
  return np.broadcast_to(np.asarray(value, like.dtype), like.shape)


def _quickly() -> dict[str, Any] | None:
  """Options for a program that runs once: of random numbers LLVM makes more than of a step.

  At level 1 the initial state of an MLP compiles in 0.9 instead of 2.1 s on a CPU and has the same
  bits; at level 0 it takes 0.6 s and has other ones.
  """
  if jax.default_backend() != "cpu" or jax.config.values[_UNOPTIMISED]:
    return None  # what is compiled without optimisations is at level 0 already
  return {"xla_backend_optimization_level": 1}


def _in_turn(function: Callable, own_lanes: Callable, *, passes_on: bool) -> Callable:
  """`function` of each lane of its first argument, one after another.

  Args:
    function: what is done with a lane.
    own_lanes: called where the result is traced; how many of the lanes, the first ones, get a turn.
    passes_on: whether `function` returns a pair with the lane's new state first. It then takes the
      place of the old one at once: no second copy of all lanes is made.

  Returns:
    A function like `jax.vmap(function, (0, None, ...))`; zeros stand for lanes that get no turn.
  """

  def mapped(lanes, *args):
    one = jax.jit(function)  # the loop finds there what is traced here for the shapes
    shapes = jax.eval_shape(one, _lane(lanes, 0), *args)
    count = len(jax.tree.leaves(lanes)[0])

    def blank(leaf):
      return jax.lax.full((count, *leaf.shape), 0, leaf.dtype)

    def turn(index, carry):
      lanes, results = carry
      result = one(_lane(lanes, index), *args)
      if passes_on:
        state, result = result
        lanes = _with_lane(lanes, index, state)
      return lanes, _with_lane(results, index, result)

    results = jax.tree.map(blank, shapes[1] if passes_on else shapes)
    lanes, results = jax.lax.fori_loop(0, own_lanes(), turn, (lanes, results))
    return (lanes, results) if passes_on else results

  return mapped


def _lane(tree: chex.ArrayTree, index) -> chex.ArrayTree:
  return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree)


def _with_lane(tree: chex.ArrayTree, index, lane: chex.ArrayTree) -> chex.ArrayTree:
  def put(leaf, own):
    return jax.lax.dynamic_update_index_in_dim(leaf, own, index, 0)

  return jax.tree.map(put, tree, lane)


def _readable(leaf: chex.Array) -> chex.Array | np.ndarray:
  """On the host; random keys cannot be NumPy's."""
  return jax.device_put(leaf, jax.local_devices()[0]) if _is_key(leaf) else np.asarray(leaf)


def _is_key(leaf: chex.Array) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _devices(number: int) -> list[jax.Device]:
  """The first devices, the same number of each process."""
  each = number // jax.process_count() or 1
  return [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process_index=process)[:each]
  ][:number]
