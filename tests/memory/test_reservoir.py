"""The reservoir against sequential references, and its distribution against exact figures."""

import re
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tagjax.memory import reservoir

CAPACITY, ROWS, BATCHES, RUNS = 5, 6, 4, 6000
NUMBER = jax.ShapeDtypeStruct((), jnp.int32)


insert = jax.jit(reservoir.insert, static_argnames="variant")


def stream():
  """Batches of numbered items; every batch has rows that are none, numbered -1."""
  mask = np.ones((BATCHES, ROWS), bool)
  mask[0, 2] = mask[1, 0] = mask[2, 5] = mask[3, 3] = False
  numbers = np.where(mask.ravel(), np.cumsum(mask.ravel()) - 1, -1).reshape(mask.shape)
  return jnp.asarray(numbers), jnp.asarray(mask)


def fill(key, variant, batches=BATCHES):
  numbers, mask = stream()
  state = reservoir.empty(CAPACITY, NUMBER)
  for index in range(batches):
    batch_key = jax.random.fold_in(key, index)
    state = insert(state, numbers[index], mask[index], batch_key, variant=variant)
  return state


def inclusion(variant):
  """Exact probability that each item is held at the end."""
  _, mask = stream()
  chance, seen = [], 0
  for count in np.asarray(mask).sum(axis=1):
    free = min(max(CAPACITY - seen, 0), count)
    chance += [1.0] * free
    seen += free
    for late in range(count - free):
      choices = seen + late + 1 if variant == "item" else seen
      chance = [c * (1 - 1 / choices) for c in chance] + [CAPACITY / choices]
    seen += count - free
  return np.array(chance)


def held(variant):
  keys = jax.random.split(jax.random.key(3), RUNS)
  states = jax.jit(jax.vmap(lambda key: fill(key, variant)))(keys)
  stored = np.asarray(states.items)
  assert (np.diff(np.sort(stored, axis=1), axis=1) > 0).all()
  return np.bincount(stored.ravel(), minlength=BATCHES * (ROWS - 1))


def test_every_item_is_held_equally_often():
  count = held("item")
  n, chance = count.size, CAPACITY / count.size
  # Each run holds CAPACITY distinct items: the counts are less spread than a multinomial's.
  statistic = np.sum((count - RUNS * chance) ** 2) / (RUNS * chance * (1 - chance)) * (n - 1) / n
  assert stats.chi2.sf(statistic, n - 1) > 1e-3


@pytest.mark.parametrize("variant", get_args(reservoir.Variant))
def test_frequencies_are_the_exact_ones(variant):
  chance = inclusion(variant)
  error = (held(variant) - RUNS * chance) / np.sqrt(RUNS * chance * (1 - chance))
  assert np.abs(error).max() < 4
  np.testing.assert_allclose(inclusion("item"), CAPACITY / 20, rtol=1e-12)
  assert np.abs(inclusion("reference") - CAPACITY / 20).max() > 0.04


@pytest.mark.parametrize("variant", get_args(reservoir.Variant))
def test_a_batch_is_inserted_row_by_row(variant):
  """Twelve rows on three places: most places are drawn several times in the batch."""
  rng = np.random.default_rng(0)
  for case in range(40):
    seen, mask = int(rng.integers(0, 7)), rng.random(12) < 0.8
    state = reservoir.ReservoirState(jnp.arange(3) + 100, jnp.int32(seen))
    key = jax.random.key(case)
    after = insert(state, jnp.arange(12), jnp.asarray(mask), key, variant=variant)
    number = seen + np.cumsum(mask) - 1
    base = max(seen, min(seen + mask.sum(), 3))
    choices = number + 1 if variant == "item" else np.full(12, base)
    drawn = np.asarray(jax.random.randint(key, (12,), 0, jnp.maximum(jnp.asarray(choices), 1)))
    expected = np.arange(3) + 100
    for row in np.flatnonzero(mask):
      place = number[row] if number[row] < 3 else drawn[row]
      if place < 3:
        expected[place] = row
    np.testing.assert_array_equal(after.items, expected)
    assert after.seen == seen + mask.sum()


@pytest.mark.parametrize("variant", get_args(reservoir.Variant))
def test_no_place_is_written_twice(variant):
  """On a GPU the order of writes to one place is open, unlike on the CPU of the tests."""
  places = jax.jit(reservoir._places, static_argnums=3)
  repeated = 0
  for case in range(20):
    state = reservoir.ReservoirState(jnp.zeros(3), jnp.int32(case % 7))
    mask = jnp.arange(12) != case % 12
    place = np.asarray(places(state, mask, jax.random.key(case), variant))
    assert ((place >= 0) & (place <= 3)).all()
    held = place[place < 3]
    assert len(set(held)) == len(held)
    repeated += len(held) > 0
  assert repeated > 10


def test_it_fills_in_order_and_counts_valid_rows_only():
  numbers, mask = stream()
  state = reservoir.empty(8, NUMBER)
  for index, count in ((0, 5), (1, 8), (2, 8)):
    state = reservoir.insert(state, numbers[index], mask[index], jax.random.key(index))
    assert reservoir.stored(state) == count
    assert state.seen == 5 * (index + 1)
    if index == 0:
      np.testing.assert_array_equal(state.items, [0, 1, 2, 3, 4, 0, 0, 0])
  assert (np.asarray(state.items) >= 0).all()


@pytest.mark.parametrize(("batches", "count"), [(0, 3), (1, 3), (1, 5), (1, 9), (4, 5), (4, 2)])
def test_samples_are_distinct_and_stored(batches, count):
  state = fill(jax.random.key(5), "item", batches)
  available = min(5 * batches, CAPACITY)
  values, mask = reservoir.sample(state, jax.random.key(6), count)
  assert mask.tolist() == [row < min(available, count) for row in range(count)]
  drawn = np.asarray(values)[np.asarray(mask)].tolist()
  assert len(set(drawn)) == len(drawn)
  assert set(drawn) <= set(np.asarray(state.items)[:available].tolist())


def test_trees_keep_their_rows_together_and_their_dtypes():
  example = {"image": jax.ShapeDtypeStruct((2, 2), jnp.uint8), "label": NUMBER}
  state = reservoir.empty(4, example)
  label = jnp.arange(20, dtype=jnp.int32)
  image = jnp.broadcast_to(label.reshape(-1, 1, 1), (20, 2, 2)).astype(jnp.uint8)
  state = reservoir.insert(
    state, {"image": image, "label": label}, jnp.ones(20, bool), jax.random.key(0)
  )
  assert state.items["image"].dtype == jnp.uint8
  np.testing.assert_array_equal(state.items["image"][:, 1, 0], state.items["label"])
  assert (np.asarray(state.items["label"]) > 3).any()


def test_vmapped_seeds_equal_separate_seeds():
  keys = jax.random.split(jax.random.key(9), 3)
  together = jax.jit(jax.vmap(lambda key: fill(key, "item")))(keys)
  for index, key in enumerate(keys):
    np.testing.assert_array_equal(together.items[index], fill(key, "item").items)


def test_wrong_arguments_are_refused():
  with pytest.raises(ValueError, match="capacity=0 of a reservoir must be at least 1"):
    reservoir.empty(0, NUMBER)
  state = reservoir.empty(2, NUMBER)
  with pytest.raises(ValueError, match=r"variant='random' is unknown"):
    reservoir.insert(state, jnp.arange(2), jnp.ones(2, bool), jax.random.key(0), variant="random")


def test_what_is_read_first_changes_nothing_and_saves_the_copy():
  state = reservoir.empty(64, jax.ShapeDtypeStruct((40,), jnp.uint8))

  def loop(state, steps, *, ordered):
    def body(step, carry):
      state, total = carry
      draw, place = jax.random.split(jax.random.fold_in(jax.random.key(0), step))
      items, mask = reservoir.sample(state, draw, 4)
      new = (jnp.arange(160).reshape(4, 40) + step).astype(jnp.uint8)
      after = items if ordered else ()
      state = reservoir.insert(state, new, jnp.ones(4, bool), place, after=after)
      used = jax.lax.cond(step > 0, lambda: jnp.sum(items[mask.argmax()]), lambda: jnp.uint32(0))
      return state, total + used

    return jax.lax.fori_loop(0, steps, body, (state, jnp.uint32(0)))

  programs = [
    jax.jit(loop, static_argnames="ordered").lower(state, 30, ordered=ordered).compile()
    for ordered in (True, False)
  ]
  copies = [len(re.findall(r"u8\[64,40\]\S* copy\(", program.as_text())) for program in programs]
  assert copies[0] < copies[1]
  results = [program(state, 30) for program in programs]
  jax.tree.map(np.testing.assert_array_equal, *results)
