"""TAG against a trace of the reference code, a table of the paper's rule, and a NumPy oracle."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.transforms import tag, task_relatedness

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "tag_golden.npz"
BASES = ("rmsprop", "adagrad", "adam")


def run(transform, params, grads, task_ids):
  """Parameters and weights after each step; everything compiled, the task id traced."""

  def step(carry, at):
    params, state = carry
    grad, task_id = at
    updates, state = transform.update(grad, state, params, task_id=task_id)
    params = optax.apply_updates(params, updates)
    return (params, state), (params, task_relatedness(state))

  scan = jax.jit(lambda params, xs: jax.lax.scan(step, (params, transform.init(params)), xs)[1])
  return scan(params, (grads, jnp.asarray(task_ids, jnp.int32)))


class Oracle:
  """TAG on one tensor as the reference does it, in float64: directions are frozen at task ends."""

  def __init__(self, theta, lr, num_tasks, b, base, steps_per_epoch=None):
    self.theta, self.lr, self.b, self.base = np.array(theta, np.float64), lr, b, base
    self.m = np.zeros((num_tasks, *theta.shape))
    self.v = np.zeros((num_tasks, *theta.shape))
    self.unit = np.zeros((num_tasks, *theta.shape))
    self.steps = np.zeros(num_tasks, int)
    self.steps_per_epoch = steps_per_epoch

  def step(self, t, g):
    n = self.steps[t] if self.steps_per_epoch is None else self.steps[t] % self.steps_per_epoch
    self.steps[t] += 1
    self.m[t] = 0.9 * self.m[t] + 0.1 * g
    if self.base == "adagrad":
      self.v[t] += g**2
    else:
      beta2 = 0.99 if self.base == "rmsprop" else 0.999
      self.v[t] = beta2 * self.v[t] + (1 - beta2) * g**2
    u, c2 = g, 1.0
    if self.base == "adam":
      u, c2 = self.m[t] / (1 - 0.9 ** (n + 1)), 1 - 0.999 ** (n + 1)
    alphas = [np.exp(-self.b * np.sum(self._unit(t) * self.unit[past])) for past in range(t)]
    total = sum(a * self.v[past] for past, a in enumerate(alphas))
    total = total + (np.exp(-self.b) if t else 1.0) * self.v[t]
    self.theta = self.theta - self.lr * u / (np.sqrt(total) / np.sqrt(c2) + 1e-8)
    return alphas

  def end_task(self, t):
    self.unit[t] = self._unit(t)

  def _unit(self, t):
    norm = np.linalg.norm(self.m[t])
    return self.m[t] / norm if norm else np.zeros_like(self.m[t])


def oracle_run(theta, grads, task_ids, num_tasks, **options):
  oracle, thetas, alphas = Oracle(theta, num_tasks=num_tasks, **options), [], []
  for i, (t, g) in enumerate(zip(task_ids, grads, strict=True)):
    row = np.full(num_tasks, 0.0)
    row[:t] = oracle.step(t, np.asarray(g, np.float64))
    thetas.append(oracle.theta)
    alphas.append(row)
    if i + 1 == len(task_ids) or task_ids[i + 1] != t:
      oracle.end_task(t)
  return np.stack(thetas), np.stack(alphas)


@pytest.mark.parametrize("base", BASES)
def test_agrees_with_the_trace_of_the_reference_code(base):
  golden = np.load(GOLDEN)
  num_tasks, task_ids = int(golden["num_tasks"]), golden["task_ids"]
  transform = tag(float(golden["lr"]), num_tasks, float(golden["b"]), base)
  params = [jnp.asarray(golden[f"init_{i}"]) for i in range(4)]
  grads = [jnp.asarray(golden[f"grads_{i}"]) for i in range(4)]
  theta, alphas = run(transform, params, grads, task_ids)
  name = "rms" if base == "rmsprop" else base
  past = np.arange(num_tasks) < task_ids[:, None]
  for i in range(4):
    np.testing.assert_allclose(theta[i], golden[f"{name}_params_{i}"], rtol=1e-5, atol=1e-9)
    expected = np.where(past, golden[f"{name}_alphas"][:, i], 0)
    np.testing.assert_allclose(alphas[i], expected, rtol=2e-5)


TABLE_GRADS = [(1, 2, -2), (0.5, -1, 0), (1, 0, 0), (-1, 2, 1), (0, 1, 1)]
TABLE_TASKS = [0, 0, 1, 1, 2]
TABLE_ALPHAS = [[], [], [0.0552094795], [1.3692799070], [4.3189587364, 0.0087501873]]
TABLE = {
  "rmsprop": [
    (-0.9999999, -0.99999995, 0.99999995),
    (-1.4490131147, -0.5509867151, 0.99999995),
    (-5.0956923011, -0.5509867151, 0.99999995),
    (-4.3312672477, -1.3169060003, 0.5708227860),
    (-4.3312672477, -1.5327534626, 0.3291285381),
  ],
  "adagrad": [
    (-0.099999999, -0.0999999995, 0.0999999995),
    (-0.1447213581, -0.0552786402, 0.0999999995),
    (-0.5080580430, -0.0552786402, 0.0999999995),
    (-0.4319210171, -0.1315647945, 0.0572971442),
    (-0.4319210171, -0.1530631961, 0.0332487609),
  ],
  "adam": [
    (-0.099999999, -0.0999999995, 0.0999999995),
    (-0.1932179617, -0.1266337033, 0.1670058244),
    (-0.5566871261, -0.1266337033, 0.1670058244),
    (-0.5510192287, -0.1834236712, 0.1352131766),
    (-0.5510192287, -0.2049306607, 0.1111527709),
  ],
}


@pytest.mark.parametrize("base", BASES)
def test_agrees_with_the_worked_example(base):
  grads = jnp.asarray(TABLE_GRADS, jnp.float32)
  theta, alphas = run(tag(0.1, 3, 5.0, base), jnp.zeros(3), grads, TABLE_TASKS)
  np.testing.assert_allclose(theta, TABLE[base], rtol=2e-6)
  for row, expected in zip(alphas, TABLE_ALPHAS, strict=True):
    np.testing.assert_allclose(row[: len(expected)], expected, rtol=1e-5)
    assert not row[len(expected) :].any()


def test_without_weighting_adagrad_runs_on_over_all_tasks():
  grads = jnp.asarray(TABLE_GRADS, jnp.float32)
  theta, _ = run(tag(0.1, 3, 0.0, "adagrad"), jnp.zeros(3), grads, TABLE_TASKS)
  np.testing.assert_allclose(theta[-1], (-0.1559180051, -0.1535680831, 0.0144538113), rtol=1e-5)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_frozen_directions_when_tasks_are_revisited(base, seed):
  rng = np.random.default_rng(seed)
  num_tasks, b = 5, rng.uniform(0, 7)
  visits = rng.integers(0, num_tasks, 12)
  task_ids = np.repeat(visits, rng.integers(1, 6, 12))
  grads = rng.normal(size=(len(task_ids), 4, 3)) + rng.normal(size=(num_tasks, 4, 3))[task_ids]
  grads[:, 0] *= rng.random(len(task_ids))[:, None] < 0.3
  theta = rng.normal(size=(4, 3))
  grads, theta = grads.astype(np.float32), theta.astype(np.float32)
  expected, expected_alphas = oracle_run(theta, grads, task_ids, num_tasks, lr=1e-2, b=b, base=base)
  ours, alphas = run(tag(1e-2, num_tasks, b, base), jnp.asarray(theta), grads, task_ids)
  np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-5)
  np.testing.assert_allclose(alphas, expected_alphas, rtol=1e-4)


@pytest.mark.parametrize("steps_per_epoch", [3, (3, 3)])
def test_adams_counter_restarts_each_epoch_if_asked(steps_per_epoch):
  rng = np.random.default_rng(0)
  grads = rng.normal(size=(18, 5)).astype(np.float32)
  task_ids = np.repeat([0, 1], 9)
  transform = tag(1e-2, 2, base="adam", bias_correction="epoch", steps_per_epoch=steps_per_epoch)
  theta, _ = run(transform, jnp.zeros(5), grads, task_ids)
  options = {"lr": 1e-2, "b": 5.0, "base": "adam"}
  expected, _ = oracle_run(np.zeros(5), grads, task_ids, 2, steps_per_epoch=3, **options)
  np.testing.assert_allclose(theta, expected, rtol=1e-5, atol=1e-7)
  by_task, _ = oracle_run(np.zeros(5), grads, task_ids, 2, **options)
  assert not np.allclose(theta, by_task, rtol=1e-3)
