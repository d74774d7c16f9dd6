"""TAG with the moments of past tasks in bfloat16: what it saves, and how little it loses."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.storage import tree_bytes
from tagjax.transforms import _task_rows
from tagjax.transforms._task_rows import unrounded
from tagjax.transforms.tag import ACCUMULATOR_DTYPES, scale_by_tag, tag, task_relatedness

BASES = ("rmsprop", "adagrad", "adam")
T = 4
PARAMS = {"a": jnp.zeros((5, 7)), "b": jnp.zeros(())}


def run(transform, grads, task_ids, params=None):
  """Final state; updates and weights of each step."""
  params = jax.tree.map(lambda g: jnp.zeros(g.shape[1:]), grads) if params is None else params

  def step(state, at):
    grad, task_id = at
    updates, state = transform.update(grad, state, params, task_id=task_id)
    return state, (updates, task_relatedness(state))

  scan = jax.jit(lambda xs: jax.lax.scan(step, transform.init(params), xs))
  return scan((grads, jnp.asarray(task_ids, jnp.int32)))


def conflicting_grads(task_ids, seed=0):
  rng = np.random.default_rng(seed)
  return {
    name: jnp.asarray(
      rng.normal(size=(len(task_ids), *p.shape)) + rng.normal(size=(T, *p.shape))[task_ids],
      jnp.float32,
    )
    for name, p in PARAMS.items()
  }


def num_bytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_the_state_is_half_as_large():
  params = {"kernel": jnp.zeros((50, 60)), "bias": jnp.zeros(60)}
  full, half = (tag(0.1, 20, accumulator_dtype=name).init(params) for name in ACCUMULATOR_DTYPES)
  rows = 2 * 20 * 3060
  small = 2 * 2 * 20 * 4 + 20 * 4  # norms and weights of both tensors, counts
  assert num_bytes(full) == 4 * rows + small
  assert num_bytes(half) == 2 * rows + 2 * 4 * 3060 + 4 + small


@pytest.mark.parametrize("base", BASES)
def test_a_task_accumulates_without_loss(base):
  """In bfloat16 Adagrad's sum would stop at some 300 steps, Adam's moment would not decay."""
  grads = jnp.concatenate([jnp.ones((100, 3)), jnp.full((900, 3), 0.1)])
  full, half = (
    run(scale_by_tag(2, base=base, accumulator_dtype=name), grads, [0] * 1000)[1][0]
    for name in ACCUMULATOR_DTYPES
  )
  np.testing.assert_allclose(half, full, rtol=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_what_past_tasks_left_is_rounded_and_no_more(base):
  task_ids = np.repeat([0, 1, 2, 1, 3], 20)
  grads = conflicting_grads(task_ids)
  (_, (full, full_alphas)), (state, (half, alphas)) = (
    run(scale_by_tag(T, base=base, accumulator_dtype=name), grads, task_ids)
    for name in ACCUMULATOR_DTYPES
  )
  for name in PARAMS:
    for start in range(0, 100, 20):
      one, other = (np.ravel(x[name][start : start + 20]) for x in (half, full))
      error = np.linalg.norm(one - other) / np.linalg.norm(other)
      assert (error < 1e-6) if start == 0 else (0 < error < 0.01)
    np.testing.assert_allclose(alphas[name], full_alphas[name], rtol=0.02)
  assert state.current.task_id == 3
  last = unrounded(state.first_moment["a"])[3]
  np.testing.assert_allclose(last, state.current.first_moment["a"], rtol=2**-8)


def test_a_direction_against_itself_has_the_extreme_weight():
  """Both norms are those of the rows as they are: the cosine of scalars is 1 or -1 exactly."""
  sizes = np.random.default_rng(0).uniform(0.1, 2.0, (8, 4)) * [1, 1, -1, -1]
  grads = {str(i): jnp.asarray(row, jnp.float32) for i, row in enumerate(sizes)}
  _, (_, alphas) = run(scale_by_tag(T, accumulator_dtype="bfloat16"), grads, [0, 0, 1, 1])
  for name in grads:
    np.testing.assert_allclose(alphas[name][2:, 0], np.exp(5.0), rtol=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_both_ways_to_sum_over_rows_agree(monkeypatch, base):
  task_ids = np.repeat([0, 1, 2], 5)
  grads = conflicting_grads(task_ids)
  results = []
  for row_by_row in (True, False):
    monkeypatch.setattr(_task_rows, "_row_by_row", lambda answer=row_by_row: answer)
    results.append(run(scale_by_tag(T, base=base, accumulator_dtype="bfloat16"), grads, task_ids))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *(r[1] for r in results)
  )


def test_seeds_side_by_side_and_tensors_without_gradient():
  transform = scale_by_tag(T, accumulator_dtype=jnp.bfloat16)
  params = {"a": jnp.ones((2, 3)), "none": None}
  state = jax.jit(jax.vmap(transform.init))(params)
  update = jax.jit(
    jax.vmap(lambda g, s, t: transform.update(g, s, task_id=t), in_axes=(0, 0, None))
  )
  for task in range(2):
    grads = {"a": jnp.arange(6.0).reshape(2, 3) - 2, "none": None}
    updates, state = update(grads, state, jnp.int32(task))
  assert state.current.task_id.tolist() == [1, 1]
  one = scale_by_tag(T, accumulator_dtype=jnp.bfloat16)
  own, step = one.init(params["a"][1]), jax.jit(one.update)
  for task in range(2):
    expected, own = step(jnp.arange(3.0) + 1, own, task_id=task)
  np.testing.assert_allclose(updates["a"][1], expected, rtol=1e-5)
  updates, after = transform.update({"a": None, "none": None}, one.init(params), task_id=0)
  assert updates["a"] is None
  assert not np.any(after.first_moment["a"])


def test_the_rows_are_written_in_place_and_never_converted_as_a_whole():
  transform = tag(0.1, T, accumulator_dtype=jnp.bfloat16)
  params = {"kernel": jnp.ones((3, 3, 5, 7)), "bias": jnp.ones(11)}

  def loop(state, params, grads, task_id):
    def body(_, carry):
      updates, state = transform.update(grads, *carry, task_id=task_id)
      return state, optax.apply_updates(carry[1], updates)

    return jax.lax.fori_loop(0, task_id, body, (state, params))

  compiled = jax.jit(loop, donate_argnums=(0, 1))
  text = compiled.lower(transform.init(params), params, params, jnp.int32(1)).compile().as_text()
  assert re.search(rf"u16\[{T},3,3,5,7\]\S* (dynamic-update-slice|fusion)\(", text)
  assert not re.findall(rf"= u16\[{T},(?:315|3,3,5,7|11)\]\S* copy\(", text)
  assert not re.findall(rf"f32\[{T},(?:315|3,3,5,7|11)\]", text)


def test_the_state_can_be_stored():
  state = tag(0.1, T, accumulator_dtype=jnp.bfloat16).init(PARAMS)
  _, data = tree_bytes.pack(state)
  back = tree_bytes.unpack(data, state)
  jax.tree.map(np.testing.assert_array_equal, back, state)
  assert jax.tree.map(lambda x: x.dtype, back) == jax.tree.map(lambda x: x.dtype, state)


def test_it_can_be_injected_by_name():
  make = optax.inject_hyperparams(tag)
  transform = make(0.1, num_tasks=T, accumulator_dtype="bfloat16")
  updates, state = transform.update(PARAMS, transform.init(PARAMS), PARAMS, task_id=0)
  assert state.inner_state[0].first_moment["a"].dtype == jnp.uint16
  assert np.isfinite(updates["a"]).all()


@pytest.mark.parametrize("value", [jnp.float16, "float64", "half", 3, jnp.int32])
def test_other_dtypes_are_refused(value):
  with pytest.raises(ValueError, match="accumulator_dtype must be None, float32 or bfloat16, got"):
    tag(0.1, T, accumulator_dtype=value)


def test_float32_is_the_default():
  for value in (None, jnp.float32, "float32"):
    assert tag(0.1, T, accumulator_dtype=value).init(PARAMS)[0].current is None
