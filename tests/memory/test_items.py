"""Drawing places at random, and the order of gathered rows."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tagjax.memory import items


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_choose_draws_distinct_valid_places(count):
  valid = jnp.array([False, True, True, False, True, True, True])
  keys = jax.random.split(jax.random.key(1), 200)
  places, mask = jax.vmap(lambda key: items.choose(key, valid, count))(keys)
  assert places.shape == mask.shape == (200, count)
  np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(count) < 5, mask.shape))
  for row, kept in zip(np.asarray(places), np.asarray(mask), strict=True):
    assert len(set(row[kept])) == kept.sum()
    assert np.asarray(valid)[row[kept]].all()
    assert ((row >= 0) & (row < 7)).all()


def test_choose_is_uniform_over_ordered_pairs():
  valid = jnp.array([True, False, True, True, True])
  keys = jax.random.split(jax.random.key(2), 12000)
  places, _ = jax.vmap(lambda key: items.choose(key, valid, 2))(keys)
  observed = np.zeros((5, 5))
  np.add.at(observed, tuple(np.asarray(places).T), 1)
  possible = np.outer(valid, valid) & ~np.eye(5, dtype=bool)
  assert observed[~possible].sum() == 0
  assert stats.chisquare(observed[possible]).pvalue > 1e-3


def test_nothing_valid_gives_nothing():
  places, mask = items.choose(jax.random.key(0), jnp.zeros(4, bool), 3)
  assert not mask.any()
  assert ((places >= 0) & (places < 4)).all()


def test_rows_gathered_from_devices_stand_in_the_order_of_the_batch():
  batch = jnp.arange(24).reshape(12, 2)
  gather = jax.tree_util.Partial(jax.lax.all_gather, axis_name="i", tiled=True)
  own = jnp.swapaxes(batch.reshape(3, 4, 2), 0, 1)
  everywhere = jax.pmap(lambda rows: items.gather_in_order(gather, rows), axis_name="i")(own)
  for replica in range(4):
    np.testing.assert_array_equal(everywhere[replica], batch)
  np.testing.assert_array_equal(items.gather_in_order(lambda tree: tree, batch), batch)


def test_an_exemplar_is_as_the_stream_stores_it():
  spec = helpers.spec()._replace(image_dtype=np.dtype(np.float32))
  assert items.exemplar(spec).image == jax.ShapeDtypeStruct(helpers.IMAGE, jnp.float32)
  assert items.exemplar(helpers.spec()).image.dtype == jnp.uint8


@pytest.mark.parametrize("count", [1, 4, 9])
def test_largest_is_top_k_to_the_place(count):
  rng = np.random.default_rng(count)
  for values in (rng.integers(-1, 4, 9), np.full(9, -1), rng.integers(0, 2**31 - 1, 9)):
    values = jnp.asarray(values, jnp.int32)
    found, expected = items.largest(values, count), jax.lax.top_k(values, count)
    jax.tree.map(np.testing.assert_array_equal, found, tuple(expected))
