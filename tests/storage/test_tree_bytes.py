"""Packing of pytrees: bytes, structure, kinds of leaves."""

import gc
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tagjax.core import keys
from tagjax.storage import tree_bytes


class Nested(NamedTuple):
  weight: jax.Array
  nothing: None
  empty: tuple
  inner: dict


def a_tree():
  return Nested(
    weight=jax.random.normal(jax.random.key(0), (3, 4)),
    nothing=None,
    empty=(),
    inner={
      "flag": jnp.array([True, False, True]),
      "half": jnp.array([1.5, -0.0, jnp.nan], jnp.bfloat16),
      "count": jnp.int32(7),
      "memory": jnp.zeros((0, 5), jnp.uint8),
      "double": np.array([1 / 3, np.nan, -np.inf]),
      "scalar": np.float32(0.1),
      "python": 3,
    },
  )


def blank(leaf):
  """A leaf of the same kind with other values."""
  if isinstance(leaf, np.ndarray):
    return np.zeros_like(leaf)
  return jnp.zeros_like(leaf) if isinstance(leaf, jax.Array) else type(leaf)(0)


def bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_round_trip_keeps_bits_kinds_and_structure():
  tree = a_tree()
  leaves, data = tree_bytes.pack(tree)
  template = jax.tree.map(blank, tree)
  back = tree_bytes.unpack(data, template)
  assert jax.tree.structure(back) == jax.tree.structure(tree)
  assert bits(back) == bits(tree)
  assert [type(x) for x in jax.tree.leaves(back)] == [type(x) for x in jax.tree.leaves(tree)]
  assert tree_bytes.differences(leaves, back) == ""
  assert data.size == sum(leaf[-1] for leaf in leaves)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_draw_the_same_numbers_afterwards(impl):
  tree = {"one": jax.random.key(3, impl=impl), "many": jax.random.split(jax.random.key(4), 5)}
  leaves, data = tree_bytes.pack(tree)
  for template in (
    {"one": jax.random.key(0, impl=impl), "many": jax.random.split(jax.random.key(0), 5)},
    jax.eval_shape(lambda: tree),
  ):
    assert tree_bytes.differences(leaves, template) == ""
    back = tree_bytes.unpack(data, template)
    assert back["one"].dtype == tree["one"].dtype
    assert bits(jax.random.normal(back["one"], (4,))) == bits(jax.random.normal(tree["one"], (4,)))
    assert back["many"].shape == (5,)
    assert bits(jax.random.key_data(back["many"])) == bits(jax.random.key_data(tree["many"]))


@pytest.mark.parametrize(
  "ask", [keys.key_shape, lambda: tree_bytes.describe(keys.key_shape())], ids=["key", "bytes"]
)
def test_asking_for_shapes_leaves_nothing_behind(ask):
  def objects():
    for _ in range(20):
      ask()
    gc.collect()
    return len(gc.get_objects())

  before = objects()
  assert objects() - before < 20


def test_another_implementation_of_keys_is_a_difference():
  leaves = tree_bytes.describe({"key": jax.random.key(0, impl="rbg")})
  text = tree_bytes.differences(leaves, {"key": jax.random.key(0)})
  assert text == "['key']: saved key<rbg>[], expected key<fry>[]"


def test_packed_bytes_survive_the_donation_of_the_buffers():
  state = {"weight": jnp.arange(1000.0)}
  expected = np.arange(1000, dtype=np.float32).tobytes()
  _, data = tree_bytes.pack(state)
  step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
  jax.block_until_ready(step(state))
  assert data.tobytes() == expected


def test_unpacked_arrays_own_their_memory_and_can_be_donated():
  _, data = tree_bytes.pack({"weight": jnp.arange(1000.0)})
  state = tree_bytes.unpack(data, {"weight": jnp.zeros(1000)})
  data[:] = 0
  step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  new = step(state)
  np.testing.assert_array_equal(new["weight"], np.arange(1000) + 1)
  assert state["weight"].is_deleted()


def test_values_return_to_the_devices_of_the_template():
  mesh = Mesh(np.array(jax.devices()[:4]), ("device",))
  sharding = NamedSharding(mesh, PartitionSpec("device"))
  template = {
    "weight": jax.device_put(jnp.zeros(8), sharding),
    "key": jax.device_put(jax.random.key(0), NamedSharding(mesh, PartitionSpec())),
  }
  _, data = tree_bytes.pack({"weight": jnp.arange(8.0), "key": jax.random.key(5)})
  back = tree_bytes.unpack(data, template)
  assert back["weight"].sharding == sharding
  np.testing.assert_array_equal(back["weight"], np.arange(8))
  assert len(back["key"].sharding.device_set) == 4
  assert bits(jax.random.key_data(back["key"])) == bits(jax.random.key_data(jax.random.key(5)))
  _, again = tree_bytes.pack(back)
  assert again.tobytes() == data.tobytes()


def test_differences_name_path_dtype_shape_and_missing_leaves():
  leaves = tree_bytes.describe(
    {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4), "c": np.int8(1)}
  )
  text = tree_bytes.differences(
    leaves, {"a": np.zeros((2, 4), np.float32), "b": np.zeros(4, np.float32), "d": np.int8(1)}
  )
  assert text.split("; ") == [
    "['a']: saved float32[2, 3], expected float32[2, 4]",
    "['b']: saved float64[4], expected float32[4]",
    "['c']: saved int8[], expected nothing",
    "['d']: saved nothing, expected int8[]",
  ]


def test_many_differences_are_counted():
  leaves = tree_bytes.describe([np.zeros(1)] * 9)
  assert tree_bytes.differences(leaves, [np.zeros(2)] * 9, limit=2).endswith("; 7 more")


def test_a_leaf_that_is_no_number_is_refused_by_path():
  with pytest.raises(TypeError, match=r"leaf \['name'\] is not made of numbers: .*tag"):
    tree_bytes.pack({"name": "tag"})
