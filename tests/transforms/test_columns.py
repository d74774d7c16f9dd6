"""Rows shared out over devices: the layout, and TAG on it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.transforms import Columns, scale_by_tag, task_relatedness
from tagjax.transforms.columns import join, split

DEVICES, T = 4, 3
SHARED = Columns("devices", DEVICES)
# More and fewer numbers than devices, divisible and not, a scalar, and nothing.
SHAPES = {
  "a": (5, 7),
  "b": (8,),
  "c": (3,),
  "h": (1, 2),
  "d": (),
  "e": (0, 2),
  "f": (4,),
  "g": (5,),
}


@pytest.mark.parametrize("shape", [(4,), (5,), (2, 4), (5, 7)], ids=str)
def test_join_undoes_split_and_padding_is_zero(shape):
  size = int(np.prod(shape))
  tensors = np.arange(1.0, 2 * 3 * size + 1).reshape(2, 3, *shape)
  parts = split(tensors, (2, 3, *SHARED.shape(shape)), DEVICES)
  assert parts.shape == (DEVICES, 2, 3, SHARED.width(size))
  np.testing.assert_array_equal(join(parts, tensors.shape), tensors)
  assert np.count_nonzero(parts) == tensors.size


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 35])
def test_own_and_whole_are_split_and_join(size):
  row = jnp.arange(1.0, size + 1)

  def share(_):
    own = SHARED.own(row)
    return own, SHARED.whole(own, (size,)), SHARED.total(jnp.sum(own), size)

  own, whole, total = jax.pmap(share, axis_name="devices")(jnp.arange(DEVICES))
  is_shared = size >= DEVICES
  parts = split(np.asarray(row), SHARED.shape((size,)), DEVICES) if is_shared else [row] * DEVICES
  np.testing.assert_array_equal(own, parts)
  np.testing.assert_array_equal(whole, np.tile(row, (DEVICES, 1)))
  np.testing.assert_array_equal(total, [row.sum()] * DEVICES)


def a_run(transform, grads, task_ids):
  """The last state, and the updates of all steps."""
  state = transform.init(jax.tree.map(lambda g: g[0], grads))

  def step(state, at):
    updates, state = transform.update(at[0], state, task_id=at[1])
    return state, updates

  return jax.lax.scan(step, state, (grads, jnp.asarray(task_ids)))


@pytest.mark.parametrize(
  "accumulator_dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.product)]
)
@pytest.mark.parametrize("base", ["rmsprop", "adagrad", "adam"])
def test_tag_on_shared_rows_is_tag(base, accumulator_dtype):
  task_ids = [0, 0, 1, 1, 2, 2, 0]
  grads = {
    name: jax.random.normal(jax.random.key(number), (len(task_ids), *shape))
    for number, (name, shape) in enumerate(SHAPES.items())
  }
  make = functools.partial(scale_by_tag, T, base=base, accumulator_dtype=accumulator_dtype)
  _, alone = jax.jit(lambda: a_run(make(), grads, task_ids))()
  run = jax.pmap(lambda _: a_run(make(columns=SHARED), grads, task_ids), axis_name="devices")
  state, shared = run(jnp.arange(DEVICES))
  # Weights are exponentials of b = 5 times a cosine, so its rounding grows.
  jax.tree.map(lambda one, four: np.testing.assert_allclose(four[3], one, rtol=1e-4), alone, shared)
  jax.tree.map(lambda four: np.testing.assert_array_equal(four, four[:1].repeat(4, 0)), shared)
  for name, shape in SHAPES.items():
    size = int(np.prod(shape))
    own = (-(-size // DEVICES),) if size >= DEVICES else shape
    assert state.first_moment[name].shape == state.second_moment[name].shape == (DEVICES, T, *own)
    assert task_relatedness(state)[name].shape == (DEVICES, T)
