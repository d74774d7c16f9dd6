"""Compiled programs: the only file that jits, donates, and maps over seeds and devices.

A lane is one training of the stream: a seed, at a point of a grid if there is one. Lanes run side
by side in one program.
"""

import functools
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core.errors import ConfigError
from tagjax.core.types import Batch, Hyper
from tagjax.engine.evaluate import Evaluation, evaluate
from tagjax.engine.learner import Learner, LearnerState, ServedState, serve
from tagjax.engine.train_loop import DEVICE_AXIS, consolidate_task, train_chunk
from tagjax.transforms import columns

LANE_AXIS = "lanes"


class Layout(NamedTuple):
  """How a run lies on the devices.

  The state has a leading axis of devices if there are several, then one of lanes if there are
  several on a device. Every device holds the same, save what is shared out: lanes of its
  own, or its own columns of TAG's rows (`tagjax.transforms.columns`).

  Attributes:
    num_lanes: lanes trained side by side.
    num_devices: devices used, in all processes together.
    share_lanes: whether the devices share the lanes out instead of each batch.
    share_columns: whether those that share each batch share the columns of TAG's rows as well.
  """

  num_lanes: int = 1
  num_devices: int = 1
  share_lanes: bool = False
  share_columns: bool = False

  @property
  def batch_devices(self) -> int:
    """Devices that share each batch."""
    return 1 if self.share_lanes else self.num_devices

  @property
  def lanes_a_device(self) -> int:
    """Lanes that one device trains."""
    return self.num_lanes // self.num_devices if self.share_lanes else self.num_lanes


class Programs:
  """The compiled programs of a run, and how long compiling them took.

  Attributes:
    compile_seconds: seconds spent tracing and compiling so far.
    phases: the training phases of a task.
    num_boundary_examples: see `tagjax.core.method.Method`.
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
    continuum: int = 1,
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
      continuum: see `tagjax.core.method.Query`.

    Raises:
      ValueError: if an evaluation pass does not consist of whole runs of `continuum` examples.
    """
    if eval_batch_size % continuum:
      raise ValueError(
        f"eval_batch_size={eval_batch_size} is not a multiple of continuum={continuum}: choose one "
        "(order.pass_size does)"
      )
    layout = Layout() if layout is None else layout
    self.compile_seconds = 0.0
    self.traces = Counter()
    self.phases = learner.phases
    self.num_boundary_examples = learner.num_boundary_examples
    self.rehearses = learner.rehearses
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
      lane_axis=LANE_AXIS if layout.lanes_a_device > 1 else None,
      keep_going=keep_going,
      in_order=in_order,
    )
    self._consolidate = functools.partial(
      consolidate_task, learner, batch_size=batch_size, in_order=in_order
    )
    self._evaluate = functools.partial(
      evaluate, single, batch_size=eval_batch_size, continuum=continuum
    )

  def init(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """The state at the start of a stream, of all lanes.

    Args:
      keys: `[num_lanes]`.
      hyper: see `LearnerState`, each `[num_lanes]`; None: none.
    """
    start = self._without_one((keys, hyper))
    if self.layout.share_lanes:
      return self._call("init", self._init, self.replicate(start))
    return self.replicate(self._call("init", self._init, start, mapped=False))

  def template(self, keys: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    """Shapes and dtypes of what `to_host` gives of the state that `init` makes.

    An array that the devices share by columns is one of NumPy (without memory of its own): it is
    put together on the host, and is to be read there.
    """
    start = self._without_one((keys, hyper))
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
    return self._shapes(self._learner, self._without_one((keys, hyper)))

  def _shapes(self, learner: Learner, start) -> LearnerState:
    def init(start):
      return learner.init(*start)

    return jax.eval_shape(init if self.layout.num_lanes == 1 else jax.vmap(init), start)

  def _init(self, start) -> LearnerState:
    return self._learner.init(*start)

  def train(self, state, examples, task_id, epoch_id, start, stop, *, phase):
    """See `train_chunk`; donates `state`. The sums have an axis of lanes in front."""
    function = functools.partial(self._train, phase=phase)
    scalars = [jnp.asarray(value, jnp.int32) for value in (task_id, epoch_id, start, stop)]
    state, chunk = self._call(("train", phase), function, state, examples, *scalars, donate=True)
    return state, self._with_one(self.unreplicate(chunk))

  def consolidate(self, state, examples, task_id, *, phase):
    """See `consolidate_task`; donates `state`."""
    function = functools.partial(self._consolidate, phase=phase)
    task_id = jnp.asarray(task_id, jnp.int32)
    return self._call(("consolidate", phase), function, state, examples, task_id, donate=True)

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

  def prepare(self, state: LearnerState, current_task) -> ServedState:
    """What `evaluate` takes, see `Learner.prepare`; to be made anew when the state has changed.

    Where the method does not prepare, it shares the state's buffers: nothing is compiled, and
    training, which donates them, ends its use.
    """
    if not self.single.prepares:
      served = serve(state)
      return served if self.layout.share_lanes else self.unreplicate(served)
    current_task = jnp.asarray(current_task, jnp.int32)
    return self._on_single("prepare", self.single.prepare, state, current_task)

  def evaluate(self, served: ServedState, examples, current_task) -> Evaluation:
    """See `tagjax.engine.evaluate.evaluate`; the figures have an axis of lanes in front.

    Runs on the first device (of each process), or on those that share the lanes out.
    """
    current_task = jnp.asarray(current_task, jnp.int32)
    shared = self.layout.share_lanes
    result = self._call("evaluate", self._evaluate, served, examples, current_task, mapped=shared)
    return self._with_one(self.unreplicate(result) if shared else result)

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
      each = self.layout.lanes_a_device > 1
      return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]) if each else leaf, tree)
    return jax.tree.map(lambda leaf: leaf[0], tree)

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
    if self.layout.lanes_a_device > 1:
      tree = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), tree)
    return self._give_out(tree)

  def to_host(self, state: LearnerState) -> LearnerState:
    """The state as a checkpoint keeps it: without the axis of devices.

    Columns that devices share are put together on the host.
    """
    first = self.unreplicate(state)
    if not self.layout.share_columns:
      return first
    whole = self._shapes(self.single, (first.key, first.hyper))

    def one(leaf, own, like):
      if own.shape == like.shape:
        return own
      row_size = like.size // math.prod(own.shape[:-1])
      return columns.join(np.asarray(leaf), row_size).reshape(like.shape)

    return jax.tree.map(one, state, first, whole)

  def to_devices(self, state: LearnerState) -> LearnerState:
    """The inverse of `to_host`."""
    if not self.layout.share_columns:
      return self.replicate(state)
    leaves, structure = jax.tree.flatten(state)
    held = jax.tree.leaves(self._shapes(self._learner, (state.key, state.hyper)))
    shared = [leaf.shape != own.shape for leaf, own in zip(leaves, held, strict=True)]
    rows = [
      leaf.reshape(*own.shape[:-1], -1) if is_shared else leaf
      for leaf, own, is_shared in zip(leaves, held, shared, strict=True)
    ]
    pairs = list(zip(rows, shared, strict=True))
    copies = iter(self.replicate([leaf for leaf, is_shared in pairs if not is_shared]))
    split = functools.partial(columns.split, num_devices=self.layout.num_devices)
    parts = iter(self._give_out([split(leaf) for leaf, is_shared in pairs if is_shared]))
    return structure.unflatten([next(parts if is_shared else copies) for is_shared in shared])

  def _give_out(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Arrays with an axis of devices in front, to the devices."""
    return jax.pmap(lambda leaf: leaf, devices=self._devices)(tree)

  def _with_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """One lane has no axis of lanes; here it gets one."""
    return jax.tree.map(lambda leaf: leaf[None], tree) if self.layout.num_lanes == 1 else tree

  def _without_one(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    return jax.tree.map(lambda leaf: leaf[0], tree) if self.layout.num_lanes == 1 else tree

  def _call(self, name, function, *args, mapped: bool = True, donate: bool = False):
    """Compiles `function` at its first call and runs it.

    The first argument carries the axis of lanes, if there is one, and if `mapped` that of devices;
    if not, one device runs the function.
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
    if self.layout.lanes_a_device > 1:
      traced = jax.vmap(traced, in_axes=in_axes, axis_name=LANE_AXIS)
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
