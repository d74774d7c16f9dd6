"""SI: against a replay in float64, and whatever optimizer follows it."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bowls import flat, tree

import tagjax
from tagjax.core.chain import chain
from tagjax.core.method import Boundary, Method, Step, lift
from tagjax.methods.si import si

STREAM = helpers.spec()
SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
CURVATURE = RNG.uniform(0.5, 2.0, 7)
TARGET = RNG.normal(size=(3, 7))
START = RNG.normal(size=7)


def bowl_gradient(task, p):
  return CURVATURE * (p - TARGET[task])


def bowl_loss(task, p):
  return 0.5 * np.sum(CURVATURE * (p - TARGET[task]) ** 2)


def a_step(grad, task=0):
  known = {"grad": grad, "loss": jnp.zeros(()), "task_id": task, "key": KEY}
  return Step(**dict.fromkeys(Step._fields) | known)


def boundary():
  return Boundary(**dict.fromkeys(Boundary._fields) | {"key": KEY})


def drive(method, tasks, steps):
  """Params and state after each task of the bowls."""
  params = tree(START)
  state = method.init(params)
  after = []
  for task in range(tasks):
    curvature, target = tree(CURVATURE), tree(TARGET[task])
    for _ in range(steps):
      grad = jax.tree.map(lambda p, c, t: c * (p - t), params, curvature, target)
      updates, state = method.update(grad, state, params, at=a_step(grad, jnp.int32(task)))
      params = optax.apply_updates(params, updates)
    state, _ = method.consolidate(state, {"params": params}, at=boundary())
    after.append((flat(params), state))
  return after


def replay(tasks, steps, *, rate, strength, damping):
  """The algorithm in float64: params and importance after each task."""
  p, anchor, importance = START.copy(), START.copy(), np.zeros(7)
  after = []
  for task in range(tasks):
    path = np.zeros(7)
    for _ in range(steps):
      g = bowl_gradient(task, p)
      new = p - rate * (g + 2 * strength * importance * (p - anchor))
      path += -g * (new - p)
      p = new
    importance = importance + np.maximum(path, 0) / (damping + (p - anchor) ** 2)
    anchor = p.copy()
    after.append((p, importance))
  return after


def test_float64_replay_with_sgd():
  got = drive(chain(si(0.2, damping=0.01), SGD), 3, 6)
  want = replay(3, 6, rate=0.1, strength=0.2, damping=0.01)
  for (params, state), (p, importance) in zip(got, want, strict=True):
    np.testing.assert_allclose(params, p, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(flat(state[0].importance), importance, rtol=1e-4)
    np.testing.assert_array_equal(flat(state[0].anchor), params)
    assert not flat(state[0].path).any()


def test_path_sums_to_the_loss_decrease():
  rate, damping, steps = 1e-3, 1.0, 200
  ((params, state),) = drive(chain(si(damping=damping), optax.sgd(rate)), 1, steps)
  path = flat(state[0].importance) * (damping + (params - START) ** 2)
  decrease = bowl_loss(0, START) - bowl_loss(0, params)
  np.testing.assert_allclose(path.sum(), decrease, rtol=5e-3)
  assert decrease > 0.1


def test_a_rising_loss_leaves_no_importance():
  away = lift(optax.scale(0.1))
  ((_, state),) = drive(chain(si(), away), 1, 3)
  assert not flat(state[0].importance).any()


def test_neither_what_happens_between_tasks_nor_a_penalty_is_in_the_path():
  method = si(damping=1.0)
  params, grad = tree(START), tree(np.ones(7))
  state, _ = method.consolidate(method.init(params), {"params": params}, at=boundary())
  penalised = tree(np.full(7, 9.0))
  _, state = method.update(penalised, state, tree(START + 5), at=a_step(grad))
  assert not flat(state.path).any()
  _, state = method.update(penalised, state, tree(START + 4), at=a_step(grad))
  np.testing.assert_allclose(flat(state.path), 1.0, rtol=1e-5)


def test_only_the_pull_is_clipped():
  method = si(1e3, clip=0.5)
  params, grad = tree(START), tree(np.full(7, 10.0))
  state = method.init(params)._replace(importance=tree(np.ones(7)))
  updates, _ = method.update(grad, state, tree(START + 1), at=a_step(grad))
  pull = flat(updates) - 10
  np.testing.assert_allclose(np.linalg.norm(pull), 0.5, rtol=1e-5)
  np.testing.assert_allclose(pull, pull[0], rtol=1e-5)


def test_half_precision_keeps_its_dtype():
  half = lambda t: jax.tree.map(lambda x: x.astype(jnp.bfloat16), t)  # noqa: E731
  method = si(1.0)
  params, grad = half(tree(START)), half(tree(np.ones(7)))
  state = method.init(params)
  updates, new = jax.jit(lambda s: method.update(grad, s, params, at=a_step(grad)))(state)
  new, _ = method.consolidate(new, {"params": params}, at=boundary())
  dtypes = lambda t: jax.tree.map(lambda x: x.dtype, t)  # noqa: E731
  assert dtypes(new) == dtypes(state)
  assert dtypes(updates) == dtypes(grad)
  assert new.importance["w"].dtype == jnp.float32


def recorder(length):
  """Writes down params and the raw gradient of every step."""

  def init(params):
    rows = jax.tree.map(lambda p: jnp.zeros((length, *p.shape)), params)
    return rows, jax.tree.map(jnp.copy, rows), jnp.zeros((), jnp.int32)

  def update(updates, state, params, *, at):
    write = lambda rows, x: rows.at[state[2]].set(x)  # noqa: E731
    rows = (jax.tree.map(write, state[0], params), jax.tree.map(write, state[1], at.grad))
    return updates, (*rows, state[2] + 1)

  return Method(init, update)


def test_the_steps_that_tag_takes_count():
  """Compiled stream: the importance follows from the recorded parameters and gradients."""
  steps = 6
  optimizer = tagjax.tag(0.01, STREAM.num_tasks)
  run = helpers.programs(STREAM, chain(si(1.0), recorder(3 * steps), optimizer))
  state = helpers.train_stream(run, STREAM, KEY)
  assert all(count == 1 for count in run.traces.values())
  recorded, gradients, count = state.method[1]
  assert count == 3 * steps
  final = state.variables["params"]

  def importance(rows, gradient, last):
    rows, gradient = np.asarray(rows, np.float64), np.asarray(gradient, np.float64)
    rows = np.concatenate([rows, np.asarray(last, np.float64)[None]])
    share = -gradient * np.diff(rows, axis=0)
    total = 0.0
    for first in range(0, 3 * steps, steps):
      path = share[first : first + steps].sum(0)
      total += np.maximum(path, 0) / (1e-3 + (rows[first + steps] - rows[first]) ** 2)
    return total

  want = jax.tree.map(importance, recorded, gradients, final)
  # The path is a difference of close float32 numbers.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-3 * b.max()),
    state.method[0].importance,
    want,
  )
  assert max(leaf.max() for leaf in jax.tree.leaves(want)) > 1


def test_strength_zero_is_naive_and_the_default_is_not():
  naive, off, on = (drive(m, 2, 4) for m in (lift(SGD), chain(si(0), SGD), chain(si(), SGD)))
  for task in range(2):
    np.testing.assert_array_equal(off[task][0], naive[task][0])
  np.testing.assert_array_equal(on[0][0], naive[0][0])
  assert np.abs(on[1][0] - naive[1][0]).max() > 1e-4


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strength": -1.0}, "strength.*-1.0"),
    ({"damping": 0.0}, "damping must be a number in"),
    ({"clip": 0.0}, "clip.*0.0"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    si(**options)
