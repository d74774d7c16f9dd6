"""Methods of each kind with a network that computes in bfloat16."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.models import MLP

STREAM = helpers.spec()
KINDS = ["ewc+er+tag"] + [
  pytest.param(kind, marks=pytest.mark.product)
  for kind in ("rmsprop", "lwf+agem", "derpp+adam", "mas_local+gem", "itaml+tag")
]


def train(method, dtype):
  """The programs and the state after the stream."""
  made = helpers.named_method(method, STREAM, learning_rate=0.01, memory__capacity=2)
  model = MLP(STREAM.num_outputs, hidden=(8,), compute_dtype=dtype)
  run = helpers.programs(STREAM, made({}), model=model)
  return run, helpers.train_stream(run, STREAM, jax.random.key(0), size=12)


@pytest.mark.parametrize("method", KINDS)
def test_methods_see_float32_and_learn_nearly_the_same(method):
  (_, full), (run, mixed) = train(method, jnp.float32), train(method, jnp.bfloat16)
  assert all(count == 1 for count in run.traces.values())
  assert jax.tree.map(lambda leaf: leaf.dtype, mixed) == jax.tree.map(lambda x: x.dtype, full)
  pairs = list(zip(*map(jax.tree.leaves, (full.variables, mixed.variables)), strict=True))
  assert any((a != b).any() for a, b in pairs)
  for a, b in pairs:
    np.testing.assert_allclose(a, b, atol=0.05)
