"""The task through wrappers that hand on no extra arguments, against loops by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from tagjax.transforms import tag, with_task

TASKS = (0, 0, 1, 1, 2, 2, 0, 1)
START = {"w": jnp.array([1.0, -2.0, 0.5])}
OPTIMIZER = optax.chain(optax.clip_by_global_norm(10.0), tag(0.01, num_tasks=3))


def gradient(params, task):
  return jax.grad(lambda p: jnp.sum((p["w"] - 3.0 * task + 1.0) ** 2 * jnp.arange(1.0, 4.0)))(
    params
  )


def tell(params, state, grads, task):
  """A step by hand."""
  updates, state = OPTIMIZER.update(grads, state, params, task_id=task)
  return optax.apply_updates(params, updates), state


def run(step, carry):
  """The steps of all tasks, by one program."""
  compiled = jax.jit(step)
  for task in TASKS:
    carry = compiled(carry, jnp.int32(task))
  assert compiled._cache_size() == 1
  return carry


def test_lookahead():
  def wrapped(task):
    return optax.lookahead(with_task(OPTIMIZER, task), sync_period=2, slow_step_size=0.5)

  def step(carry, task):
    params, state = carry
    updates, state = wrapped(task).update(gradient(params.fast, task), state, params)
    return optax.apply_updates(params, updates), state

  params = optax.LookaheadParams.init_synced(START)
  ours, state = run(step, (params, wrapped(0).init(params)))
  fast, slow, expected = START, START, OPTIMIZER.init(START)
  for number, task in enumerate(TASKS):
    fast, expected = tell(fast, expected, gradient(fast, task), task)
    if number % 2:
      fast = slow = jax.tree.map(lambda a, b: (a + b) / 2, fast, slow)
  np.testing.assert_allclose(ours.slow["w"], slow["w"], rtol=1e-5)
  np.testing.assert_array_equal(state.fast_state[1][0].count, [3, 3, 2])


def test_sam():
  def wrapped(task):
    climb = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    return optax.contrib.sam(with_task(OPTIMIZER, task), climb)

  def step(carry, task):
    params, state = carry
    for _ in range(2):  # up, and down from where it began
      updates, state = wrapped(task).update(gradient(params, task), state, params)
      params = optax.apply_updates(params, updates)
    return params, state

  ours, state = run(step, (START, wrapped(0).init(START)))
  params, expected = START, OPTIMIZER.init(START)
  for task in TASKS:
    g = gradient(params, task)
    above = {"w": params["w"] + 0.05 * g["w"] / jnp.linalg.norm(g["w"])}
    params, expected = tell(params, expected, gradient(above, task), task)
  np.testing.assert_allclose(ours["w"], params["w"], rtol=1e-5)
  np.testing.assert_array_equal(state.opt_state[1][0].count, [3, 3, 2])


def test_train_state():
  def step(state, task):
    told = state.replace(tx=with_task(state.tx, task))
    return told.apply_gradients(grads=gradient(state.params, task)).replace(tx=state.tx)

  start = TrainState.create(apply_fn=None, params=START, tx=OPTIMIZER)
  ours = run(step, start.replace(step=jnp.zeros((), jnp.int32)))
  params, expected = START, OPTIMIZER.init(START)
  for task in TASKS:
    params, expected = tell(params, expected, gradient(params, task), task)
  np.testing.assert_allclose(ours.params["w"], params["w"], rtol=1e-5)
  assert ours.step == len(TASKS)


def test_it_is_plain_and_checks_what_it_is_given():
  bound = with_task(OPTIMIZER, 2)
  assert not isinstance(bound, optax.GradientTransformationExtraArgs)
  updates, _ = with_task(optax.sgd(1.0), 7).update(START, optax.sgd(1.0).init(START))
  np.testing.assert_array_equal(updates["w"], -START["w"])
  with pytest.raises(TypeError, match="with_task takes an Optax transformation, got function"):
    with_task(tell, 0)
  with pytest.raises(TypeError, match="task_id must be an integer scalar"):
    with_task(OPTIMIZER, 1.0)
  with pytest.raises(ValueError, match="task_id must be at least 0, got -1"):
    with_task(OPTIMIZER, -1)
  with pytest.raises(ValueError, match="below num_tasks=3, got 3"):
    with_task(OPTIMIZER, 3).update(START, OPTIMIZER.init(START))
