"""RWalk: against replays in float64 of both variants, in the order of each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bowls import flat, tree

from tagjax.core.chain import chain
from tagjax.core.method import Boundary, Step, lift
from tagjax.methods.rwalk import rwalk

SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
RNG = np.random.default_rng(5)
CURVATURE = RNG.uniform(0.5, 2.0, 7)
TARGET = RNG.normal(size=(3, 7))
START = RNG.normal(size=7)


def drive(method, tasks, steps):
  """Params and state after each task: bowls, with a pull of their own in every task."""

  @jax.jit
  def step(params, state, task, target):
    grad = jax.tree.map(lambda p, c, t: c * (p - t), params, tree(CURVATURE), target)
    known = {"grad": grad, "task_id": task, "loss": 0.0, "key": KEY}
    at = Step(**dict.fromkeys(Step._fields) | known)
    updates, state = method.update(grad, state, params, at=at)
    return optax.apply_updates(params, updates), state

  at = Boundary(**dict.fromkeys(Boundary._fields) | {"key": KEY})
  params = tree(START)
  state = method.init(params)
  after = []
  for task in range(tasks):
    for _ in range(steps):
      params, state = step(params, state, jnp.int32(task), tree(TARGET[task]))
    state, _ = method.consolidate(state, {"params": params}, at=at)
    after.append((flat(params), state))
  return after


def norm(x):
  return (x - x.min()) / (x.max() - x.min() + 1e-32)


class Replay:
  """The algorithm in float64; `legacy` in the order of the reference code."""

  def __init__(self, *, rate, strength, decay, damping, update_every, legacy):
    self.__dict__.update(locals())
    self.p, self.anchor, self.start = START.copy(), START.copy(), START.copy()
    self.importance, self.fisher, self.score = np.zeros(7), np.zeros(7), np.zeros(7)
    self.task_score, self.squares, self.path = np.zeros(7), np.zeros(7), np.zeros(7)

  def step(self, task):
    g = CURVATURE * (self.p - TARGET[task])
    new = self.p - self.rate * (g + 2 * self.strength * self.importance * (self.p - self.anchor))
    self.path += -g * (new - self.p)
    self.squares += g * g
    self.p = new

  def refresh(self, count):
    moved = self.fisher * (self.p - self.start) ** 2
    self.task_score += np.maximum(self.path / (self.damping + moved), 0)
    self.fisher = (1 - self.decay) * self.fisher + self.decay * self.squares / count
    self.start, self.path = self.p.copy(), np.zeros(7)

  def learn(self, task, steps):
    since = 0
    for step in range(steps):
      if self.legacy and (step + 1) % self.update_every == 0:
        self.refresh(self.update_every)
      self.step(task)
      since += 1
      last = step == steps - 1
      if not self.legacy and (since == self.update_every or last):
        self.refresh(since)
        self.squares, since = np.zeros(7), 0
    if self.legacy:
      if task == 0:
        self.task_score *= 2
      self.score += (self.score + self.task_score) / 2
    else:
      self.score = self.task_score if task == 0 else (self.score + self.task_score) / 2
    self.importance = norm(self.fisher) + norm(self.score)
    self.task_score, self.squares, self.path = np.zeros(7), np.zeros(7), np.zeros(7)
    self.anchor, self.start = self.p.copy(), self.p.copy()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("steps", [8, 10])
def test_float64_replay(steps, legacy):
  options = {"decay": 0.7, "damping": 0.01, "update_every": 4, "legacy": legacy}
  got = drive(chain(rwalk(0.3, **options), SGD), 3, steps)
  want = Replay(rate=0.1, strength=0.3, **options)
  for task, (params, state) in enumerate(got):
    want.learn(task, steps)
    np.testing.assert_allclose(params, want.p, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(flat(state[0].fisher), want.fisher, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(flat(state[0].score), want.score, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(flat(state[0].importance), want.importance, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(flat(state[0].anchor), params)
    assert int(state[0].tasks) == task + 1


def test_the_importance_is_normalised_over_the_whole_network():
  ((_, state),) = drive(chain(rwalk(update_every=4), SGD), 1, 10)
  for values in (state[0].fisher, state[0].score):
    assert flat(values).max() > flat(values).min()
  importance = flat(state[0].importance)
  assert 1 <= importance.max() <= 2
  # Were each tensor normalised on its own, each would hold a 0 and a 1 of both parts.
  both = norm(flat(state[0].fisher)) + norm(flat(state[0].score))
  np.testing.assert_allclose(importance, both, rtol=1e-5, atol=1e-6)


def test_short_tasks_leave_an_importance_only_by_default():
  after = {x: drive(chain(rwalk(legacy=x, update_every=50), SGD), 2, 6) for x in (False, True)}
  naive = drive(lift(SGD), 2, 6)
  assert not flat(after[True][1][1][0].importance).any()
  np.testing.assert_array_equal(after[True][1][0], naive[1][0])
  assert flat(after[False][0][1][0].importance).any()
  assert np.abs(after[False][1][0] - naive[1][0]).max() > 1e-3


def test_only_the_gradient_of_the_task_counts():
  """A method in front triples the gradient: the steps grow, the recorded gradient does not."""
  triple = drive(chain(optax.scale(3.0), rwalk(update_every=4), optax.sgd(0.1 / 3)), 1, 10)
  plain = drive(chain(rwalk(update_every=4), SGD), 1, 10)
  (_, got), (_, want) = triple[0], plain[0]
  np.testing.assert_allclose(flat(got[1].fisher), flat(want[0].fisher), rtol=1e-4)
  np.testing.assert_allclose(flat(got[1].score), flat(want[0].score), rtol=1e-3, atol=1e-5)


def test_strength_zero_is_naive_bit_for_bit():
  off, naive = drive(chain(rwalk(0, update_every=3), SGD), 3, 4), drive(lift(SGD), 3, 4)
  for (a, _), (b, _) in zip(off, naive, strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strength": -1.0}, "strength.*-1.0"),
    ({"decay": 0.0}, "decay must be a number in"),
    ({"decay": 1.1}, "decay must be a number in"),
    ({"damping": 0.0}, "damping must be a number in"),
    ({"update_every": 0}, "update_every must be an integer"),
    ({"clip": -1.0}, "clip.*-1.0"),
  ],
)
def test_wrong_arguments(options, message):
  with pytest.raises(ValueError, match=message):
    rwalk(**options)
