"""Streams of any dtype: memories give back what they are given, models see what is stored."""

import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.benchmarks import Stream
from tagjax.core.chain import chain
from tagjax.engine.learner import make_learner
from tagjax.engine.programs import Programs
from tagjax.input_pipeline import device_examples
from tagjax.methods import agem, der_plus_plus, er, er_ace, gem, mas

PIXELS = helpers.spec()
FLOATS = PIXELS._replace(image_dtype=np.dtype(np.float32))
SIZE = 12
METHODS = {
  "er": lambda spec: er(spec, capacity=2, batch_size=3),
  "er_ace": lambda spec: er_ace(spec, capacity=2, batch_size=3),
  "derpp": lambda spec: der_plus_plus(spec, capacity=2, batch_size=3),
  "agem": lambda spec: agem(spec, capacity=2, batch_size=3),
  "gem": lambda spec: gem(spec, capacity=2),
  "mas": lambda spec: mas(1e-3, sequence="recompute", capacity=4, spec=spec),
}


def train(name, spec):
  method = chain(METHODS[name](spec), optax.sgd(0.1))
  run = helpers.programs(spec, method)
  state = helpers.train_stream(run, spec, jax.random.key(0), size=SIZE)
  return state, [helpers.evaluate(run, state, spec, task, 2, size=18) for task in range(3)]


def stored_images(state):
  """Images of all memories in the state, `[n, ...]`."""
  shape = FLOATS.image_shape
  found = [
    np.asarray(leaf).reshape(-1, *shape)
    for leaf in jax.tree.leaves(state.method[0])
    if leaf.shape[-len(shape) :] == shape
  ]
  return np.concatenate(found)


TRIED = ("er", "gem", "mas")
"""The others run in `make test-product`."""


@pytest.mark.parametrize(
  "name",
  [name if name in TRIED else pytest.param(name, marks=pytest.mark.product) for name in METHODS],
)
def test_floats_come_back_bit_for_bit_and_serve_as_well_as_pixels(name):
  state, figures = train(name, FLOATS)
  given = np.concatenate([helpers.examples(FLOATS, task, SIZE).image for task in range(3)])
  assert given.dtype == np.float32
  assert 0 < given.max() <= 1
  stored = stored_images(state)
  assert stored.dtype == np.float32
  known = {image.tobytes() for image in given}
  kept = [image.tobytes() for image in stored if image.any()]
  assert len(kept) == 12
  assert set(kept) <= known
  # Divided by 255 beforehand or on the way to the model: the same images up to rounding.
  other, expected = train(name, PIXELS)
  assert stored_images(other).dtype == np.uint8
  for a, b in zip(*map(jax.tree.leaves, (state.variables, other.variables)), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
  for a, b in zip(figures, expected, strict=True):
    np.testing.assert_allclose(a.loss, b.loss, rtol=2e-3)


class Tokens(nn.Module):
  """Mean of embedded tokens."""

  num_outputs: int

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    assert image.dtype == jnp.int32
    return nn.Dense(self.num_outputs)(nn.Embed(300, 8)(image).mean(axis=1))


def arrays(kind):
  """Two tasks of two classes that can be told apart."""
  rng = np.random.default_rng(0)

  def examples(labels, count):
    label = rng.choice(labels, count)
    if kind == "tokens":  # beyond 255: they are no pixels
      return 70 * label[:, None] + rng.integers(0, 20, (count, 5)), label
    return rng.normal(size=(count, 6)) + 5 * np.eye(6)[label], label

  return [(*examples(labels, 40), *examples(labels, 20)) for labels in ([0, 1], [2, 3])]


@pytest.mark.parametrize(("kind", "model"), [("tokens", Tokens), ("features", helpers.TinyModel)])
def test_features_and_tokens_are_learned_and_replayed(kind, model):
  stream = Stream.from_arrays(kind, arrays(kind), scenario="class")
  expected = {"tokens": ((5,), np.int32), "features": ((6,), np.float32)}[kind]
  assert (stream.spec.image_shape, stream.spec.image_dtype) == expected
  method = chain(er(stream.spec, capacity=5), optax.adam(0.02))
  learner = make_learner(model(4), method, stream.spec, max_value=stream.max_value)
  run = Programs(learner, learner, batch_size=10, eval_batch_size=20)
  state = run.init(jax.random.key(0)[None])
  for task in range(2):
    data = device_examples.to_device(stream[task].train, 40)
    for epoch in range(6):
      state, _ = run.train(state, data, task, 6 * task + epoch, 0, 4, phase="train")
    state = run.consolidate(state, data, task, phase="train")
  served = run.prepare(state, 1)
  for task in range(2):
    tested = device_examples.to_device(stream[task].test, 20)
    assert run.evaluate(served, tested, 1).correct[0] >= 17
  given = np.concatenate([task.train.image for task in stream]).astype(stream.spec.image_dtype)
  known = {image.tobytes() for image in given}
  memory = state.method[0].memory
  assert memory.seen >= 20
  assert {np.asarray(image).tobytes() for image in memory.items.image} <= known
