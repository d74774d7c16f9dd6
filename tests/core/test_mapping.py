"""Thin gradients against plain ones, in networks of several kinds."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.mapping import dense, factored, is_thin


def drawn(seed, shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = drawn(0, (5, 3))
PARAMS = {"one": drawn(1, (3, 4)), "bias": np.zeros(4, np.float32), "two": drawn(2, (4, 2))}


def loss(params, x=X):
  hidden = nn.relu(x @ params["one"] + params["bias"][None])
  return jnp.sum(jax.nn.log_softmax(hidden @ params["two"])[:, 0])


def filled(tree):
  return jax.tree.map(lambda n: dense(n) if is_thin(n) else n, tree, is_leaf=is_thin)


def assert_close(one, two):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


def test_kernels_of_a_perceptron_are_thin():
  found = factored(lambda: jax.grad(loss)(PARAMS))
  assert found["one"].left.shape == (5, 3)
  assert found["one"].right.shape == (5, 4)
  assert is_thin(found["two"])
  assert not is_thin(found["bias"])
  assert_close(filled(found), jax.grad(loss)(PARAMS))


class Net(nn.Module):
  """A convolution, a kernel for each token, a kernel used twice, a transposed one."""

  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    x = nn.Conv(4, (2, 2), name="convolution")(x)
    x = nn.Dense(4, name="tokens")(x)
    x = nn.Dense(6, name="once", dtype=self.dtype)(x.reshape(x.shape[0], -1))
    twice = nn.Dense(6, name="twice")
    x = twice(nn.tanh(twice(x.astype(jnp.float32))))
    embedding = self.param("turned", nn.initializers.normal(), (3, 6))
    return jax.nn.logsumexp(x @ embedding.T, axis=-1).sum()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_not_one_product_is_an_array(dtype):
  net, x = Net(dtype), drawn(3, (2, 3, 3, 2))
  params = jax.jit(net.init)(jax.random.key(4), x)
  gradient = jax.grad(lambda params: net.apply(params, x))
  found = jax.jit(lambda params: factored(lambda: gradient(params)))(params)
  thin = {
    path[1].key for path, node in jax.tree_util.tree_leaves_with_path(found, is_leaf=is_thin)
    if is_thin(node)
  }  # fmt: skip
  assert thin == {"once", "turned"}
  close = {"rtol": 1e-2, "atol": 1e-3} if dtype == jnp.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
  for a, b in zip(*map(jax.tree.leaves, (filled(found), jax.jit(gradient)(params))), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, **close)


def test_constants_and_inputs_pass_through():
  found = factored(lambda: {"input": X, "number": jnp.float32(2), "literal": 3.0})
  assert_close(found, {"input": X, "number": 2.0, "literal": 3.0})


def test_rows_under_vmap():
  rows = X[:, None]
  expected = [jax.grad(loss)(PARAMS, row) for row in rows]
  expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
  found = jax.jit(jax.vmap(lambda row: factored(lambda: jax.grad(loss)(PARAMS, row))))(rows)
  assert found["one"].left.shape == (5, 1, 3)
  assert_close(filled(found), expected)
