"""BatchNorm against Flax, against NumPy in float64, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tagjax.models import BatchNorm

EPSILON = 1e-5


def example(rows=6, seed=0, shift=0.0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(rows, 5, 4, 3)) * [1.0, 2.0, 0.5] + [shift, 1.0, -2.0]).astype(
    np.float32
  )


def variables(x):
  made = BatchNorm().init(jax.random.key(0), x, train=True)
  params = {"scale": jnp.asarray([1.0, 0.5, 2.0]), "bias": jnp.asarray([0.0, -1.0, 3.0])}
  return {"params": params, "batch_stats": made["batch_stats"]}


def apply(x, mask=None, axis_name=None, state=None):
  state = variables(x) if state is None else state
  return BatchNorm(axis_name).apply(state, x, mask=mask, train=True, mutable=["batch_stats"])


def test_initial_statistics_are_zero_and_one():
  made = BatchNorm().init(jax.random.key(0), example(shift=9.0), train=True)
  np.testing.assert_array_equal(made["batch_stats"]["mean"], np.zeros(3))
  np.testing.assert_array_equal(made["batch_stats"]["var"], np.ones(3))


def test_unmasked_output_and_gradient_equal_flax():
  x, state = example(), variables(example())
  flax = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=EPSILON)
  weight = jax.random.normal(jax.random.key(1), x.shape)

  def ours(x):
    return jnp.sum(weight * jnp.square(apply(x, state=state)[0]))

  def theirs(x):
    return jnp.sum(weight * jnp.square(flax.apply(state, x, mutable=["batch_stats"])[0]))

  np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4)
  np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(theirs)(x), rtol=1e-3, atol=1e-3)


def test_a_mask_of_ones_is_no_mask():
  x = example()
  for ours, theirs in zip(
    jax.tree.leaves(apply(x, np.ones(6, bool))), jax.tree.leaves(apply(x)), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_masked_statistics_equal_numpy_with_pytorch_running_variance():
  x, mask = example(), np.array([1, 0, 1, 1, 0, 1], bool)
  x[~mask] = np.nan
  out, updated = apply(x, mask)
  valid = x[mask].astype(np.float64)
  mean, var = valid.mean((0, 1, 2)), valid.var((0, 1, 2))
  params = variables(x)["params"]
  scale, bias = (np.asarray(params[name], np.float64) for name in ("scale", "bias"))
  expected = (valid - mean) / np.sqrt(var + EPSILON) * scale + bias
  np.testing.assert_allclose(out[mask], expected, rtol=1e-5, atol=1e-5)
  unbiased = valid.reshape(-1, 3).var(axis=0, ddof=1)
  np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * unbiased, rtol=1e-5)


def test_variance_survives_a_large_mean():
  x = example(shift=3000.0)
  _, updated = apply(x)
  unbiased = x.astype(np.float64).reshape(-1, 3).var(axis=0, ddof=1)
  np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * unbiased, rtol=1e-3)


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_valid_element_stays_finite(rows):
  x = example()[:, :1, :1]
  mask = np.arange(6) < rows
  out, updated = apply(x, mask)
  gradient = jax.grad(lambda x: jnp.sum(jnp.square(apply(x, mask)[0][:1])))(x)
  assert np.isfinite(out).all()
  assert np.isfinite(gradient).all()
  stats = updated["batch_stats"]
  if rows == 0:
    np.testing.assert_array_equal(stats["mean"], np.zeros(3))
    np.testing.assert_array_equal(stats["var"], np.ones(3))
  else:
    np.testing.assert_allclose(stats["mean"], 0.1 * x[0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(stats["var"], np.full(3, 0.9), rtol=1e-6)


def test_evaluation_uses_the_running_averages_and_changes_nothing():
  x, state = example(), variables(example())
  state["batch_stats"] = {"mean": jnp.asarray([1.0, 2, 3]), "var": jnp.asarray([4.0, 5, 6])}
  out = BatchNorm().apply(state, x, mask=np.zeros(6, bool), train=False)
  expected = (x - np.array([1.0, 2, 3])) / np.sqrt(np.array([4.0, 5, 6]) + EPSILON)
  expected = expected * np.array([1.0, 0.5, 2.0]) + np.array([0.0, -1.0, 3.0])
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_four_devices_with_unequal_masks_are_one_device():
  x = example(rows=8)
  mask = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
  weight = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
  state = variables(x)

  def loss(params, x, mask, weight, axis_name):
    out, updated = apply(x, mask, axis_name, {**state, "params": params})
    return jnp.sum(jnp.where(mask.reshape(-1, 1, 1, 1), weight * jnp.square(out), 0)), updated

  value = functools.partial(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (one_loss, one_stats), one_grads = value(state["params"], x, mask, weight, None)
  shards = [a.reshape(4, 2, *a.shape[1:]) for a in (x, mask, weight)]

  def device(x, mask, weight):
    (loss, stats), (by_params, by_x) = value(state["params"], x, mask, weight, "devices")
    return jax.lax.psum((loss, by_params), "devices"), stats, by_x

  (loss_sum, by_params), stats, by_x = jax.pmap(device, axis_name="devices")(*shards)
  np.testing.assert_allclose(loss_sum, np.full(4, one_loss), rtol=1e-5)
  np.testing.assert_allclose(by_x.reshape(x.shape), one_grads[1], rtol=1e-3, atol=1e-4)
  pairs = (
    (by_params["scale"], one_grads[0]["scale"]),
    (by_params["bias"], one_grads[0]["bias"]),
    (stats["batch_stats"]["mean"], one_stats["batch_stats"]["mean"]),
    (stats["batch_stats"]["var"], one_stats["batch_stats"]["var"]),
  )
  for many, one in pairs:
    np.testing.assert_allclose(many, np.tile(one, (4, 1)), rtol=1e-4, atol=1e-4)


def test_half_precision_goes_in_and_out_and_statistics_are_float32():
  x = jnp.asarray(example(shift=20.0), jnp.bfloat16)
  state = variables(example())
  half, half_stats = apply(x, state=state)
  full, full_stats = apply(x.astype(jnp.float32), state=state)
  assert half.dtype == jnp.bfloat16
  jax.tree.map(np.testing.assert_array_equal, half_stats, full_stats)
  np.testing.assert_array_equal(half, full.astype(jnp.bfloat16))
