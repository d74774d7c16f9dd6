"""Evaluation counts every example once, in equally large passes; runs are not cut."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from tagjax.core.losses import MASKED_LOGIT
from tagjax.core.types import StreamSpec
from tagjax.engine.counts import Measures
from tagjax.engine.evaluate import evaluate
from tagjax.engine.learner import ServedState
from tagjax.input_pipeline.data_source import evaluation_source
from tagjax.input_pipeline.device_examples import to_device
from tagjax.input_pipeline.order import evaluation_order, pass_size


class Recorder:
  """A learner whose logits are the images; remembers the shapes of the batches it was given."""

  predicts = False

  def __init__(self):
    self.sizes = []
    self.spec = StreamSpec(1, 3, np.ones((1, 3), bool), "domain", (3,))

  def predict(self, served, batch, current_task, *, continuum):
    del current_task
    assert continuum == 1
    self.sizes.append(len(batch.label))
    return served * batch.image


def example_task(size):
  rng = np.random.default_rng(0)
  return SimpleNamespace(
    image=rng.normal(size=(size, 3)).astype(np.float32),
    label=rng.integers(0, 3, size),
    task_id=np.zeros(size, int),
  )


@pytest.mark.parametrize(
  ("size", "capacity", "most", "expected"),
  [
    (100, 100, 256, 100),
    (300, 300, 256, 150),
    (17, 40, 16, 14),
    (5, 5, 1, 1),
    (256, 256, 256, 256),
  ],
)
def test_equals_numpy_over_equal_passes(size, capacity, most, expected):
  task, learner = example_task(size), Recorder()
  examples, size_of_pass = to_device(task, capacity), pass_size(capacity, most)
  result = evaluate(learner, jnp.float32(2), examples, 0, batch_size=size_of_pass)
  assert set(learner.sizes) == {expected}
  logits = 2.0 * task.image.astype(np.float64)
  assert int(result.correct) == np.sum(np.argmax(logits, axis=1) == task.label)
  chosen = log_softmax(logits, axis=1)[np.arange(size), task.label]
  np.testing.assert_allclose(result.loss, -chosen.mean(), rtol=1e-5)
  assert result.by_class is None


def test_right_predictions_are_counted_for_each_class():
  task = example_task(17)
  examples, measures = to_device(task, 20), Measures(by_class=True)
  result = evaluate(Recorder(), jnp.float32(2), examples, 0, batch_size=7, measures=measures)
  right = np.argmax(task.image, axis=1) == task.label
  expected = [np.bincount(task.label, right, 3), np.bincount(task.label, minlength=3)]
  np.testing.assert_array_equal(result.by_class, expected)


TASKS, EACH = 3, 2
CLASSES = np.arange(TASKS * EACH)[None] // EACH == np.arange(TASKS)[:, None]
LENGTHS = (1, 4, 5)


class Voting:
  """A learner whose model gives the images as logits; a run votes for the task that wins in it.

  Its best class is then raised above all others. Of the task that is second in the run all outputs
  are masked.
  """

  predicts, prepares = True, False
  spec = StreamSpec(TASKS, TASKS * EACH, CLASSES, "class", (TASKS * EACH,))

  def __init__(self):
    self.asked, self.made = [], []

  def predict(self, served, batch, current_task, *, continuum, once=None):
    del served, current_task
    size = batch.mask.shape[0]
    assert size % continuum == 0
    self.asked.append((continuum, size))
    if self.predicts:
      once("size", lambda: self.made.append(size))
    best = batch.image.reshape(-1, TASKS, EACH).max(axis=2) * batch.mask[:, None]
    votes = jnp.repeat(best.reshape(-1, continuum, TASKS).sum(axis=1), continuum, axis=0)
    rank = jnp.argsort(votes, axis=1)
    of_first, of_second = (jnp.asarray(CLASSES)[rank[:, -place]] for place in (1, 2))
    logits = jnp.where(of_first, batch.image + 100, batch.image)
    return jnp.where(of_second & ~of_first, MASKED_LOGIT, logits)

  def plain(self, served, batch):
    del served
    return batch.image


def expected_counts(image, label, task, order, k):
  """The definitions, example by example and run by run."""
  counts = {name: [0] * len(LENGTHS) for name in ("correct", "task", "task_aware", "top_k")}
  confusion = np.zeros((TASKS * EACH,) * 2, int)
  own = np.arange(EACH) + task * EACH
  for place, length in enumerate(LENGTHS):
    for first in range(0, len(order), length):
      run = order[first : first + length]
      votes = image[run].reshape(-1, TASKS, EACH).max(axis=2).sum(axis=0)
      second, chosen = np.argsort(votes)[-2:]
      for row in run:
        logits = image[row].astype(np.float64).copy()
        logits[chosen * EACH : chosen * EACH + EACH] += 100
        logits[second * EACH : second * EACH + EACH] = -np.inf
        answer = np.argmax(logits)
        counts["correct"][place] += answer == label[row]
        counts["task"][place] += chosen == task
        is_largest = own[np.argmax(logits[own])] == label[row]
        counts["task_aware"][place] += is_largest and second != task
        largest = np.argsort(-logits)[:k]
        counts["top_k"][place] += label[row] in largest and second != task
        if length == 4:
          confusion[label[row], answer] += 1
  counts["plain"] = np.sum(image[order].argmax(axis=1) == label[order])
  of_own = image[order][:, own].argmax(axis=1)
  counts["plain_task_aware"] = np.sum(own[of_own] == label[order])
  counts["predicted_tasks"] = confusion.sum(axis=0).reshape(TASKS, EACH).sum(axis=1)
  counts["confusion"] = confusion
  return counts


@dataclasses.dataclass
class VotingTask:
  size: int
  task: int = 1

  def __post_init__(self):
    rng = np.random.default_rng(self.size)
    self.label = rng.integers(0, EACH, self.size) + self.task * EACH
    self.image = rng.normal(size=(self.size, TASKS * EACH)).astype(np.float32)
    self.image[np.arange(self.size), self.label] += 1.3
    self.task_id = np.full(self.size, self.task)

  def __len__(self):
    return self.size


@pytest.mark.parametrize(
  ("size", "capacity", "most", "streamed"),
  [
    (53, 53, 30, False),
    (47, 70, 256, False),
    (47, 70, 30, True),
    (17, 18, 1, False),  # one pass, of which no length is a divisor
    (17, 18, 1, True),
  ],
)
def test_all_lengths_are_counted_in_one_pass(size, capacity, most, streamed):
  task, learner = VotingTask(size), Voting()
  measures = Measures(4, LENGTHS, top_k=2, confusion=True, details=True)
  key, step = jax.random.key(3), jnp.int32(11)
  served = ServedState((), key, step, {})
  source = evaluation_source(
    lambda _: task,
    num_tasks=1,
    capacity=capacity,
    eval_batch_size=most,
    streamed=streamed,
    lengths=LENGTHS,
  )
  assert source.in_order == streamed
  (window,) = source.windows(1, key=key, step=step)
  options = {"batch_size": source.pass_size, "measures": measures, "in_order": source.in_order}
  result = jax.jit(lambda examples: evaluate(learner, served, examples, jnp.int32(2), **options))(
    window
  )
  assert [length for length, _ in learner.asked] == list(LENGTHS)
  assert all(asked < source.pass_size + length for length, asked in learner.asked)
  assert sorted(learner.made) == sorted({asked for _, asked in learner.asked})  # once a size
  order = evaluation_order(key, step, size, capacity=capacity, batch_size=source.pass_size)
  order = np.asarray(order).ravel()[:size]
  assert sorted(order) == list(range(size))
  assert (order != np.arange(size)).any()
  expected = expected_counts(task.image, task.label, 1, order, k=2)
  assert 0 < expected["task"][0] < size
  assert expected["correct"] != expected["task_aware"]
  for name, value in expected.items():
    np.testing.assert_array_equal(getattr(result.counts, name), value, err_msg=name)
  assert result.correct == expected["correct"][1]


def test_a_model_that_looks_at_single_examples_is_asked_once():
  learner = Voting()
  learner.predicts = False
  task = VotingTask(20)
  measures = Measures(1, (1, 5), details=True)
  served = ServedState((), jax.random.key(0), jnp.int32(0), {})
  examples = to_device(task, 20)
  result = evaluate(learner, served, examples, jnp.int32(2), batch_size=20, measures=measures)
  assert set(learner.asked) == {(1, 20)}
  assert result.counts.correct[0] == result.counts.correct[1] == result.counts.plain
  assert result.counts.top_k is result.counts.confusion is None


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_where_no_task_is_to_be_found_none_is_counted(scenario):
  learner = Voting()
  learner.spec = learner.spec._replace(scenario=scenario)
  served = ServedState((), jax.random.key(0), jnp.int32(0), {})
  measures = Measures(details=True, confusion=True)
  examples = to_device(VotingTask(20), 20)
  counts = evaluate(
    learner, served, examples, jnp.int32(2), batch_size=20, measures=measures
  ).counts
  there = {name for name, value in counts._asdict().items() if value is not None}
  assert there == {"correct", "plain", "confusion"}
  assert counts.confusion.sum() == 20


def test_passes_that_cut_runs_are_refused():
  served = ServedState((), jax.random.key(0), jnp.int32(0), {})
  measures = Measures(4, (4,))
  with pytest.raises(ValueError, match="passes of 10 examples cut runs of 4 in two"):
    evaluate(Voting(), served, to_device(VotingTask(20), 20), 2, batch_size=10, measures=measures)
