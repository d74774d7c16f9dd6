"""What TAG promises: properties, guards, composition with Optax, errors, and no hidden copies."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagjax.transforms import ScaleByTagState, scale_by_tag, tag, task_relatedness

BASES = ("rmsprop", "adagrad", "adam")
T = 4

# The examples of a property share their compiled update.
cached_scale_by_tag = functools.cache(scale_by_tag)
compiled = functools.cache(lambda transform: jax.jit(transform.update))


def steps(transform, grads, task_ids, params=None):
  """State after the steps, and the list of updates."""
  params = jax.tree.map(jnp.zeros_like, grads[0]) if params is None else params
  state, all_updates = transform.init(params), []
  for grad, task_id in zip(grads, task_ids, strict=True):
    updates, state = compiled(transform)(grad, state, params, task_id=task_id)
    all_updates.append(updates)
  return state, all_updates


def random_grads(seed, n, size=6):
  return list(np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32))


def plain(base):
  """The base optimizer in PyTorch's form, from Optax or by hand."""
  if base == "rmsprop":
    return optax.rmsprop(0.1, decay=0.99, eps=1e-8, eps_in_sqrt=False)
  if base == "adam":
    return optax.adam(0.1, 0.9, 0.999, 1e-8)

  def update(g, total, params=None):
    del params
    total = total + g * g
    return -0.1 * g / (jnp.sqrt(total) + 1e-8), total

  return optax.GradientTransformation(jnp.zeros_like, update)


@pytest.mark.parametrize("base", BASES)
def test_first_task_is_the_base_optimizer(base):
  grads = random_grads(0, 6)
  _, ours = steps(tag(0.1, T, base=base), grads, [0] * 6)
  reference = plain(base)
  state = reference.init(grads[0])
  for grad, update in zip(grads, ours, strict=True):
    expected, state = reference.update(grad, state)
    # Optax's own bias correction loses digits at the first steps.
    np.testing.assert_allclose(update, expected, rtol=1e-4 if base == "adam" else 1e-6)


@given(st.integers(0, 999), st.sampled_from(BASES), st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_order_of_the_entries_does_not_matter(seed, base, order):
  grads, order = random_grads(seed, 5), np.array(order)
  transform = cached_scale_by_tag(T, base=base)
  _, one = steps(transform, grads, [0, 0, 1, 1, 2])
  _, other = steps(transform, [g[order] for g in grads], [0, 0, 1, 1, 2])
  np.testing.assert_allclose(other[-1], one[-1][order], rtol=1e-4)


@given(
  st.integers(0, 999),
  st.sampled_from(BASES),
  st.sampled_from([0.1, 5.0, 8.0]),
  st.sampled_from([1.0, -1.0]),
)
@settings(max_examples=20, deadline=None)
def test_same_and_opposite_directions_get_the_extreme_weights(seed, base, b, sign):
  grads = random_grads(seed, 3)
  state, _ = steps(
    cached_scale_by_tag(T, b, base), [*grads, *(sign * g for g in grads)], [0] * 3 + [1] * 3
  )
  np.testing.assert_allclose(task_relatedness(state)[0], np.exp(-b * sign), rtol=1e-4)


@given(st.integers(0, 999), st.sampled_from(BASES), st.integers(0, 2), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_scale_of_a_tasks_gradients_leaves_the_weights(seed, base, task, power):
  grads, task_ids = random_grads(seed, 6), [0, 0, 1, 1, 2, 2]
  scaled = [g * (10**power if t == task else 1) for g, t in zip(grads, task_ids, strict=True)]
  transform = cached_scale_by_tag(T, base=base)
  one, other = (task_relatedness(steps(transform, g, task_ids)[0]) for g in (grads, scaled))
  np.testing.assert_allclose(one, other, rtol=1e-4)


@given(st.integers(0, 999), st.sampled_from([0.0, 5.0, 80.0]))
@settings(max_examples=20, deadline=None)
def test_weights_stay_within_their_bounds(seed, b):
  state, updates = steps(cached_scale_by_tag(T, b), random_grads(seed, 6), [0, 0, 1, 1, 2, 2])
  alphas = np.asarray(task_relatedness(state)[:2], np.float64)
  assert (np.abs(np.log(alphas)) <= b * (1 + 1e-5) + 1e-6).all()
  assert np.isfinite(updates).all()


@pytest.mark.parametrize("base", BASES)
def test_tensors_without_gradient_stay_where_they_are(base):
  grads = [jnp.zeros(3), jnp.ones(3), jnp.zeros(3), jnp.zeros(3)]
  state, updates = steps(scale_by_tag(T, base=base), grads, [0, 1, 2, 3])
  assert np.isfinite(updates).all()
  assert not np.any(updates[0])
  assert not np.any(updates[3])
  np.testing.assert_array_equal(task_relatedness(state), [1, 1, 1, 0])


@pytest.mark.parametrize("base", BASES)
def test_empty_and_scalar_tensors(base):
  grads = [{"empty": jnp.zeros((0, 2)), "scalar": jnp.float32(x)} for x in (1.0, -1.0)]
  state, updates = steps(scale_by_tag(T, base=base), grads, [0, 1])
  assert updates[1]["empty"].shape == (0, 2)
  assert updates[1]["scalar"].shape == ()
  np.testing.assert_allclose(task_relatedness(state)["scalar"][0], np.exp(5), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("base", BASES)
def test_half_precision_keeps_its_dtype_and_accumulates_in_float32(dtype, base):
  grads = [g.astype(dtype) for g in random_grads(0, 6)]
  transform = tag(0.1, T, base=base)
  state, updates = steps(transform, grads, [0, 0, 0, 1, 1, 2])
  _, exact = steps(transform, [g.astype(jnp.float32) for g in grads], [0, 0, 0, 1, 1, 2])
  assert updates[-1].dtype == dtype
  assert state[0].first_moment.dtype == state[0].second_moment.dtype == jnp.float32
  np.testing.assert_allclose(updates[-1].astype(jnp.float32), exact[-1], rtol=1e-2)


def test_masked_and_none_leaves_are_left_alone():
  params = {"a": jnp.ones(3), "b": jnp.ones(2), "none": None}
  masked = optax.masked(tag(0.1, T), {"a": True, "b": False, "none": True})
  state = masked.init(params)
  updates, state = masked.update(params, state, params, task_id=0)
  np.testing.assert_array_equal(updates["b"], params["b"])
  assert updates["none"] is None
  assert isinstance(task_relatedness(state)["b"], optax.MaskedNode)

  transform = scale_by_tag(T)
  before = transform.init(params)
  grads = {"a": jnp.ones(3), "b": None, "none": None}
  updates, after = jax.jit(transform.update)(grads, before, task_id=1)
  assert updates["b"] is None
  np.testing.assert_array_equal(after.first_moment["b"], before.first_moment["b"])
  assert jax.tree.structure(after) == jax.tree.structure(before)


def test_inside_partition_multi_steps_and_chain():
  params = {"a": jnp.ones(3), "b": jnp.ones(2)}
  grads = [{"a": g[:3], "b": g[3:5]} for g in random_grads(1, 4)]
  _, expected = steps(tag(0.1, T), grads, [0, 0, 1, 1], params)

  parts = optax.partition({"tag": tag(0.1, T), "sgd": optax.sgd(1.0)}, {"a": "tag", "b": "sgd"})
  state, updates = steps(parts, grads, [0, 0, 1, 1], params)
  np.testing.assert_allclose(updates[-1]["a"], expected[-1]["a"], rtol=1e-6)
  np.testing.assert_allclose(updates[-1]["b"], -grads[-1]["b"])
  assert task_relatedness(state)["a"][0] > 0

  twice = optax.MultiSteps(optax.chain(optax.identity(), tag(0.1, T)), 2)
  doubled = [g for grad in grads for g in (grad, grad)]
  state, updates = steps(
    twice.gradient_transformation(), doubled, np.repeat([0, 0, 1, 1], 2), params
  )
  np.testing.assert_allclose(updates[-1]["a"], expected[-1]["a"], rtol=1e-5)
  assert not np.any(updates[-2]["a"])
  assert task_relatedness(state)["b"][0] > 0


@pytest.mark.parametrize("static", [(), "num_tasks"])
@pytest.mark.parametrize("base", BASES)
def test_injected_hyperparameters_may_be_traced(base, static):
  grads = random_grads(2, 4)
  injected = optax.inject_hyperparams(tag, static_args=static)
  transform = injected(optax.constant_schedule(0.1), num_tasks=T, b=5.0, base=base)
  state, updates = steps(transform, grads, [0, 0, 1, 1])
  _, expected = steps(tag(0.1, T, base=base), grads, [0, 0, 1, 1])
  np.testing.assert_allclose(updates[-1], expected[-1], rtol=1e-4)
  assert task_relatedness(state).shape == (T,)
  state.hyperparams["b"] = jnp.float32(0.0)
  updates, state = jax.jit(transform.update)(grads[0], state, grads[0], task_id=2)
  np.testing.assert_array_equal(task_relatedness(state), [1, 1, 0, 0])


def test_injected_number_of_tasks_cannot_be_traced_in_init():
  transform = optax.inject_hyperparams(tag)(0.1, num_tasks=T)
  with pytest.raises(ValueError, match="static_args='num_tasks'"):
    jax.jit(transform.init)(jnp.ones(2))


def test_learning_rate_schedule_counts_all_steps():
  grads = random_grads(3, 4)
  schedule = optax.piecewise_constant_schedule(1.0, {2: 0.1})
  _, scaled = steps(tag(schedule, T), grads, [0, 0, 1, 1])
  _, bare = steps(scale_by_tag(T), grads, [0, 0, 1, 1])
  for rate, ours, expected in zip((1, 1, 0.1, 0.1), scaled, bare, strict=True):
    np.testing.assert_allclose(ours, -rate * expected, rtol=1e-6)


def test_vmap_over_seeds_and_over_tasks():
  transform = scale_by_tag(T)
  grads = np.stack(random_grads(4, 3))
  state = jax.device_get(jax.jit(jax.vmap(transform.init))(grads))
  one = jax.jit(lambda g, s, t: transform.update(g, s, task_id=t))
  together = jax.jit(jax.vmap(one))

  def of_seed(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)

  for task_ids in ([0, 0, 0], [1, 1, 1], [2, 0, 3]):
    expected = [one(grads[i], of_seed(state, i), task_ids[i]) for i in range(3)]
    got = jax.device_get(together(grads, state, np.array(task_ids)))
    _, state = got
    for i in range(3):
      pairs = zip(*map(jax.tree.leaves, (of_seed(got, i), expected[i])), strict=True)
      for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_several_devices():
  transform, n = scale_by_tag(T), 2
  grads = jnp.stack(random_grads(5, 1) * n)
  state = jax.pmap(transform.init, devices=jax.devices()[:n])(grads)
  update = jax.pmap(
    lambda g, s, t: transform.update(g, s, task_id=t)[0],
    in_axes=(0, 0, None),
    devices=jax.devices()[:n],
  )
  expected, _ = transform.update(grads[0], transform.init(grads[0]), task_id=1)
  for update_of_device in update(grads, state, jnp.int32(1)):
    np.testing.assert_allclose(update_of_device, expected, rtol=1e-6)


def test_one_compilation_serves_all_tasks():
  transform, traces = tag(0.1, T), []

  @jax.jit
  def update(grads, state, task_id):
    traces.append(1)
    return transform.update(grads, state, task_id=task_id)

  grads = jnp.ones(3)
  state = transform.init(grads)
  for task_id in range(T):
    grads, state = update(grads, state, task_id)
  assert len(traces) == 1


def test_can_be_differentiated_through():
  transform, grads = scale_by_tag(T), random_grads(6, 4)

  @jax.jit
  def total(scale):
    state, out = transform.init(grads[0]), 0.0
    for grad, task_id in zip(grads, (0, 0, 1, 1), strict=True):
      updates, state = transform.update(jnp.sin(scale * grad), state, task_id=task_id)
      out += jnp.sum(updates)
    return out

  slope = (total(1.01) - total(0.99)) / 0.02
  np.testing.assert_allclose(jax.grad(total)(1.0), slope, rtol=2e-2)


@pytest.mark.parametrize("mode", ["step", "loop", "seeds"])
@pytest.mark.parametrize("base", BASES)
def test_the_moments_are_written_in_place(base, mode):
  transform = tag(0.1, T, base=base)
  params = {"kernel": jnp.ones((3, 3, 5, 7)), "bias": jnp.ones(11)}
  initial = transform.init(params)

  def step(state, params, grads, task_id):
    updates, state = transform.update(grads, state, params, task_id=task_id)
    return state, optax.apply_updates(params, updates)

  if mode == "seeds":
    step = jax.vmap(step, in_axes=(0, 0, 0, None))
    params, initial = jax.tree.map(lambda x: jnp.stack([x, x]), (params, initial))

  def loop(state, params, grads, task_id):
    body = lambda _, carry: step(*carry, grads, task_id)  # noqa: E731
    return jax.lax.fori_loop(0, task_id, body, (state, params))

  run = jax.jit(step if mode == "step" else loop, donate_argnums=(0, 1))
  text = run.lower(initial, params, params, jnp.int32(1)).compile().as_text()
  assert re.search(rf"f32\[(2,)?{T},3,3,5,7\]\S* (dynamic-update-slice|fusion)\(", text)
  assert not re.findall(rf"= f32\[(?:2,)?{T},(?:315|3,3,5,7|11)\]\S* copy\(", text)


@pytest.mark.parametrize("task_id", [-1, T, np.int64(T), np.int32(-2), jnp.int32(T), np.array(T)])
def test_known_task_out_of_range(task_id):
  transform = tag(0.1, T)
  with pytest.raises(ValueError, match=rf"task_id must be .*num_tasks={T}, got {int(task_id)}"):
    transform.update(jnp.ones(2), transform.init(jnp.ones(2)), task_id=task_id)


@pytest.mark.parametrize(
  "task_id", [True, 1.0, "1", np.bool_(True), jnp.float32(1), jnp.ones(1, int)]
)
def test_task_of_the_wrong_type(task_id):
  transform = tag(0.1, T)
  with pytest.raises(TypeError, match="task_id must be an integer scalar"):
    transform.update(jnp.ones(2), transform.init(jnp.ones(2)), task_id=task_id)


@pytest.mark.parametrize("task_id", [1.0, True, jnp.zeros(2, int)])
def test_traced_task_of_the_wrong_type(task_id):
  transform = tag(0.1, T)
  update = jax.jit(lambda g, s, t: transform.update(g, s, task_id=t))
  with pytest.raises(TypeError, match="task_id must be an integer scalar"):
    update(jnp.ones(2), transform.init(jnp.ones(2)), task_id)


@pytest.mark.parametrize("task_id", [-1, T])
def test_traced_task_out_of_range_does_not_go_unnoticed(task_id):
  transform = tag(0.1, T)
  update = jax.jit(lambda g, s, t: transform.update(g, s, task_id=t))
  updates, _ = update(jnp.ones(2), transform.init(jnp.ones(2)), task_id)
  assert np.isnan(updates).all()


def test_missing_task_and_other_arguments():
  transform = tag(0.1, T)
  state = transform.init(jnp.ones(2))
  with pytest.raises(TypeError, match="task_id=t"):
    transform.update(jnp.ones(2), state)
  transform.update(jnp.ones(2), state, task_id=np.int64(1), value=1.0, grad=None)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_tasks": 0}, "num_tasks must be an integer of at least 1, got 0"),
    ({"num_tasks": 2.0}, "num_tasks must be an integer"),
    ({"num_tasks": True}, "num_tasks must be an integer"),
    ({"b": -1.0}, r"b must be a number in \[0, 80\], got -1.0"),
    ({"b": float("nan")}, "b must be a number"),
    ({"b": lambda step: step}, "inject_hyperparams"),
    ({"base": "rms"}, "'rmsprop', 'adagrad', 'adam', got 'rms'"),
    ({"beta1": 1.0}, r"beta1 must be a number in \[0, 1\)"),
    ({"beta2": -0.1}, r"beta2 must be a number in \[0, 1\)"),
    ({"base": "adagrad", "beta2": 0.9}, "beta2 has no meaning"),
    ({"eps": 0.0}, "eps must be a number"),
    ({"bias_correction": "step"}, "'task', 'epoch', got 'step'"),
    ({"base": "adam", "bias_correction": "epoch"}, "needs steps_per_epoch"),
    ({"bias_correction": "epoch", "steps_per_epoch": 3}, "is for base='adam' only"),
    ({"steps_per_epoch": 0}, "steps_per_epoch must be"),
    ({"steps_per_epoch": [3, 1.5]}, "steps_per_epoch must be"),
    (
      {"base": "adam", "bias_correction": "epoch", "steps_per_epoch": (3, 3)},
      "steps_per_epoch has 2 entries for 4 tasks",
    ),
  ],
)
def test_bad_settings(options, message):
  with pytest.raises(ValueError, match=message):
    tag(0.1, **{"num_tasks": T, **options})


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_parameters_that_are_not_real_numbers(dtype):
  with pytest.raises(TypeError, match=r"optax\.masked"):
    tag(0.1, T).init(jnp.ones(2, dtype))


def test_relatedness_needs_exactly_one_tag():
  params = jnp.ones(2)
  one = tag(0.1, T)
  assert isinstance(one.init(params)[0], ScaleByTagState)
  assert not task_relatedness(one.init(params)).any()
  with pytest.raises(ValueError, match="found 0"):
    task_relatedness(optax.adam(0.1).init(params))
  with pytest.raises(ValueError, match="found 2"):
    task_relatedness(optax.chain(one, one).init(params))
