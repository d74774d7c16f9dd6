"""The memory by class quota against lists in Python, and herding against NumPy in float64."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.types import Batch
from tagjax.memory import class_quota, herding

SPEC = helpers.spec("class", num_tasks=3, per_task=2)
SHARED = helpers.spec("domain", num_tasks=3, per_task=2)
SIZE, WIDTH = 17, 5


def chunk_of(spec, task, size=SIZE, rows=24):
  """The examples of a task, shuffled, in batches of four with padding; and their features."""
  data, rng = helpers.examples(spec, task, size), np.random.default_rng(task)
  order = np.resize(rng.permutation(size), rows)
  mask = np.arange(rows) < size
  columns = [data.image, data.label, data.task_id, np.arange(size, dtype=np.int32)]
  image, label, task_id, index = (
    column[order].reshape(-1, 4, *column.shape[1:]) for column in columns
  )
  features = rng.normal(size=(rows, WIDTH)).astype(np.float32)
  batch = Batch(image, label, task_id, mask.reshape(-1, 4), index)
  return jax.tree.map(jnp.asarray, batch), features


def herd(features, count):
  """Algorithm 4 of iCaRL, word by word, in float64."""
  rows = features.astype(np.float64)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  mean, taken = rows.mean(axis=0), []
  for k in range(1, min(count, len(rows)) + 1):
    left = [i for i in range(len(rows)) if i not in taken]
    distances = [np.linalg.norm(mean - (rows[i] + rows[taken].sum(axis=0)) / k) for i in left]
    taken.append(left[int(np.argmin(distances))])
  return taken


def expected(spec, capacity, selection, tasks):
  """`{(label, task): indices}` after the tasks, as the specification has it."""
  held, seen = {}, set()
  for task in tasks:
    batch, features = chunk_of(spec, task)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), batch)
    seen |= {(int(label), task) for label in batch.label[batch.mask]}
    quota = capacity // len(seen)
    held = {pair: indices[:quota] for pair, indices in held.items()}
    for label in np.unique(batch.label[batch.mask]):
      rows = np.flatnonzero(batch.mask & (batch.label == label))
      if selection == "first":
        rows = rows[np.argsort(batch.index[rows])]
      elif selection == "herding":
        rows = rows[herd(features[rows], quota)]
      held[int(label), task] = batch.index[rows][:quota].tolist()
  return held


update = jax.jit(class_quota.update, static_argnames="selection")


@pytest.mark.parametrize("selection", ["first", "random", "herding"])
@pytest.mark.parametrize(("spec", "capacity"), [(SPEC, 7), (SPEC, 40), (SPEC, 5), (SHARED, 9)])
def test_each_pair_keeps_its_first_ones(spec, capacity, selection):
  state, traces = class_quota.empty(spec, capacity), update._cache_size()
  for task in range(3):
    batch, features = chunk_of(spec, task)
    state = update(state, batch, selection=selection, features=jnp.asarray(features))
    kept = jax.tree.map(lambda leaf: np.asarray(leaf), state.exemplars)
    found = {}
    for row in np.flatnonzero(kept.mask):
      pair = int(kept.label[row]), int(kept.task_id[row])
      found.setdefault(pair, []).append(int(kept.index[row]))
      own = helpers.examples(spec, pair[1], SIZE)
      np.testing.assert_array_equal(own.image[kept.index[row]], kept.image[row])
      assert own.label[kept.index[row]] == pair[0]
    wanted = expected(spec, capacity, selection, range(task + 1))
    assert list(found) == sorted(pair for pair, rows in wanted.items() if rows)
    assert found == {pair: rows for pair, rows in wanted.items() if rows}
    assert kept.mask.sum() == sum(map(len, wanted.values())) <= capacity
    assert not kept.image[~kept.mask].any()
    assert not np.diff(kept.mask.astype(int)).max() > 0  # empty rows are the last ones
  assert update._cache_size() <= traces + 1


def test_with_fewer_places_than_pairs_the_memory_is_empty_in_the_end():
  state, sizes = class_quota.empty(SPEC, 4), []
  for task in range(3):
    state = update(state, chunk_of(SPEC, task)[0])
    sizes.append(int(state.exemplars.mask.sum()))
  assert sizes == [4, 4, 0]
  with pytest.raises(ValueError, match=r"memory.capacity=4 .* icarl .* 6 pairs.*at least 6"):
    class_quota.total(SPEC, 4, "total", needed_by="icarl")
  assert class_quota.total(SPEC, 4, "total") == 4
  assert class_quota.total(SPEC, 0, "total", needed_by="icarl") == 0


def test_a_pair_that_comes_again_is_filled_up_behind_what_it_has():
  batch, _ = chunk_of(SPEC, 0)
  few = batch._replace(mask=batch.mask & (batch.index < 4))
  state = update(class_quota.empty(SPEC, 12), few)
  again = update(state, batch._replace(mask=batch.mask & (batch.index >= 4)))
  labels = helpers.examples(SPEC, 0, SIZE).label
  wanted = np.concatenate([np.flatnonzero(labels == label)[:6] for label in (0, 1)])
  np.testing.assert_array_equal(again.exemplars.index, wanted)
  full = update(again, batch._replace(index=batch.index - 50))
  np.testing.assert_array_equal(full.exemplars.index, wanted)


def test_what_is_refused():
  with pytest.raises(ValueError, match="selection='best' is unknown: choose one of"):
    class_quota.update(class_quota.empty(SPEC, 3), chunk_of(SPEC, 0)[0], selection="best")
  with pytest.raises(ValueError, match="needs the features"):
    class_quota.update(class_quota.empty(SPEC, 3), chunk_of(SPEC, 0)[0], selection="herding")
  with pytest.raises(ValueError, match="capacity=0 of a memory"):
    class_quota.empty(SPEC, 0)


def test_herding_of_several_groups_of_any_length():
  """Features that are not of length 1, groups of other sizes, rows that are not there."""
  rng = np.random.default_rng(0)
  features, group = rng.normal(size=(40, 3)), rng.choice([0, 2, 2, 3], 40)
  mask = rng.random(40) < 0.8
  ranks = herding.ranks(
    jnp.asarray(features, jnp.float32), jnp.asarray(group), jnp.asarray(mask), 9, groups=5
  )
  for number in range(5):
    rows = np.flatnonzero(mask & (group == number))
    left, order = list(rows), []
    while left and len(order) < 9:
      mean, k = features[rows].mean(axis=0), len(order) + 1
      sums = [np.linalg.norm(mean - features[[*order, i]].sum(axis=0) / k) for i in left]
      order.append(left.pop(int(np.argmin(sums))))
    np.testing.assert_array_equal(np.asarray(ranks)[order], np.arange(len(order)))
    np.testing.assert_array_equal(np.asarray(ranks)[left], 40)
  np.testing.assert_array_equal(np.asarray(ranks)[~mask], 40)
