"""What an evaluation counts besides right predictions: tasks found, top k, confusions.

The true tasks and labels meet the answers here, after the method has given them.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.types import Batch, StreamSpec


class Measures(NamedTuple):
  """What an evaluation measures; static.

  Attributes:
    continuum: p of the accuracy matrix, see `tagjax.core.method.Query`; one of `lengths`.
    lengths: every p that is measured, ascending.
    top_k: k of the top-k accuracy; 1: it is not measured.
    confusion: whether the confusion matrix is counted.
    details: whether anything is measured besides accuracy and loss.
    by_class: whether right predictions are counted for each class.
  """

  continuum: int = 1
  lengths: tuple[int, ...] = (1,)
  top_k: int = 1
  confusion: bool = False
  details: bool = False
  by_class: bool = False

  @property
  def place(self) -> int:
    """Where `continuum` is among the `lengths`."""
    return self.lengths.index(self.continuum)

  @property
  def shuffles(self) -> bool:
    """Whether the examples of a task are shuffled: runs of one need no order."""
    return self.lengths[-1] > 1


ACCURACY_ALONE = Measures()
"""Accuracy and loss, of single examples."""


class Counts(NamedTuple):
  """Numbers of examples, int32; P lengths, T tasks, K outputs. None: it is not measured.

  Attributes:
    correct: `[P]`, whose largest active output is their label.
    top_k: `[P]`, whose label is among the k largest active outputs.
    plain: scalar, whose label the model's own largest active output is.
    task: `[P]`, whose predicted class their own task teaches.
    task_aware: `[P]`, whose label is the largest among the outputs of their own task.
    plain_task_aware: scalar, the same of the model's own outputs.
    predicted_tasks: `[T]`, whose predicted class each task teaches, at `Measures.continuum`.
    confusion: `[K, K]`, of each label (row) that are predicted as each class (column), at
      `Measures.continuum`.

  Those that concern tasks are there in the scenario `"class"` only: in `"task"` the task is told,
  and in `"domain"` a class tells no task.
  """

  correct: chex.Array
  top_k: chex.Array | None
  plain: chex.Array
  task: chex.Array | None
  task_aware: chex.Array | None
  plain_task_aware: chex.Array | None
  predicted_tasks: chex.Array | None
  confusion: chex.Array | None


def no_counts(spec: StreamSpec, measures: Measures) -> Counts:
  """Zeros."""
  has_tasks = spec.scenario == "class"

  def zeros(*shape: int, there: bool = True) -> chex.Array | None:
    return jnp.zeros(shape, jnp.int32) if there else None

  number, outputs = len(measures.lengths), spec.num_outputs
  return Counts(
    correct=zeros(number),
    top_k=zeros(number, there=measures.top_k > 1),
    plain=zeros(),
    task=zeros(number, there=has_tasks),
    task_aware=zeros(number, there=has_tasks),
    plain_task_aware=zeros(there=has_tasks),
    predicted_tasks=zeros(spec.num_tasks, there=has_tasks),
    confusion=zeros(outputs, outputs, there=measures.confusion),
  )


def count(
  spec: StreamSpec,
  measures: Measures,
  batch: Batch,
  answers: list[chex.Array],
  plain: chex.Array,
  active: chex.Array,
) -> Counts:
  """The counts of a batch.

  Args:
    spec: of the stream.
    measures: what is counted.
    batch: the examples with their labels and task ids.
    answers: logits `[B, K]` for each of the lengths.
    plain: logits `[B, K]` of the model itself.
    active: bool `[B, K]`, the outputs that compete.
  """

  def number(hits: chex.Array) -> chex.Array:
    return jnp.sum(hits & batch.mask, dtype=jnp.int32)

  def each(hits_of) -> chex.Array:
    return jnp.stack([number(hits_of(logits)) for logits in answers])

  def class_of(logits: chex.Array) -> chex.Array:
    return jnp.argmax(losses.mask_logits(logits, active), axis=-1)

  taught = jnp.asarray(spec.classes)
  own = taught[batch.task_id]
  has_tasks = spec.scenario == "class"
  chosen = class_of(answers[measures.place])
  return Counts(
    correct=each(lambda logits: class_of(logits) == batch.label),
    top_k=each(lambda logits: _is_among_largest(logits, batch.label, active, measures.top_k))
    if measures.top_k > 1
    else None,
    plain=number(class_of(plain) == batch.label),
    task=each(lambda logits: _of(own, class_of(logits))) if has_tasks else None,
    task_aware=each(lambda logits: _is_largest_of(logits, batch.label, own)) if has_tasks else None,
    plain_task_aware=number(_is_largest_of(plain, batch.label, own)) if has_tasks else None,
    predicted_tasks=jnp.sum(taught.T[chosen] & batch.mask[:, None], axis=0, dtype=jnp.int32)
    if has_tasks
    else None,
    confusion=_confusion(spec.num_outputs, batch, chosen) if measures.confusion else None,
  )


def _of(values: chex.Array, column: chex.Array) -> chex.Array:
  """The value of each row at its own column."""
  return jnp.take_along_axis(values, column[:, None], axis=1)[:, 0]


def _is_largest_of(logits: chex.Array, label: chex.Array, outputs: chex.Array) -> chex.Array:
  """Whether the label is the largest of some outputs; not where the method has masked it."""
  largest = jnp.argmax(losses.mask_logits(logits, outputs), axis=-1)
  return (largest == label) & (_of(logits, label) > losses.MASKED_LOGIT)


def _is_among_largest(
  logits: chex.Array, label: chex.Array, active: chex.Array, k: int
) -> chex.Array:
  """Whether the label is one of the k largest active outputs; of equals the first ones are."""
  masked = losses.mask_logits(logits, active)
  own = _of(masked, label)[:, None]
  is_before = jnp.arange(masked.shape[1])[None] < label[:, None]
  larger = (masked > own) | ((masked == own) & is_before)
  return (jnp.sum(larger, axis=-1) < k) & (own[:, 0] > losses.MASKED_LOGIT)


def _confusion(num_outputs: int, batch: Batch, chosen: chex.Array) -> chex.Array:
  empty = jnp.zeros((num_outputs, num_outputs), jnp.int32)
  return empty.at[batch.label, chosen].add(batch.mask.astype(jnp.int32))
