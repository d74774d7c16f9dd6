"""One row and one optimizer state a task, against separate optimizers run by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax.core.chain import chain
from tagjax.core.method import Step
from tagjax.transforms import only_current_task, stable_sgd
from tagjax.transforms.tag import ScaleByTagState

T = 3
STACKED = {"columns": {"w": True, "b": True}, "trunk": False}
TASKS = (0, 0, 1, 2, 1, 0, 2)

MOMENTUM = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05, momentum=0.9))
CASES = {
  "adam": (optax.adam(0.01), None),
  "momentum": (MOMENTUM, None),
  "stable_sgd": (stable_sgd(0.1, decay=0.5, momentum=0.5), None),
  "tag": (tagjax.tag(0.01, num_tasks=T), tagjax.tag(0.02, num_tasks=1)),
  "rows": (optax.sgd(0.1), optax.adamw(0.01)),
}


def tree(seed):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
  return {"columns": {"w": draw(T, 4, 2), "b": draw(T, 2)}, "trunk": draw(4)}


def row(columns, task):
  return jax.tree.map(lambda leaf: leaf[task], columns)


def by_hand(inner, rows, params, steps):
  """One optimizer for the trunk and T for the rows, as a loop over plain trees."""
  inner, rows = (optax.with_extra_args_support(given) for given in (inner, rows or inner))
  trunk, columns = params["trunk"], [row(params["columns"], task) for task in range(T)]
  trunk_state, states = inner.init(trunk), [rows.init(column) for column in columns]
  for task, grads in steps:
    update, trunk_state = inner.update(grads["trunk"], trunk_state, trunk, task_id=task)
    trunk = optax.apply_updates(trunk, update)
    is_tag = any(isinstance(part, ScaleByTagState) for part in states[task])
    update, states[task] = rows.update(
      row(grads["columns"], task),
      states[task],
      columns[task],
      task_id=0 if is_tag else task,
    )
    columns[task] = optax.apply_updates(columns[task], update)
  return {"columns": jax.tree.map(lambda *rows: jnp.stack(rows), *columns), "trunk": trunk}


def one_step(transform, carry, step):
  params, state = carry
  task, grads = step
  updates, state = transform.update(grads, state, params, task_id=task)
  return optax.apply_updates(params, updates), state


@pytest.mark.parametrize("case", CASES)
def test_it_is_separate_optimizers_under_jit_and_vmap_over_seeds(case):
  inner, rows = CASES[case]
  transform = only_current_task(inner, STACKED, rows=rows)
  seeds = [(tree(seed), [tree(100 + seed + n) for n in range(len(TASKS))]) for seed in (0, 1)]
  expected = [
    by_hand(inner, rows, params, zip(TASKS, grads, strict=True)) for params, grads in seeds
  ]
  stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
  carry = stack(*(params for params, _ in seeds))
  carry = carry, jax.vmap(transform.init)(carry)
  step = jax.jit(jax.vmap(functools.partial(one_step, transform), in_axes=(0, (None, 0))))
  for n, task in enumerate(TASKS):
    before = carry[0]["columns"]
    carry = step(carry, (jnp.int32(task), stack(*(grads[n] for _, grads in seeds))))
    others = [other for other in range(T) if other != task]
    jax.tree.map(
      lambda old, new, others=others: np.testing.assert_array_equal(old[:, others], new[:, others]),
      before,
      carry[0]["columns"],
    )
  assert step._cache_size() == 1
  jax.tree.map(
    lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6),
    carry[0],
    stack(*expected),
  )


def test_tag_in_a_row_is_its_base_optimizer():
  transform = only_current_task(
    optax.sgd(0.1), {"w": True}, rows=tagjax.scale_by_tag(num_tasks=1, base="rmsprop")
  )
  params = {"w": jnp.zeros((2, 1))}
  _, state = transform.update({"w": jnp.ones((2, 1))}, transform.init(params), params, task_id=1)
  updates, _ = transform.update({"w": jnp.ones((2, 1))}, state, params, task_id=1)
  moment = 0.99 * 0.01 + 0.01
  np.testing.assert_allclose(updates["w"], [[0], [1 / (moment**0.5 + 1e-8)]], rtol=1e-6)


def test_rows_hold_one_state_each():
  params = tree(0)
  state = only_current_task(optax.adam(1.0), STACKED).init(params)
  held = sum(leaf.size for leaf in jax.tree.leaves(state.rows))
  assert held == 2 * sum(leaf.size for leaf in jax.tree.leaves(params["columns"])) + T
  tag = only_current_task(
    tagjax.tag(1.0, num_tasks=T), STACKED, rows=tagjax.tag(1.0, num_tasks=1)
  ).init(params)
  (rows,) = (part for part in tag.rows if isinstance(part, ScaleByTagState))
  assert rows.first_moment["columns"]["w"].shape == (T, 1, 4, 2)


def test_tag_of_all_tasks_is_refused_in_a_row():
  inner = optax.chain(optax.clip(1.0), tagjax.tag(1.0, num_tasks=T))
  with pytest.raises(ValueError, match=r"TAG of num_tasks=3.*give rows=tagjax.tag\(learning_rate"):
    only_current_task(inner, STACKED).init(tree(0))
  with pytest.raises(ValueError, match="TAG of num_tasks=3"):
    jax.jit(only_current_task(optax.sgd(1.0), STACKED, rows=inner).init)(tree(0))


def test_without_stacked_leaves_it_is_inner_and_with_nothing_else_too():
  params, grads = {"w": jnp.ones(3)}, {"w": jnp.arange(3.0)}
  transform = only_current_task(MOMENTUM, {"w": False})
  updates, state = transform.update(grads, transform.init(params), params, task_id=5)
  expected, _ = MOMENTUM.update(grads, MOMENTUM.init(params), params)
  np.testing.assert_array_equal(updates["w"], expected["w"])
  assert state.rows == ()
  transform = only_current_task(MOMENTUM, lambda params: {"w": True})
  updates, _ = transform.update(grads, transform.init(params), params, task_id=2)
  np.testing.assert_array_equal(updates["w"], [0, 0, expected["w"][2]])


def test_what_cannot_work_is_refused():
  params = {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 2))}
  both = {"a": True, "b": True}
  with pytest.raises(ValueError, match=r"same number of tasks.*\['a'\] \(3, 2\), \['b'\] \(2, 2\)"):
    only_current_task(optax.sgd(1.0), both).init(params)
  with pytest.raises(ValueError, match="same number of tasks"):
    only_current_task(optax.sgd(1.0), {"a": True}).init({"a": jnp.ones(())})
  with pytest.raises(TypeError, match=r"got Method: chain methods before it"):
    only_current_task(chain(optax.sgd(1.0)), both)
  transform = only_current_task(optax.sgd(1.0), {"a": True})
  one = {"a": jnp.ones((3, 2))}
  with pytest.raises(TypeError, match="needs the task"):
    transform.update(one, transform.init(one))
  with pytest.raises(ValueError, match="below num_tasks=3, got 3"):
    transform.update(one, transform.init(one), task_id=3)
  updates, _ = jax.jit(transform.update)(one, transform.init(one), task_id=jnp.int32(3))
  assert np.isnan(updates["a"]).any()


def test_no_gradient_leaves_its_parameter_alone():
  transform = only_current_task(optax.sgd(1.0), {"a": True, "b": False})
  params = {"a": jnp.ones((3, 2)), "b": jnp.ones(2)}
  state = transform.init(params)
  updates, _ = transform.update({"a": None, "b": jnp.ones(2)}, state, params, task_id=1)
  assert updates["a"] is None
  np.testing.assert_array_equal(updates["b"], -1)


def test_a_chain_of_methods_tells_it_the_task_and_the_gradient():
  seen = {}

  def update(updates, state, params=None, *, grad, value, **extra):
    seen[jax.tree.structure(grad)] = (grad, value)
    return jax.tree.map(jnp.add, updates, grad), state

  inner = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
  params, grads = tree(0), tree(1)
  method = chain(only_current_task(inner, STACKED), optax.scale(2.0))
  at = Step(*[None] * len(Step._fields))._replace(
    task_id=jnp.int32(1), loss=jnp.float32(3), grad=grads, key=jax.random.key(0)
  )
  updates, _ = method.update(grads, method.init(params), params, at=at)
  np.testing.assert_allclose(updates["trunk"], 4 * grads["trunk"], rtol=1e-6)
  np.testing.assert_allclose(updates["columns"]["w"][1], 4 * grads["columns"]["w"][1], rtol=1e-6)
  assert not updates["columns"]["w"][0].any()
  assert len(seen) == 2
