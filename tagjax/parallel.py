"""Compiled programs: the only file that jits, donates, maps over devices or loops over steps.

A task's data lie on the device. `train` runs any number of steps of an epoch in one call: order,
batches, loss and figures stay on the device, and the host is asked nothing in between. The number
of steps is an input, so that one compilation serves the whole stream, the last short chunk of an
epoch and every seed.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.base import Hyper, Learner, LearnerState
from tagjax.batches import DeviceExamples, shuffled_rows, take
from tagjax.evaluate import Evaluation, evaluate
from tagjax.learner import run_keys
from tagjax.transforms import columns

DEVICE_AXIS = "devices"
SEED_AXIS = "seeds"


class Chunk(NamedTuple):
  """Sums over the steps of one call of `train`; `Programs.train` gives an axis of seeds in front.

  Attributes:
    steps: int32 scalar, steps taken; fewer than asked for if the loss stopped being finite.
    loss: float32 scalar, sum of the steps' losses.
    accuracy: float32 scalar, sum of the steps' accuracies.
    last_loss: float32 scalar.
    diagnostics: sums of `Method.diagnose`.
  """

  steps: chex.Array
  loss: chex.Array
  accuracy: chex.Array
  last_loss: chex.Array
  diagnostics: dict[str, chex.Array]


def train_chunk(
  learner: Learner,
  state: LearnerState,
  examples: DeviceExamples,
  task_id: chex.Array,
  epoch_id: chex.Array,
  start: chex.Array,
  stop: chex.Array,
  *,
  batch_size: int,
  num_devices: int,
  seed_axis: str | None = None,
  tolerant: bool = False,
  phase: str,
) -> tuple[LearnerState, Chunk]:
  """Trains on batches `start` to `stop` (exclusive) of one epoch.

  Args:
    learner: the learner, built with the device axis if there are several devices.
    state: its state.
    examples: the task's training examples; the same on every device.
    task_id: int32 scalar.
    epoch_id: int32 scalar, counts the epochs of the whole stream; with the run's key it
      determines the order of the examples, so a chunk can be resumed anywhere.
    start: int32 scalar, first batch.
    stop: int32 scalar, first batch not trained on.
    batch_size: examples a step, over all devices.
    num_devices: devices that share a batch.
    seed_axis: name of the axis of seeds that this is mapped over; None: there is none.
    tolerant: whether the seeds of the axis go on beside one whose loss is not finite.
    phase: static name of the training phase.

  Returns:
    The new state, and sums over the steps. The loop ends early after a step whose loss is not
    finite; for all seeds of the axis, or if `tolerant`, when none is left.
  """
  order_key = jax.random.fold_in(run_keys(state.key).order, epoch_id)
  order = shuffled_rows(order_key, examples, batch_size)

  def body(carry):
    index, state, total = carry
    rows = _own_share(order[index], num_devices)
    state, info = learner.step(state, take(examples, rows), task_id, phase=phase)
    return index + 1, state, _accumulate(total, info)

  def go_on(carry):
    index, _, total = carry
    finite = jnp.isfinite(total.last_loss)
    if seed_axis is not None:
      # One answer for all seeds: with one for each, the loop would copy every state at every step.
      agree = jax.lax.pmax if tolerant else jax.lax.pmin
      finite = agree(finite.astype(jnp.int32), seed_axis) > 0
    return (index < stop) & finite

  zero = _zero_chunk(learner.diagnose(state))
  _, state, total = jax.lax.while_loop(go_on, body, (start, state, zero))
  return state, total


def _own_share(rows: chex.Array, num_devices: int) -> chex.Array:
  """Every num_devices-th row, so that a padded batch leaves no device without examples early."""
  if num_devices == 1:
    return rows
  return rows.reshape(-1, num_devices)[:, jax.lax.axis_index(DEVICE_AXIS)]


def _accumulate(total: Chunk, info) -> Chunk:
  return Chunk(
    steps=total.steps + 1,
    loss=total.loss + info.loss,
    accuracy=total.accuracy + info.accuracy,
    last_loss=info.loss,
    diagnostics=jax.tree.map(jnp.add, total.diagnostics, info.diagnostics),
  )


def _zero_chunk(diagnostics: dict[str, chex.Array]) -> Chunk:
  zero = jnp.zeros((), jnp.float32)
  return Chunk(
    steps=jnp.zeros((), jnp.int32),
    loss=zero,
    accuracy=zero,
    last_loss=zero,
    diagnostics=jax.tree.map(jnp.zeros_like, diagnostics),
  )


def consolidate_task(
  learner: Learner,
  state: LearnerState,
  examples: DeviceExamples,
  task_id: chex.Array,
  *,
  batch_size: int,
  phase: str,
) -> LearnerState:
  """Tells the method that the task (a phase of it) has ended, with its examples as a chunk.

  Every device gets all of them: what a method makes of single examples is then the same on all
  devices, and on one.
  """
  order_key = jax.random.fold_in(run_keys(state.key).boundaries, state.step)
  rows = shuffled_rows(order_key, examples, batch_size)
  chunk = jax.vmap(lambda batch_rows: take(examples, batch_rows))(rows)
  return learner.consolidate(state, chunk, task_id, phase=phase)


class Layout(NamedTuple):
  """How a run lies on the devices.

  The state has a leading axis of devices if there are several, then one of seeds if there are
  several on a device. Every device holds the same, save what is shared out: seeds of its
  own, or its own columns of TAG's rows (`tagjax.transforms.columns`).

  Attributes:
    num_seeds: seeds trained side by side.
    num_devices: devices used, in all processes together.
    share_seeds: whether the devices share the seeds out instead of each batch.
    share_columns: whether those that share each batch share the columns of TAG's rows as well.
  """

  num_seeds: int = 1
  num_devices: int = 1
  share_seeds: bool = False
  share_columns: bool = False

  @property
  def batch_devices(self) -> int:
    """Devices that share each batch."""
    return 1 if self.share_seeds else self.num_devices

  @property
  def seeds_a_device(self) -> int:
    """Seeds that one device trains."""
    return self.num_seeds // self.num_devices if self.share_seeds else self.num_seeds


class Programs:
  """The compiled programs of a run, and how long compiling them took.

  Attributes:
    compile_seconds: seconds spent tracing and compiling so far.
    phases: the training phases of a task.
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
    layout: Layout = Layout(),  # noqa: B008  (it is immutable)
    tolerant: bool = False,
  ):
    """Prepares the programs; each is compiled when it is first called.

    Args:
      learner: trains; built with `axis_name=DEVICE_AXIS` if several devices share a batch.
      single: evaluates, on one device; the same learner unless several devices share a batch.
      batch_size: examples a training step, over all devices; a multiple of their number.
      eval_batch_size: examples an evaluation pass.
      layout: seeds and devices.
      tolerant: see `train_chunk`.
    """
    self.compile_seconds = 0.0
    self.traces = Counter()
    self.phases = learner.phases
    self.single = single
    self.layout = layout
    self._learner = learner
    self._devices = _devices(layout.num_devices)
    self._compiled: dict[Any, Callable] = {}
    self._train = functools.partial(
      train_chunk,
      learner,
      batch_size=batch_size,
      num_devices=layout.batch_devices,
      seed_axis=SEED_AXIS if layout.seeds_a_device > 1 else None,
      tolerant=tolerant,
    )
    self._consolidate = functools.partial(consolidate_task, learner, batch_size=batch_size)
    self._evaluate = functools.partial(evaluate, single, batch_size=eval_batch_size)

  def init(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """The state at the start of a stream, of all seeds.

    Args:
      keys: `[num_seeds]`.
      hyper: see `LearnerState`, each `[num_seeds]`; None: none.
    """
    start = self._without_one((keys, hyper))
    if self.layout.share_seeds:
      return self._call("init", self._init, self.spread(start))
    return self.spread(self._call("init", self._init, start, mapped=False))

  def template(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """Shapes and dtypes of what `gather` gives of the state that `init` makes.

    An array that the devices share by columns is one of NumPy (without memory of its own): it is
    put together on the host, and is to be read there.
    """
    start = self._without_one((keys, hyper))
    whole, share = self._shapes(self.single, start), self._shapes(self._learner, start)
    on_host = lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # noqa: E731
    same = lambda leaf, part: leaf if leaf.shape == part.shape else on_host(leaf)  # noqa: E731
    return jax.tree.map(same, whole, share)

  def held(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """Shapes and dtypes of what one device holds, all seeds counted if the devices share them."""
    return self._shapes(self._learner, self._without_one((keys, hyper)))

  def _shapes(self, learner: Learner, start) -> LearnerState:
    init = lambda start: learner.init(*start)  # noqa: E731
    return jax.eval_shape(init if self.layout.num_seeds == 1 else jax.vmap(init), start)

  def _init(self, start) -> LearnerState:
    return self._learner.init(*start)

  def train(self, state, examples, task_id, epoch_id, start, stop, *, phase):
    """See `train_chunk`; donates `state`. The sums have an axis of seeds in front."""
    function = functools.partial(self._train, phase=phase)
    scalars = [jnp.asarray(value, jnp.int32) for value in (task_id, epoch_id, start, stop)]
    state, chunk = self._call(("train", phase), function, state, examples, *scalars, donate=True)
    return state, self._with_one(self.collapse(chunk))

  def consolidate(self, state, examples, task_id, *, phase):
    """See `consolidate_task`; donates `state`."""
    function = functools.partial(self._consolidate, phase=phase)
    task_id = jnp.asarray(task_id, jnp.int32)
    return self._call(("consolidate", phase), function, state, examples, task_id, donate=True)

  def evaluate(self, state, examples, task_id, current_task) -> Evaluation:
    """See `tagjax.evaluate.evaluate`; the figures have an axis of seeds in front.

    Runs on the first device (of each process), or on those that share the seeds out.
    """
    task_ids = [jnp.asarray(value, jnp.int32) for value in (task_id, current_task)]
    if self.layout.share_seeds:
      result = self.collapse(self._call("evaluate", self._evaluate, state, examples, *task_ids))
    else:
      state = self.collapse(state)
      result = self._call("evaluate", self._evaluate, state, examples, *task_ids, mapped=False)
    return self._with_one(result)

  def collapse(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """`tree` without the axis of devices: the seeds of all of them, or the first one's copy.

    With several processes that is the first device of this process.
    """
    if self.layout.num_devices == 1:
      return tree
    if self.layout.share_seeds:
      each = self.layout.seeds_a_device > 1
      return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]) if each else leaf, tree)
    return jax.tree.map(lambda leaf: leaf[0], tree)

  def gather(self, state: LearnerState) -> LearnerState:
    """`collapse` of a state, with the columns that devices share put together, on the host."""
    first = self.collapse(state)
    if not self.layout.share_columns:
      return first
    whole = self._shapes(self.single, (first.key, first.hyper))

    def one(leaf, own, like):
      same = own.shape == like.shape
      return own if same else columns.join(np.asarray(leaf), like.shape[-1])

    return jax.tree.map(one, state, first, whole)

  def spread(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """The inverse of `collapse`: a copy, or a share of the seeds, on every device.

    With several processes: on every device of this process, which all processes do at once.
    """
    devices = self.layout.num_devices
    if devices == 1:
      return tree
    if not self.layout.share_seeds:
      copy = jax.pmap(lambda leaf, _: leaf, in_axes=(None, 0), devices=self._devices)
      return copy(tree, jnp.arange(devices // jax.process_count()))
    if self.layout.seeds_a_device > 1:
      tree = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), tree)
    return self._give_out(tree)

  def scatter(self, state: LearnerState) -> LearnerState:
    """The inverse of `gather`."""
    if not self.layout.share_columns:
      return self.spread(state)
    leaves, structure = jax.tree.flatten(state)
    held = jax.tree.leaves(self._shapes(self._learner, (state.key, state.hyper)))
    shared = [leaf.shape != own.shape for leaf, own in zip(leaves, held, strict=True)]
    pairs = list(zip(leaves, shared, strict=True))
    copies = iter(self.spread([leaf for leaf, is_shared in pairs if not is_shared]))
    split = functools.partial(columns.split, num_devices=self.layout.num_devices)
    parts = iter(self._give_out([split(leaf) for leaf, is_shared in pairs if is_shared]))
    return structure.unflatten([next(parts if is_shared else copies) for is_shared in shared])

  def _give_out(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Arrays with an axis of devices in front, to the devices."""
    return jax.pmap(lambda leaf: leaf, devices=self._devices)(tree)

  def _with_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """One seed has no axis of seeds; here it gets one."""
    return jax.tree.map(lambda leaf: leaf[None], tree) if self.layout.num_seeds == 1 else tree

  def _without_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    return jax.tree.map(lambda leaf: leaf[0], tree) if self.layout.num_seeds == 1 else tree

  def _call(self, name, function, *args, mapped: bool = True, donate: bool = False):
    """Compiles `function` at its first call and runs it.

    The first argument carries the axis of seeds, if there is one, and if `mapped` that of devices;
    if not, one device runs the function.
    """
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
      program = program.lower(*args).compile()
      self.compile_seconds += time.perf_counter() - start
      result = program(*args)
    self._compiled[name] = program
    return result

  def _compiler(self, name, function, num_args, mapped, donate):
    def traced(*args):
      self.traces[name] += 1
      return function(*args)

    in_axes = (0, *[None] * (num_args - 1))
    donated = (0,) if donate else ()
    if self.layout.seeds_a_device > 1:
      traced = jax.vmap(traced, in_axes=in_axes, axis_name=SEED_AXIS)
    traced.__name__ = name if isinstance(name, str) else "_".join(name)  # as a trace shows it
    if not mapped or self.layout.num_devices == 1:
      return jax.jit(traced, donate_argnums=donated)
    return jax.pmap(
      traced, axis_name=DEVICE_AXIS, in_axes=in_axes, donate_argnums=donated, devices=self._devices
    )


def _devices(number: int) -> list[jax.Device]:
  """The first devices, the same number of each process."""
  each = number // jax.process_count() or 1
  return [
    device
    for process in range(jax.process_count())
    for device in jax.local_devices(process_index=process)[:each]
  ][:number]
