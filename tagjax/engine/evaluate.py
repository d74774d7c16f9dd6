"""Accuracy of a learner on one task's examples, as a pure function.

This is where the answers are kept from the method and the model: they get a `Query` without labels,
and with task ids only where the scenario tells them.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import Learner, ServedState
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
  served: ServedState,
  examples: DeviceExamples,
  current_task: chex.Array,
  *,
  batch_size: int,
  continuum: int = 1,
) -> Evaluation:
  """Evaluates the learner on all examples of a task.

  Args:
    learner: the learner, built for one device.
    served: what its `prepare` has made of its state.
    examples: the examples of one task.
    current_task: int32 scalar, the last task learned.
    batch_size: examples a pass; what the last one lacks is padding.
    continuum: see `tagjax.core.method.Query`.

  Returns:
    The number of right predictions and the mean loss.
  """

  def body(index, total):
    batch = take(examples, index * batch_size + jnp.arange(batch_size))
    question = without_answers(learner.spec, batch, current_task)
    logits = learner.predict(served, question, current_task, continuum=continuum)
    active = losses.active_outputs(learner.spec, question.task_id, current_task)
    return _add(total, batch, logits, active)

  zero = Evaluation(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
  total = jax.lax.fori_loop(0, divide_up(examples.size, batch_size), body, zero)
  return Evaluation(total.correct, total.loss / examples.size)


def without_answers(spec: StreamSpec, batch: Batch, current_task: chex.Array) -> Batch:
  """The batch as it may be asked about: no labels, and no task ids that the scenario hides.

  Returns:
    A batch whose labels are 0, whose indices are -1, and whose task ids are `current_task` unless
    the scenario is `"task"`.
  """
  known = spec.scenario == "task"
  hidden = jnp.full_like(batch.task_id, current_task)
  return batch._replace(
    label=jnp.zeros_like(batch.label),
    task_id=batch.task_id if known else hidden,
    index=jnp.full_like(batch.index, -1),
  )


def _add(total: Evaluation, batch: Batch, logits: chex.Array, active: chex.Array) -> Evaluation:
  predicted = jnp.argmax(losses.mask_logits(logits, active), axis=-1)
  hits = (predicted == batch.label) & batch.mask
  loss = losses.cross_entropy(logits, batch.label, active)
  return Evaluation(
    correct=total.correct + jnp.sum(hits, dtype=jnp.int32),
    loss=total.loss + jnp.sum(jnp.where(batch.mask, loss, 0.0)),
  )
