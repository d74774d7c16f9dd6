"""Accuracy of a learner on one task's examples, as a pure function."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.types import Batch
from tagjax.engine.learner import Learner, LearnerState
from tagjax.input_pipeline.device_examples import DeviceExamples, take
from tagjax.input_pipeline.order import divide_up


class Evaluation(NamedTuple):
  """What the evaluation of one task gives.

  Attributes:
    correct: int32 scalar, examples whose largest active output is their label.
    loss: float32 scalar, mean cross-entropy in nats.
  """

  correct: chex.Array
  loss: chex.Array


def evaluate(
  learner: Learner,
  state: LearnerState,
  examples: DeviceExamples,
  task_id: chex.Array,
  current_task: chex.Array,
  *,
  batch_size: int,
) -> Evaluation:
  """Evaluates the learner, adapted to the task if its method does that, on all examples.

  Args:
    learner: the learner, built for one device.
    state: its state; read only.
    examples: the examples of one task.
    task_id: int32 scalar, the task evaluated.
    current_task: int32 scalar, the last task learned.
    batch_size: examples a pass; what the last one lacks is padding.

  Returns:
    The number of right predictions and the mean loss.
  """
  variables = learner.adapt(state, task_id)

  def body(index, total):
    batch = take(examples, index * batch_size + jnp.arange(batch_size))
    logits, loss = learner.predict(variables, batch, current_task)
    return _add(total, batch, logits, loss)

  zero = Evaluation(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
  total = jax.lax.fori_loop(0, divide_up(examples.size, batch_size), body, zero)
  return Evaluation(total.correct, total.loss / examples.size)


def _add(total: Evaluation, batch: Batch, logits: chex.Array, loss: chex.Array) -> Evaluation:
  hits = (jnp.argmax(logits, axis=-1) == batch.label) & batch.mask
  return Evaluation(
    correct=total.correct + jnp.sum(hits, dtype=jnp.int32),
    loss=total.loss + jnp.sum(jnp.where(batch.mask, loss, 0.0)),
  )
