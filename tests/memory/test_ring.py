"""The ring against one bounded queue a slot."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tagjax.memory import ring

SIZES = np.array([3, 1, 2, 3])
NUMBER = jax.ShapeDtypeStruct((), jnp.int32)


def batches(seed, rows=9, count=7):
  """Numbered rows, some masked, some without a slot; slot 3 never occurs."""
  rng = np.random.default_rng(seed)
  slots = rng.choice([-1, 0, 0, 0, 1, 2], (count, rows)).astype(np.int32)
  return np.arange(count * rows).reshape(count, rows), slots, rng.random((count, rows)) < 0.8


def fill(seed=0, count=7):
  state, queues = ring.empty(SIZES, NUMBER), [collections.deque(maxlen=int(s)) for s in SIZES]
  for numbers, slots, mask in zip(*batches(seed, count=count), strict=True):
    state = insert(state, jnp.asarray(numbers), jnp.asarray(slots), jnp.asarray(mask))
    for number, slot in zip(numbers[mask], slots[mask], strict=True):
      if slot >= 0:
        queues[slot].append(int(number))
  return state, queues


insert = jax.jit(ring.insert)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 7])
def test_each_slot_holds_its_last_rows(seed, count):
  """Nine rows a batch, mostly of slot 0 with three places: a batch overwrites itself."""
  state, queues = fill(seed, count)
  assert state.items.shape == (4, 3)
  for slot, queue in enumerate(queues):
    stored = np.asarray(state.items[slot])[np.asarray(ring.valid(state))[slot]]
    assert sorted(stored.tolist()) == list(queue)
  assert ring.counts(state).tolist() == [len(queue) for queue in queues]


def test_no_place_is_written_twice():
  """On a GPU the order of writes to one place is open, unlike on the CPU of the tests."""
  state, _ = fill(0)
  for _, slots, mask in zip(*batches(1), strict=True):
    target, place, _ = ring._places(state, jnp.asarray(slots), jnp.asarray(mask))
    written = [pair for pair in zip(target.tolist(), place.tolist(), strict=True) if pair[0] < 4]
    assert 0 < len(set(written)) == len(written)


def test_the_oldest_is_overwritten_next():
  state, queues = fill(1)
  for extra in range(3):
    state = insert(state, jnp.full(9, 900 + extra), jnp.zeros(9, int), jnp.arange(9) == extra)
    queues[0].append(900 + extra)
    assert sorted(np.asarray(state.items[0]).tolist()) == sorted(queues[0])


def test_rows_are_all_places_with_their_validity():
  state, queues = fill(2)
  values, mask = ring.rows(state)
  assert values.shape == mask.shape == (12,)
  assert sorted(np.asarray(values)[np.asarray(mask)].tolist()) == sorted(itertools.chain(*queues))
  assert not mask.reshape(4, 3)[3].any()
  assert not mask.reshape(4, 3)[1, 1:].any()


@pytest.mark.parametrize("eligible", [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]])
@pytest.mark.parametrize("count", [2, 4, 20])
def test_samples_are_distinct_and_of_eligible_slots(eligible, count):
  state, queues = fill(3)
  allowed = [n for queue, kept in zip(queues, eligible, strict=True) if kept for n in queue]
  sample = jax.jit(ring.sample, static_argnums=2)
  for seed in range(5):
    values, mask = sample(state, jax.random.key(seed), count, jnp.array(eligible, bool))
    assert mask.tolist() == [row < min(count, len(allowed)) for row in range(count)]
    drawn = np.asarray(values)[np.asarray(mask)].tolist()
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(allowed)


def test_samples_are_uniform_over_exemplars():
  """Over exemplars and not over slots: slots 0, 1, 2 hold 3, 1, 2 of them."""
  state, queues = fill(4)
  keys = jax.random.split(jax.random.key(1), 6000)
  eligible = jnp.ones(4, bool)
  values, _ = jax.jit(jax.vmap(lambda key: ring.sample(state, key, 1, eligible)))(keys)
  numbers, observed = np.unique(np.asarray(values), return_counts=True)
  assert numbers.tolist() == sorted(itertools.chain(*queues))
  assert len(numbers) == 6
  assert stats.chisquare(observed).pvalue > 1e-3


def test_trees_keep_their_rows_together_and_their_dtypes():
  example = {"image": jax.ShapeDtypeStruct((2, 2), jnp.uint8), "label": NUMBER}
  label = jnp.arange(20, dtype=jnp.int32)
  image = jnp.broadcast_to(label.reshape(-1, 1, 1), (20, 2, 2)).astype(jnp.uint8)
  state = ring.insert(
    ring.empty(SIZES, example), {"image": image, "label": label}, label % 4, label >= 0
  )
  assert state.items["image"].dtype == jnp.uint8
  np.testing.assert_array_equal(state.items["image"][:, :, 0, 1], state.items["label"])
  assert sorted(np.asarray(state.items["label"][3]).tolist()) == [11, 15, 19]


def test_vmapped_streams_equal_separate_streams():
  numbers, slots, mask = (jnp.asarray(leaf) for leaf in batches(0))
  state, _ = fill(2)
  together = jax.vmap(ring.insert, (None, 0, 0, 0))(state, numbers, slots, mask)
  for index in range(7):
    alone = insert(state, numbers[index], slots[index], mask[index])
    np.testing.assert_array_equal(together.items[index], alone.items)
    np.testing.assert_array_equal(together.pointer[index], alone.pointer)


@pytest.mark.parametrize("sizes", [[], [0, 0], [2, -1]])
def test_rings_that_hold_nothing_are_refused(sizes):
  with pytest.raises(ValueError, match="of a ring must be one number a slot, not all 0"):
    ring.empty(np.array(sizes, int), NUMBER)
