"""Stable SGD against its formula and against Optax's SGD started anew."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.method import EpochStep
from tagjax.transforms import scale_by_task_decay, stable_sgd


def all_updates(transform, grads, task_ids):
  state, found = transform.init(grads[0]), []
  update = jax.jit(transform.update)
  for grad, task_id in zip(grads, task_ids, strict=True):
    updates, state = update(grad, state, grads[0], task_id=task_id)
    found.append(updates)
  return found


GRADS = list(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32))
TASKS = [0] * 4 + [1] * 6 + [0] * 2


@pytest.mark.parametrize("task_id", range(12))
def test_rate_decays_from_the_first_task_on_down_to_the_floor(task_id):
  transform = scale_by_task_decay(0.1, decay=0.4)
  updates, _ = transform.update(jnp.ones(2), transform.init(None), task_id=task_id)
  np.testing.assert_allclose(updates, -max(0.1 * 0.4 ** (task_id + 1), 5e-5), rtol=1e-5)


def test_without_decay_it_is_plain_sgd():
  for ours, grad in zip(all_updates(stable_sgd(0.1), GRADS, TASKS), GRADS, strict=True):
    np.testing.assert_array_equal(ours, np.float32(-0.1) * grad)


@pytest.mark.parametrize(
  ("reset", "steps_per_epoch", "starts"),
  [
    ("task", None, (0, 4, 10)),
    ("epoch", 2, (0, 2, 4, 6, 8, 10)),
    ("epoch", (4, 3), (0, 4, 7, 10)),
  ],
)
def test_momentum_restarts(reset, steps_per_epoch, starts):
  transform = stable_sgd(0.1, 0.5, 0.0, 0.8, reset, steps_per_epoch)
  for step, ours in enumerate(all_updates(transform, GRADS, TASKS)):
    if step in starts:
      anew = optax.sgd(0.1 * 0.5 ** (TASKS[step] + 1), momentum=0.8)
      state = anew.init(GRADS[0])
    expected, state = anew.update(GRADS[step], state)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_an_epoch_that_exemplars_lengthen_restarts_once():
  transform = stable_sgd(0.1, floor=0.0, momentum=0.8, reset="epoch", steps_per_epoch=2)
  at = EpochStep(*[None] * 5, num_steps=jnp.int32(3))
  state, found = transform.init(GRADS[0]), []
  for grad in GRADS[:4]:
    updates, state = transform.update(grad, state, task_id=0, epoch_step=at)
    found.append(updates)
  np.testing.assert_array_equal(found[3], np.float32(-0.1) * GRADS[3])
  assert (found[2] != np.float32(-0.1) * GRADS[2]).all()


def test_injected_hyperparameters_dtype_and_missing_gradients():
  transform = optax.inject_hyperparams(stable_sgd)(0.1, decay=0.5, momentum=0.8)
  expected = all_updates(stable_sgd(0.1, 0.5, momentum=0.8), GRADS, TASKS)
  for ours, exact in zip(all_updates(transform, GRADS, TASKS), expected, strict=True):
    np.testing.assert_allclose(ours, exact, rtol=1e-5)
  half = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
  transform = stable_sgd(0.1, momentum=0.8)
  updates, state = transform.update({"a": half["a"], "b": None}, transform.init(half), task_id=0)
  assert updates["a"].dtype == jnp.bfloat16
  assert updates["b"] is None
  assert jax.tree.structure(state) == jax.tree.structure(transform.init(half))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"learning_rate": 0.0}, "learning_rate must be a number"),
    ({"learning_rate": optax.constant_schedule(0.1)}, "inject_hyperparams"),
    ({"decay": 0.0}, "decay must be a number"),
    ({"floor": -1.0}, "floor must be a number"),
    ({"momentum": 1.0}, "momentum must be a number"),
    ({"reset": "step"}, "'task', 'epoch', got 'step'"),
    ({"reset": "epoch"}, "reset='epoch' needs steps_per_epoch"),
  ],
)
def test_bad_settings(options, message):
  with pytest.raises(ValueError, match=message):
    stable_sgd(**{"learning_rate": 0.1, "momentum": 0.5, **options})


def test_bad_tasks():
  transform = stable_sgd(0.1)
  state = transform.init(jnp.ones(2))
  with pytest.raises(TypeError, match="task_id=t"):
    transform.update(jnp.ones(2), state)
  with pytest.raises(ValueError, match="at least 0, got -1"):
    transform.update(jnp.ones(2), state, task_id=-1)
  with pytest.raises(TypeError, match="integer scalar"):
    transform.update(jnp.ones(2), state, task_id=0.5)
