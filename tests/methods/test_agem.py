"""A-GEM against a queue a class and the formula in float64, and in the compiled loop."""

import collections

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.method import Step, chain
from tagjax.core.types import Batch
from tagjax.methods.agem import agem

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


def batches(seed=0, size=5):
  """Batches of `TASKS`, one after another, with rows that do not count."""
  rng = np.random.default_rng(seed)
  for task in TASKS:
    label = rng.choice(np.flatnonzero(STREAM.classes[task]), size).astype(np.int32)
    image = rng.integers(0, 256, (size, *helpers.IMAGE)).astype(np.uint8)
    yield task, Batch(image, label, np.full(size, task, np.int32), rng.random(size) < 0.7)


def remember(queues, batch):
  for image, label, task, valid in zip(*batch[:4], strict=True):
    if valid:
      queues[task, label].append(image.reshape(-1) / 255)


def vectors(seed=1):
  rng = np.random.default_rng(seed)
  width = np.prod(helpers.IMAGE)
  return [rng.normal(size=width).astype(np.float32) for _ in TASKS], rng.random(width) / 2


@pytest.mark.parametrize("capacity", [1, 3])
def test_step_by_step_in_float64(capacity):
  """The reference batch holds all past exemplars, so nothing is left to chance."""
  method = agem(STREAM, capacity=capacity, batch_size=50)
  gradients, start = vectors()
  params = {"w": jnp.float32(start)}
  state, update = method.init(params), updater(method)
  queues = collections.defaultdict(lambda: collections.deque(maxlen=capacity))
  projected = kept = 0
  for g, (task, batch) in zip(gradients, batches(), strict=True):
    updates, state = update({"w": jnp.asarray(g)}, state, params, batch, jnp.int32(task))
    remember(queues, batch)
    past = [image for (owner, _), images in queues.items() if owner < task for image in images]
    reference = start - np.mean(past, axis=0) if past else np.zeros_like(start)
    if g @ reference < 0:
      expected = g - (g @ reference) / (reference @ reference) * reference
      np.testing.assert_allclose(updates["w"], expected, atol=1e-5)
      projected += 1
    else:
      np.testing.assert_array_equal(updates["w"], g)
      kept += task > 0
  assert projected
  assert kept


def test_reference_batch_is_drawn_without_replacement_from_past_tasks():
  """The change is the reference gradient, made a list of what was drawn."""
  total = len(TASKS) * 6

  def drawn(params, batch, *, key=None):
    del params, key
    number = batch.image[:, 0, 0, 0].astype(jnp.int32)
    return jnp.zeros(()), jnp.zeros(total).at[number].add(batch.mask.astype(jnp.float32))

  method = agem(STREAM, capacity=10, batch_size=4)
  state, update, owners, changes = method.init(None), updater(method, drawn), [], []
  against = -jnp.ones(total)
  for step, task in enumerate(TASKS):
    number = np.arange(6 * step, 6 * step + 6)
    image = np.broadcast_to(number[:, None, None, None], (6, *helpers.IMAGE)).astype(np.uint8)
    label = np.resize(np.flatnonzero(STREAM.classes[task]), 6).astype(np.int32)
    batch = Batch(image, label, np.full(6, task, np.int32), np.ones(6, bool))
    owners += [task] * 6
    updates, state = update(
      against, state, None, batch, jnp.int32(task), jax.random.fold_in(KEY, step)
    )
    changes.append(np.asarray(updates - against))
  for task, change in zip(TASKS, changes, strict=True):
    chosen = np.flatnonzero(change)
    np.testing.assert_allclose(change[chosen], 1, atol=1e-6)
    assert len(chosen) == (4 if task else 0)
    assert (np.array(owners)[chosen] < task).all()
  assert (changes[-1] != changes[-2]).any()


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def trained(*members):
  run = helpers.programs(STREAM, chain(*members, SGD))
  return run, helpers.train_stream(run, STREAM, KEY)


def test_in_the_loop():
  """One trace for the whole stream; with the defaults it is not the naive learner."""
  run, state = trained(agem(STREAM))
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in leaves(state.variables))
  pairs = zip(leaves(state.variables), leaves(trained()[1].variables), strict=True)
  assert any(np.abs(one - two).max() > 1e-6 for one, two in pairs)


def test_capacity_zero_hands_the_gradient_on():
  method = agem(STREAM, capacity=0)
  gradient = {"w": jnp.ones(3)}
  state = method.init(gradient)
  assert state == ()
  assert method.update(gradient, state, gradient, at=None) == (gradient, ())


def test_running_averages_follow_the_current_batch_only():
  learners = [
    helpers.programs(STREAM, chain(*members), batch_norm=True).single
    for members in ((agem(STREAM, capacity=5), SGD), (SGD,))
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


def test_refuses_what_makes_no_sense():
  for options, message in [
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"capacity": -1}, "capacity=-1"),
    ({"per": "task"}, "per='task'"),
  ]:
    with pytest.raises(ValueError, match=message):
      agem(STREAM, **options)
