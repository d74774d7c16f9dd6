"""What A-GEM and GEM are tested with alike: steps on given gradients, and the compiled loop."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core.chain import chain
from tagjax.core.method import Step
from tagjax.core.types import Batch

STREAM = helpers.spec()
SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
TASKS = [0, 0, 1, 1, 1, 2, 2, 2]


def mean_image_gradient(params, batch, *, key=None):
  """Of the loss `mean |params - image|^2 / 2`: a gradient that tells what was in the batch."""
  del key
  images = batch.image.reshape(batch.image.shape[0], -1).astype(jnp.float32) / 255
  weight = batch.mask / jnp.maximum(jnp.sum(batch.mask), 1)
  return jnp.zeros(()), {"w": jnp.any(batch.mask) * params["w"] - weight @ images}


def updater(method, grad_fn=mean_image_gradient):
  @jax.jit
  def update(updates, state, params, batch, task_id, key=KEY):
    fields = {"batch": batch, "task_id": task_id, "grad_fn": grad_fn, "key": key}
    fields |= {"gather": lambda tree: tree}
    at = Step(**(dict.fromkeys(Step._fields) | fields))
    return method.update(updates, state, params, at=at)

  return update


def batches(stream, seed=0, size=5):
  """Batches of `TASKS`, one after another, with rows that do not count."""
  rng = np.random.default_rng(seed)
  for task in TASKS:
    label = rng.choice(np.flatnonzero(stream.classes[task]), size).astype(np.int32)
    image = rng.integers(0, 256, (size, *helpers.IMAGE)).astype(np.uint8)
    yield task, Batch(image, label, np.full(size, task, np.int32), rng.random(size) < 0.7)


def vectors(seed=1):
  rng = np.random.default_rng(seed)
  width = np.prod(helpers.IMAGE)
  return [rng.normal(size=width).astype(np.float32) for _ in TASKS], rng.random(width) / 2


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def trained(*members):
  run = helpers.programs(STREAM, chain(*members, SGD))
  return run, helpers.train_stream(run, STREAM, KEY)


def check_in_the_loop(make):
  """One trace for the whole stream; with the defaults it is not the naive learner."""
  run, state = trained(make(STREAM))
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in leaves(state.variables))
  pairs = zip(leaves(state.variables), leaves(trained()[1].variables), strict=True)
  assert any(np.abs(one - two).max() > 1e-6 for one, two in pairs)


def check_without_memory(make):
  """The gradient is handed on."""
  method = make(STREAM, capacity=0)
  gradient = {"w": jnp.ones(3)}
  state = method.init(gradient)
  assert state == ()
  assert method.update(gradient, state, gradient, at=None) == (gradient, ())


def check_running_averages(make):
  """They follow the current batch only."""
  learners = [
    helpers.programs(STREAM, chain(*members), batch_norm=True).single
    for members in ((make(STREAM, capacity=5), SGD), (SGD,))
  ]
  steps = [jax.jit(learner.step, static_argnames="phase") for learner in learners]
  first = learners[0].init(KEY)
  first, _ = steps[0](first, helpers.batch(STREAM, 0), jnp.int32(0), phase="train")
  plain = first._replace(method=learners[1].init(KEY).method)
  after = [
    step(state, helpers.batch(STREAM, 1), jnp.int32(1), phase="train")[0].variables
    for step, state in zip(steps, (first, plain), strict=True)
  ]
  before = leaves(first.variables["batch_stats"])
  one, two = (leaves(variables["batch_stats"]) for variables in after)
  for a, b, start in zip(one, two, before, strict=True):
    np.testing.assert_array_equal(a, b)
    assert (a != start).any()
