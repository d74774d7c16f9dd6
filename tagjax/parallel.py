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

from tagjax.base import Learner, LearnerState
from tagjax.batches import DeviceExamples, shuffled_rows, take
from tagjax.evaluate import Evaluation, evaluate
from tagjax.learner import run_keys

DEVICE_AXIS = "devices"


class Chunk(NamedTuple):
  """Sums over the steps of one call of `train`.

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
    phase: static name of the training phase.

  Returns:
    The new state, and sums over the steps. The loop ends early after a step whose loss is not
    finite.
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
    return (index < stop) & jnp.isfinite(total.last_loss)

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


class Programs:
  """The compiled programs of a run, and how long compiling them took.

  Attributes:
    compile_seconds: seconds spent tracing and compiling so far.
    phases: the training phases of a task.
    single: the learner of one device.
    init_one: `key -> LearnerState` of one device, not compiled.
    traces: how often each program was traced; `train` must stay at one for the whole stream.
  """

  def __init__(
    self,
    learner: Learner,
    single: Learner,
    *,
    batch_size: int,
    eval_batch_size: int,
    num_devices: int = 1,
  ):
    """Prepares the programs; each is compiled when it is first called.

    Args:
      learner: trains; built with `axis_name=DEVICE_AXIS` if `num_devices > 1`.
      single: evaluates, on one device; the same learner if `num_devices == 1`.
      batch_size: examples a training step, over all devices; a multiple of `num_devices`.
      eval_batch_size: examples an evaluation pass.
      num_devices: devices that share each batch.
    """
    self.compile_seconds = 0.0
    self.traces = Counter()
    self.phases = learner.phases
    self.single = single
    self._num_devices = num_devices
    self._devices = jax.local_devices()[:num_devices]
    self._compiled: dict[Any, Callable] = {}
    self.init_one = single.init
    self._train = functools.partial(
      train_chunk, learner, batch_size=batch_size, num_devices=num_devices
    )
    self._consolidate = functools.partial(consolidate_task, learner, batch_size=batch_size)
    self._evaluate = functools.partial(evaluate, single, batch_size=eval_batch_size)

  def init(self, key: chex.PRNGKey) -> LearnerState:
    """The state at the start of a stream; with a leading device axis if there are several."""
    return self.replicate(self._call("init", self.init_one, key, mapped=False))

  def train(self, state, examples, task_id, epoch_id, start, stop, *, phase):
    """See `train_chunk`; donates `state`."""
    function = functools.partial(self._train, phase=phase)
    scalars = [jnp.asarray(value, jnp.int32) for value in (task_id, epoch_id, start, stop)]
    state, chunk = self._call(("train", phase), function, state, examples, *scalars)
    return state, self.unreplicate(chunk)

  def consolidate(self, state, examples, task_id, *, phase):
    """See `consolidate_task`; donates `state`."""
    function = functools.partial(self._consolidate, phase=phase)
    task_id = jnp.asarray(task_id, jnp.int32)
    return self._call(("consolidate", phase), function, state, examples, task_id)

  def evaluate(self, state, examples, task_id, current_task) -> Evaluation:
    """See `tagjax.evaluate.evaluate`; runs on the first device."""
    state = self.unreplicate(state)
    task_id, current_task = (jnp.asarray(value, jnp.int32) for value in (task_id, current_task))
    return self._call(
      "evaluate", self._evaluate, state, examples, task_id, current_task, mapped=False
    )

  def unreplicate(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """The first device's copy of a tree that all devices hold."""
    return tree if self._num_devices == 1 else jax.tree.map(lambda leaf: leaf[0], tree)

  def replicate(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """A copy of `tree` on every device."""
    if self._num_devices == 1:
      return tree
    copy = jax.pmap(lambda leaf, _: leaf, in_axes=(None, 0), devices=self._devices)
    return copy(tree, jnp.arange(self._num_devices))

  def _call(self, name, function, *args, mapped: bool = True):
    """Compiles `function` at its first call and runs it.

    If `mapped`, the first argument is the state, carries the device axis and is donated; else one
    device runs the function.
    """
    if name not in self._compiled:
      start = time.perf_counter()
      compiler = self._compiler(name, function, len(args), mapped)
      self._compiled[name] = compiler.lower(*args).compile()
      self.compile_seconds += time.perf_counter() - start
    return self._compiled[name](*args)

  def _compiler(self, name, function, num_args, mapped):
    def traced(*args):
      self.traces[name] += 1
      return function(*args)

    if not mapped:
      return jax.jit(traced)
    if self._num_devices == 1:
      return jax.jit(traced, donate_argnums=0)
    return jax.pmap(
      traced,
      axis_name=DEVICE_AXIS,
      in_axes=(0, *[None] * (num_args - 1)),
      donate_argnums=0,
      devices=self._devices,
    )
