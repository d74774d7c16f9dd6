"""Evaluation counts every example once, in equally large passes."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from tagjax.core.types import StreamSpec
from tagjax.engine.evaluate import evaluate
from tagjax.input_pipeline.device_examples import to_device
from tagjax.input_pipeline.order import pass_size


class Recorder:
  """A learner whose logits are the images; remembers the shapes of the batches it was given."""

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
