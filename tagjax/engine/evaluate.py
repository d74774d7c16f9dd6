"""Accuracy of a learner on one task's examples, as a pure function.

This is where the answers are kept from the method and the model: they get a `Query` without labels,
and with task ids only where the scenario tells them. What is measured of the answers is
`tagjax.engine.counts`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.counts import ACCURACY_ALONE, Counts, Measures, count, no_counts
from tagjax.engine.learner import Learner, ServedState
from tagjax.input_pipeline.device_examples import DeviceExamples, take
from tagjax.input_pipeline.order import divide_up, evaluation_order


class Evaluation(NamedTuple):
  """What the evaluation of one task gives.

  Attributes:
    correct: int32 scalar, examples whose largest active output is their label.
    loss: float32 scalar, mean cross-entropy in nats.
    counts: what else is measured; None: nothing.
    by_class: int32 `[2, K]`, for each label the examples predicted right, and all; None: it is not
      measured.
  """

  correct: chex.Array
  loss: chex.Array
  counts: Counts | None = None
  by_class: chex.Array | None = None


def evaluate(
  learner: Learner,
  served: ServedState,
  examples: DeviceExamples,
  current_task: chex.Array,
  *,
  batch_size: int,
  measures: Measures = ACCURACY_ALONE,
  in_order: bool = False,
) -> Evaluation:
  """Evaluates the learner on all examples of a task.

  Where runs of the continuum are longer than one, the examples are shuffled within the task, by a
  key of the evaluation, and cut into runs; the last run of each length may be smaller. All lengths
  see the same order, in the same batches.

  Args:
    learner: the learner, built for one device.
    served: what its `prepare` has made of its state.
    examples: the examples of one task.
    current_task: int32 scalar, the last task learned.
    batch_size: examples a pass; what the last one lacks is padding.
    measures: what is measured; by default accuracy and loss, of single examples.
    in_order: whether the examples are in the order in which they are to be taken, see
      `tagjax.input_pipeline.order.evaluation_order`.

  Returns:
    The number of right predictions, the mean loss, and the other counts.

  Raises:
    ValueError: if there are several passes and they do not consist of whole runs.
  """
  _check_passes(batch_size, examples, measures)
  rows_of = _rows_of_pass(served, examples, batch_size, in_order or not measures.shuffles)

  def body(index, total):
    batch = take(examples, rows_of(index))
    question = without_answers(learner.spec, batch, current_task)
    answers = _answers(learner, served, question, current_task, measures)
    active = losses.active_outputs(learner.spec, question.task_id, current_task)
    counts = None
    if measures.details:
      plain = _plain_logits(learner, served, question, answers)
      counts = count(learner.spec, measures, batch, answers, plain, active)
    return _add(total, batch, answers[measures.place], active, counts)

  counts = no_counts(learner.spec, measures) if measures.details else None
  classes = jnp.zeros((2, learner.spec.num_outputs), jnp.int32) if measures.by_class else None
  zero = Evaluation(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), counts, classes)
  total = jax.lax.fori_loop(0, divide_up(examples.size, batch_size), body, zero)
  return total._replace(loss=total.loss / examples.size)


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


def _check_passes(batch_size: int, examples: DeviceExamples, measures: Measures) -> None:
  """A single pass may end in a smaller run of each length; between two, a run would be cut."""
  cut = [length for length in measures.lengths if batch_size % length]
  if cut and examples.label.shape[0] > batch_size:
    raise ValueError(
      f"passes of {batch_size} examples cut runs of {cut[0]} in two: choose a multiple of it "
      "(order.pass_size does)"
    )


def _rows_of_pass(
  served: ServedState, examples: DeviceExamples, batch_size: int, in_order: bool
) -> Callable[[chex.Array], chex.Array]:
  """The rows of each pass."""
  if in_order:
    return lambda index: index * batch_size + jnp.arange(batch_size)
  order = evaluation_order(
    served.key,
    served.step,
    examples.size,
    capacity=examples.label.shape[0],
    batch_size=batch_size,
  )
  return lambda index: order[index]


def _answers(
  learner: Learner,
  served: ServedState,
  question: Batch,
  current_task: chex.Array,
  measures: Measures,
) -> list[chex.Array]:
  """Logits for each length of the runs; the model's own do not depend on it."""
  size = question.mask.shape[0]
  if not learner.predicts:
    logits = learner.predict(served, question, current_task, continuum=1)
    return [logits] * len(measures.lengths)
  made: dict[tuple[int, str], Any] = {}

  def of(length: int) -> chex.Array:
    filled = divide_up(size, length) * length

    def once(name: str, make: Callable[[], Any]) -> Any:
      if (filled, name) not in made:
        made[filled, name] = make()
      return made[filled, name]

    whole = _filled_up(question, filled)
    logits = learner.predict(served, whole, current_task, continuum=length, once=once)
    return logits[:size]

  return [of(length) for length in measures.lengths]


def _filled_up(batch: Batch, size: int) -> Batch:
  """The batch with padding behind it: copies of its last row, masked."""
  number = batch.mask.shape[0]
  if size == number:
    return batch
  filled = jax.tree.map(
    lambda leaf: jnp.pad(leaf, [(0, size - number)] + [(0, 0)] * (leaf.ndim - 1), mode="edge"),
    batch,
  )
  return filled._replace(mask=filled.mask & (jnp.arange(size) < number))


def _plain_logits(
  learner: Learner, served: ServedState, question: Batch, answers: list[chex.Array]
) -> chex.Array:
  """Those of the model itself."""
  if learner.predicts or learner.prepares:
    return learner.plain(served, question)
  return answers[0]


def _add(
  total: Evaluation,
  batch: Batch,
  logits: chex.Array,
  active: chex.Array,
  counts: Counts | None,
) -> Evaluation:
  predicted = jnp.argmax(losses.mask_logits(logits, active), axis=-1)
  hits = (predicted == batch.label) & batch.mask
  loss = losses.cross_entropy(logits, batch.label, active)
  return Evaluation(
    correct=total.correct + jnp.sum(hits, dtype=jnp.int32),
    loss=total.loss + jnp.sum(jnp.where(batch.mask, loss, 0.0)).astype(total.loss.dtype),
    counts=jax.tree.map(jnp.add, total.counts, counts),
    by_class=None if total.by_class is None else _by_class(total.by_class, batch, hits),
  )


def _by_class(total: chex.Array, batch: Batch, hits: chex.Array) -> chex.Array:
  """The counts of each label, with those of the batch."""
  rows = jnp.stack([hits, batch.mask]).astype(total.dtype)
  return total.at[:, batch.label].add(rows)
