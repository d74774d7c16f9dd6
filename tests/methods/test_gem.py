"""GEM against a queue a class and SciPy in float64, and in the compiled loop."""

import collections
import importlib

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.optimize

from tagjax.core.method import Step, chain
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import ring
from tagjax.methods.gem import gem

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


def updater(method):
  @jax.jit
  def update(updates, state, params, batch, task_id):
    fields = {"batch": batch, "task_id": task_id, "grad_fn": mean_image_gradient, "key": KEY}
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


def exact(matrix, gradient, margin, eps):
  """The pushed gradient, by SciPy's non-negative least squares in float64."""
  if not (matrix @ gradient < 0).any():
    return gradient
  gram = matrix @ matrix.T + eps * np.eye(len(matrix))
  factor = np.linalg.cholesky(gram)
  offset = matrix @ gradient + gram @ np.full(len(matrix), margin)
  right = scipy.linalg.solve_triangular(factor, -offset, lower=True)
  return gradient + matrix.T @ (margin + scipy.optimize.nnls(factor.T, right)[0])


def uneven_stream():
  """Tasks with three, one and two classes."""
  owner = np.array([0, 0, 0, 1, 2, 2])
  return StreamSpec(3, 6, owner[None, :] == np.arange(3)[:, None], "task", helpers.IMAGE)


@pytest.mark.parametrize(
  ("stream", "options"),
  [
    (STREAM, {"capacity": 3}),
    (STREAM, {"capacity": 3, "batch_size": 4, "margin": 0.0}),
    (uneven_stream(), {"capacity": 2, "margin": 0.1, "eps": 0.1}),
  ],
)
def test_step_by_step_in_float64(stream, options):
  method = gem(stream, **options)
  gradients, start = vectors()
  params = {"w": jnp.float32(start)}
  state, update = method.init(params), updater(method)
  queues = collections.defaultdict(lambda: collections.deque(maxlen=options["capacity"]))
  changed = kept = 0
  for g, (task, batch) in zip(gradients, batches(stream), strict=True):
    updates, state = update({"w": jnp.asarray(g)}, state, params, batch, jnp.int32(task))
    for image, label, owner, valid in zip(*batch[:4], strict=True):
      if valid:
        queues[owner, label].append(image.reshape(-1) / 255)
    memories = [
      [image for (owner, _), images in queues.items() if owner == past for image in images]
      for past in range(task)
    ]
    rows = np.array([start - np.mean(memory, axis=0) for memory in memories])
    rows = rows.reshape(task, start.size)
    expected = exact(rows, g.astype(float), options.get("margin", 0.5), options.get("eps", 1e-3))
    if (expected == g).all():
      np.testing.assert_array_equal(updates["w"], g)
      kept += task > 0
    else:
      np.testing.assert_allclose(updates["w"], expected, atol=2e-5)
      changed += 1
  assert changed
  assert kept


def test_an_earlier_task_without_exemplars_does_not_matter():
  """Task 1 was skipped: its row is 0, and the result is that of task 0 alone."""
  method = gem(STREAM, capacity=2)
  params = {"w": jnp.float32(vectors()[1])}
  state, update = method.init(params), updater(method)
  for task, batch in batches(STREAM):
    if task == 0:
      _, state = update({"w": params["w"]}, state, params, batch, jnp.int32(0))
  against = {"w": -mean_image_gradient(params, _stored(state))[1]["w"]}
  empty = Batch(batch.image, batch.label, batch.task_id, np.zeros_like(batch.mask))
  updates, _ = update(against, state, params, empty, jnp.int32(2))
  row = -np.asarray(against["w"], float)[None, :]
  np.testing.assert_allclose(updates["w"], exact(row, -row[0], 0.5, 1e-3), atol=1e-5)


def _stored(state):
  items, mask = ring.rows(state.memory)
  return items._replace(mask=mask)


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def trained(*members):
  run = helpers.programs(STREAM, chain(*members, SGD))
  return run, helpers.train_stream(run, STREAM, KEY)


def test_in_the_loop():
  """One trace for the whole stream; with the defaults it is not the naive learner."""
  run, state = trained(gem(STREAM))
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in leaves(state.variables))
  pairs = zip(leaves(state.variables), leaves(trained()[1].variables), strict=True)
  assert any(np.abs(one - two).max() > 1e-6 for one, two in pairs)


def test_capacity_zero_hands_the_gradient_on():
  method = gem(STREAM, capacity=0)
  gradient = {"w": jnp.ones(3)}
  state = method.init(gradient)
  assert state == ()
  assert method.update(gradient, state, gradient, at=None) == (gradient, ())


def test_running_averages_follow_the_current_batch_only():
  learners = [
    helpers.programs(STREAM, chain(*members), batch_norm=True).single
    for members in ((gem(STREAM, capacity=5), SGD), (SGD,))
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


def test_a_stream_of_one_task_is_naive():
  stream = helpers.spec(num_tasks=1)
  gradients, start = vectors()
  params, method = {"w": jnp.float32(start)}, gem(stream)
  state, update = method.init(params), updater(method)
  for g in gradients[:2]:
    updates, state = update({"w": g}, state, params, helpers.batch(stream, 0), jnp.int32(0))
    np.testing.assert_array_equal(updates["w"], g)


def test_refuses_what_makes_no_sense():
  for options, message in [
    ({"margin": -0.1}, r"margin must be a number in \[0, inf\), got -0.1"),
    ({"eps": -1.0}, r"eps must be a number in \[0, inf\), got -1.0"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
    ({"capacity": -1}, "capacity=-1"),
    ({"per": "task"}, "per='task'"),
  ]:
    with pytest.raises(ValueError, match=message):
      gem(STREAM, **options)


def test_all_tasks_pass_together_where_exemplars_are_few(monkeypatch):
  module = importlib.import_module("tagjax.methods.gem")
  rule, answers, results = module._is_worth_it, [], []
  for choose in (rule, lambda *args: False):

    def asked(*args, choose=choose):
      answers.append(choose(*args))
      return answers[-1]

    monkeypatch.setattr(module, "_is_worth_it", asked)
    run = helpers.programs(STREAM, chain(gem(STREAM), SGD), width=128, dropout=0.2)
    state = helpers.train_stream(run, STREAM, KEY, size=12)
    results.append((answers[-1], jax.device_get(state.variables)))
  (together, found), (one_by_one, expected) = results
  assert together
  assert not one_by_one
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected)
