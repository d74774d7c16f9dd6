"""The loops over steps and batches that `programs.py` compiles, as pure functions.

A task's data lie on the device, and so does the order of an epoch, which `order_epoch` makes once.
`train_chunk` runs any number of its steps: batches, loss and figures stay on the device, and the
host is asked nothing in between. The number of steps is an input, so that one compilation serves
the whole stream, the last short chunk of an epoch and every lane.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.keys import step_keys
from tagjax.core.method import EpochStep
from tagjax.engine.learner import Learner, LearnerState
from tagjax.input_pipeline.device_examples import DeviceExamples, take
from tagjax.input_pipeline.order import (
  boundary_batches,
  boundary_order,
  epoch_order,
  rows_in_order,
)

DEVICE_AXIS = "devices"
"""Name of the mapped axis of devices that share each batch."""


class Chunk(NamedTuple):
  """Sums over the steps of one call of `train`; `Programs.train` gives an axis of lanes in front.

  Attributes:
    steps: int32 scalar, steps taken, up to the first one whose loss is not finite.
    loss: float32 scalar, sum of the steps' losses.
    accuracy: float32 scalar, sum of the steps' accuracies.
    last_loss: float32 scalar.
    diagnostics: sums of `Method.diagnose`.
    monitored: sums of `Method.monitor`.
  """

  steps: chex.Array
  loss: chex.Array
  accuracy: chex.Array
  last_loss: chex.Array
  diagnostics: dict[str, chex.Array]
  monitored: dict[str, chex.Array]


def order_epoch(
  learner: Learner,
  state: LearnerState,
  size: chex.Array,
  epoch_id: chex.Array,
  *,
  capacity: int,
  batch_size: int,
) -> chex.Array:
  """The rows of each batch of an epoch, int32 `[N, B]`.

  If the method rehearses, its exemplars belong to the epoch and are shuffled with the task's
  examples; the epoch then has so many batches more.

  Args:
    learner: the learner.
    state: its state; only the run's key and the exemplars matter, which no step changes.
    size: int32 scalar, examples of the task.
    epoch_id: int32 scalar, counts the epochs of the whole stream; with the run's key it
      determines the order of the examples, so a chunk can be resumed anywhere.
    capacity: examples of the largest task.
    batch_size: examples a step, over all devices.
  """
  exemplars = learner.rehearsal(state)
  return epoch_order(
    state.key,
    epoch_id,
    size,
    capacity=capacity,
    batch_size=batch_size,
    rehearsed=None if exemplars is None else exemplars.mask,
  )


def train_chunk(
  learner: Learner,
  state: LearnerState,
  order: chex.Array | None,
  examples: DeviceExamples,
  task_id: chex.Array,
  start: chex.Array,
  stop: chex.Array,
  *,
  batch_size: int,
  num_devices: int,
  lane_axis: str | None = None,
  keep_going: bool = False,
  phase: str,
  first: EpochStep | None = None,
) -> tuple[LearnerState, Chunk]:
  """Trains on batches `start` to `stop` (exclusive) of one epoch.

  Args:
    learner: the learner, built with the device axis if there are several devices.
    state: its state.
    order: of the epoch, see `order_epoch`; None: `examples` stand in the order of training,
      exemplars among them, and batches are counted from its first one.
    examples: the task's training examples, or those of some batches; the same on every device.
    task_id: int32 scalar.
    start: int32 scalar, first batch.
    stop: int32 scalar, first batch not trained on.
    batch_size: examples a step, over all devices.
    num_devices: devices that share a batch.
    lane_axis: name of the axis of lanes (see `programs.py`) that this is mapped over; None: there
      is none.
    keep_going: whether the lanes of the axis go on beside one whose loss is not finite.
    phase: static name of the training phase.
    first: where in the stream's training batch `start` stands; None: methods are not told.

  Returns:
    The new state, and sums over the steps. The loop ends early after a step whose loss is not
    finite; for all lanes of the axis, or if `keep_going`, when none is left.
  """
  exemplars = None if order is None else learner.rehearsal(state)
  if order is None:
    order = rows_in_order(examples, batch_size)

  # All at once: on a CPU each draw of a key is a loop of its own.
  steps = state.step - start + jnp.arange(order.shape[0])
  keys = jax.vmap(step_keys, (None, 0))(state.key, steps)

  def body(carry):
    index, state, total = carry
    batch = take(examples, _own_share(order[index], num_devices), exemplars)
    own_keys = jax.tree.map(lambda key: key[index], keys)
    where = None if first is None else first._replace(step=first.step + (index - start))
    state, info = learner.step(state, batch, task_id, phase=phase, keys=own_keys, epoch_step=where)
    return index + 1, state, _accumulate(total, info)

  def go_on(carry):
    index, _, total = carry
    finite = jnp.isfinite(total.last_loss)
    if lane_axis is not None:
      # One answer for all lanes: with one for each, the loop would copy every state at every step.
      agree = jax.lax.pmax if keep_going else jax.lax.pmin
      finite = agree(finite.astype(jnp.int32), lane_axis) > 0
    return (index < stop) & finite

  zero = _zero_chunk(learner.diagnose(state), learner.monitor(state))
  _, state, total = jax.lax.while_loop(go_on, body, (start, state, zero))
  return state, total


def _own_share(rows: chex.Array, num_devices: int) -> chex.Array:
  """Every num_devices-th row, so that a padded batch leaves no device without examples early."""
  if num_devices == 1:
    return rows
  return rows.reshape(-1, num_devices)[:, jax.lax.axis_index(DEVICE_AXIS)]


def _accumulate(total: Chunk, info) -> Chunk:
  return Chunk(
    steps=total.steps + jnp.isfinite(total.loss),
    loss=total.loss + info.loss,
    accuracy=total.accuracy + info.accuracy,
    last_loss=info.loss,
    diagnostics=jax.tree.map(jnp.add, total.diagnostics, info.diagnostics),
    monitored=jax.tree.map(jnp.add, total.monitored, info.monitored),
  )


def _zero_chunk(diagnostics: dict[str, chex.Array], monitored: dict[str, chex.Array]) -> Chunk:
  zero = jnp.zeros((), jnp.float32)
  return Chunk(
    steps=jnp.zeros((), jnp.int32),
    loss=zero,
    accuracy=zero,
    last_loss=zero,
    diagnostics=jax.tree.map(jnp.zeros_like, diagnostics),
    monitored=jax.tree.map(jnp.zeros_like, monitored),
  )


def consolidate_task(
  learner: Learner,
  state: LearnerState,
  examples: DeviceExamples,
  task_id: chex.Array,
  *,
  batch_size: int,
  in_order: bool = False,
  phase: str,
) -> LearnerState:
  """Tells the method that the task (a phase of it) has ended, with its examples as a chunk.

  The chunk has as many batches of the task's own examples, exemplars not among them, as the method
  looks at. Every device gets all of them: what a method makes of single examples is then the same
  on all devices, and on one.
  """
  if in_order:
    order = rows_in_order(examples, batch_size)
  else:
    capacity = examples.label.shape[0]
    order = boundary_order(
      state.key, state.step, examples.size, capacity=capacity, batch_size=batch_size
    )
  chunk = take(examples, order[: boundary_batches(learner.num_boundary_examples, batch_size)])
  return learner.consolidate(state, chunk, task_id, phase=phase)
