"""A fresh optimizer for each task equals optimizers made one after another."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax.core.chain import chain
from tagjax.core.method import Boundary, Method, Phase, Step, lift
from tagjax.methods import naive, tag_method
from tagjax.methods.fine_tuning import fresh_each_task

STREAM = helpers.spec()
KEY = jax.random.key(0)
START = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([0.3])}


def gradient(params, task):
  return jax.tree.map(lambda p: (p - 0.4 * task) * (1 + task), params)


def drive(method, tasks=3, steps=4):
  """Params after each task."""
  params, after = START, []
  state = method.init(params)
  for task in range(tasks):
    for _ in range(steps):
      grad = gradient(params, task)
      known = {"grad": grad, "task_id": task, "loss": 0.0, "key": KEY}
      at = Step(**dict.fromkeys(Step._fields) | known)
      updates, state = method.update(grad, state, params, at=at)
      params = optax.apply_updates(params, updates)
    state, variables = method.consolidate(state, {"params": params}, at=boundary())
    assert variables["params"] is params
    after.append(params)
  return after


def boundary():
  return Boundary(**dict.fromkeys(Boundary._fields) | {"key": KEY})


def drive_separately(make, tasks=3, steps=4):
  params, after = START, []
  for task in range(tasks):
    optimizer = make()
    state = optimizer.init(params)
    for _ in range(steps):
      updates, state = optimizer.update(gradient(params, task), state, params)
      params = optax.apply_updates(params, updates)
    after.append(params)
  return after


def decaying_sgd():
  return optax.sgd(optax.exponential_decay(0.1, transition_steps=1, decay_rate=0.5))


@pytest.mark.parametrize("make", [lambda: naive.adam(0.1), decaying_sgd], ids=["adam", "schedule"])
def test_equals_new_optimizers_and_not_one_for_all(make):
  fresh, separate = drive(fresh_each_task(make())), drive_separately(make)
  for a, b in zip(jax.tree.leaves(fresh), jax.tree.leaves(separate), strict=True):
    np.testing.assert_array_equal(a, b)
  kept = drive(lift(make()))
  np.testing.assert_array_equal(kept[0]["w"], fresh[0]["w"])
  assert np.abs(kept[-1]["w"] - fresh[-1]["w"]).max() > 1e-2


def keeps_params():
  """A transformation whose first state is `params` themselves, as that of some averages is."""

  def update(updates, state, params=None):
    del params
    return updates, state

  return optax.GradientTransformation(lambda params: params, update)


def test_the_compiled_stream_resets_and_can_donate():
  optimizer = fresh_each_task(optax.chain(keeps_params(), optax.sgd(0.1, momentum=0.9)))
  run = helpers.programs(STREAM, optimizer)
  state = helpers.train_stream(run, STREAM, KEY, tasks=(0, 1))
  assert all(count == 1 for count in run.traces.values())
  for anchor, p in zip(
    jax.tree.leaves(state.method[0]), jax.tree.leaves(state.variables["params"]), strict=True
  ):
    np.testing.assert_array_equal(anchor, p)
  trace = [np.asarray(leaf) for leaf in jax.tree.leaves(state.method[1])]
  assert not any(leaf.any() for leaf in trace)


def test_state_shares_no_buffer_with_params():
  state = fresh_each_task(keeps_params()).init(START)
  assert state["w"].unsafe_buffer_pointer() != START["w"].unsafe_buffer_pointer()


def test_stands_in_a_chain():
  regulariser = Method(lambda params: jnp.zeros(()), lambda u, s, p, *, at: (u, s + 1))
  method = chain(regulariser, fresh_each_task(naive.adam(0.1)))
  drive(method)
  state = method.init(START)
  state = (jnp.ones(()), jax.tree.map(jnp.ones_like, state[1]))
  state, _ = method.consolidate(state, {"params": START}, at=boundary())
  assert state[0] == 1
  assert not any(leaf.any() for leaf in jax.tree.leaves(state[1]))


def test_keeps_diagnostics_and_phases():
  inner = Method(
    lambda p: (), lambda u, s, p, *, at: (u, s), phases=(Phase("one"), Phase("two", 3))
  )
  inner = inner._replace(diagnose=lambda state: {"figure": jnp.ones((1,))})
  method = fresh_each_task(inner)
  assert method.phases == (Phase("one"), Phase("two", 3))
  assert "figure" in method.diagnose(())


def test_refuses_what_must_survive():
  consolidating = Method(
    lambda params: (), lambda u, s, p, *, at: (u, s), lambda s, v, *, at: (s, v)
  )
  for method in (consolidating, chain(consolidating, optax.sgd(0.1))):
    with pytest.raises(ValueError, match="wrap only the optimizer"):
      fresh_each_task(method)
  for optimizer in (
    tagjax.tag(0.1, 3),
    tag_method(0.1, 3),
    optax.chain(optax.clip(1.0), tagjax.tag(0.1, 3)),
  ):
    with pytest.raises(ValueError, match="TAG's moments"):
      fresh_each_task(optimizer).init(START)
  memory = Method(lambda params: (helpers.batch(STREAM, 0),), lambda u, s, p, *, at: (u, s))
  with pytest.raises(ValueError, match="a memory of examples"):
    fresh_each_task(memory).init(START)
  with pytest.raises(TypeError, match="expected a tagjax Method"):
    fresh_each_task(lambda grads: grads)
