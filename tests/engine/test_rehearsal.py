"""Exemplars in a task's training set: their order, in memory and streamed."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sketches

from tagjax import methods
from tagjax.benchmarks import TaskExamples
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.method import identity, lift
from tagjax.core.types import Batch
from tagjax.engine.layout import Layout
from tagjax.input_pipeline import device_examples, order
from tagjax.input_pipeline.data_source import training_source

STREAM = helpers.spec()
SIZES, CAPACITY, BATCH = (9, 14, 11), 14, 4
KEY = jax.random.key(3)


def examples_of(task):
  return TaskExamples(*helpers.examples(STREAM, task, SIZES[task]))


def exemplars(mask):
  """Images that say which exemplar they are of."""
  count = len(mask)
  image = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None], (count, 3))
  index = np.arange(count) + 30
  return Batch(image, np.arange(count), np.full(count, 7), np.array(mask), index)


@pytest.mark.parametrize("rehearsed", [None, [True, False, True], [False] * 3])
def test_an_epoch_shows_what_is_there_once_and_then_padding(rehearsed):
  given = None if rehearsed is None else jnp.array(rehearsed)
  rows = np.asarray(order.shuffled_rows(KEY, 6, jnp.int32(4), 4, given))
  there = [*range(4), *(6 + m for m, is_there in enumerate(rehearsed or []) if is_there)]
  total = 6 + len(rehearsed or [])
  assert rows.shape == (-(-total // 4), 4)
  assert sorted(rows.ravel()[: len(there)]) == there
  assert (rows.ravel()[len(there) :] == total).all()
  draws = np.asarray(jax.random.uniform(KEY, (total,)))[there]
  np.testing.assert_array_equal(rows.ravel()[: len(there)], np.array(there)[np.argsort(draws)])


def test_batches_mix_examples_and_exemplars():
  task = TaskExamples(np.full((5, 3), 99, np.uint8), np.arange(50, 55), 1)
  examples = device_examples.to_device(task, 6)
  rows = jnp.array([[6, 4, 7, 8], [9, 5, 0, 8]])
  batch = device_examples.take(examples, rows, exemplars([True, False, True]))
  np.testing.assert_array_equal(batch.mask, [[1, 1, 0, 1], [0, 0, 1, 1]])
  seen = np.asarray(batch.label)[np.asarray(batch.mask)]
  np.testing.assert_array_equal(seen, [0, 54, 2, 50, 2])
  np.testing.assert_array_equal(
    np.asarray(batch.image)[np.asarray(batch.mask)][:, 0], [0, 99, 2, 99, 2]
  )
  np.testing.assert_array_equal(np.asarray(batch.task_id)[np.asarray(batch.mask)], [7, 1, 7, 1, 7])
  np.testing.assert_array_equal(np.asarray(batch.index)[np.asarray(batch.mask)], [30, 4, 32, 0, 32])


def test_exemplars_of_another_dtype_are_refused():
  examples = device_examples.to_device(
    TaskExamples(np.ones((5, 3), np.float32), np.arange(5), 1), 5
  )
  with pytest.raises(ValueError, match=r"rehearsal gives images of uint8 \(3,\).* float32 \(3,\)"):
    device_examples.take(examples, jnp.arange(4), exemplars([True]))


def make_programs(rehearsing=None, **options):
  method = chain(rehearsing or sketches.rehearsing(2, STREAM), optax.sgd(0.1, momentum=0.9))
  return helpers.programs(STREAM, method, dropout=0.2, batch_size=BATCH, **options)


def train(run, *, streamed, break_at=None):
  """Two epochs of each task in chunks; `break_at`: a new source goes on after so many chunks."""

  def source():
    return training_source(
      examples_of, capacity=CAPACITY, batch_size=BATCH, chunk_steps=3, streamed=streamed
    )

  state, data, chunks, epoch_id = run.init(KEY[None]), source(), 0, 0
  shown = []
  for task in range(3):
    size = SIZES[task] + run.rehearsal_size(state)
    shown.append(size)
    steps = -(-size // BATCH)
    for _ in range(2):
      for start in range(0, steps, 3):
        if chunks == break_at:
          data = source()
        window, *bounds = data.chunk(
          task,
          epoch_id,
          start,
          min(start + 3, steps),
          key=state.key,
          exemplars=run.rehearsal(state) if data.in_order else None,
        )
        state, _ = run.train(state, window, task, epoch_id, *bounds, phase="train")
        chunks += 1
      epoch_id += 1
    window = data.boundary(task, state.step, key=state.key, num_examples=run.num_boundary_examples)
    state = run.consolidate(state, window, task, phase="train")
  return state, shown


@pytest.fixture(scope="module")
def in_memory():
  return train(make_programs(), streamed=False)


def test_every_later_task_is_longer(in_memory):
  state, shown = in_memory
  assert shown == [9, 14 + 4, 11 + 8]  # two exemplars of each of two classes a task
  assert state.step == 2 * (3 + 5 + 5)
  memory = state.method[0]
  np.testing.assert_array_equal(memory.label, np.repeat(np.arange(6), 2))
  for row in range(12):
    own = helpers.examples(STREAM, row // 4, SIZES[row // 4])
    matches = (own.image == np.asarray(memory.image[row])).all(axis=(1, 2, 3))
    assert matches[memory.index[row]]
    assert own.label[matches].tolist() == [row // 2]


@pytest.mark.parametrize("break_at", [None, 3])
def test_streamed_is_in_memory_to_the_bit_from_any_start(in_memory, break_at):
  state, shown = train(make_programs(in_order=True), streamed=True, break_at=break_at)
  assert shown == in_memory[1]
  for one, two in zip(helpers.readable(state), helpers.readable(in_memory[0]), strict=True):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make", [methods.icarl, methods.bic])
def test_methods_that_choose_by_data_set_row_are_the_same_streamed(make):
  method = make(STREAM._replace(scenario="class"), capacity=13, per="total", selection="first")
  whole, shown = train(make_programs(method), streamed=False)
  streamed, shown_streamed = train(make_programs(method, in_order=True), streamed=True, break_at=4)
  assert shown == shown_streamed
  assert shown[2] > SIZES[2]
  # Up to rounding: in the two programs BiC's correction is fitted by other sums.
  for one, two in zip(helpers.readable(whole), helpers.readable(streamed), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_chunks_of_memory_go_on_anywhere(in_memory):
  state, _ = train(make_programs(), streamed=False, break_at=5)
  for one, two in zip(helpers.readable(state), helpers.readable(in_memory[0]), strict=True):
    np.testing.assert_array_equal(one, two)


def test_rehearsal_changes_what_is_learned(in_memory):
  method = chain(identity(), optax.sgd(0.1, momentum=0.9))
  run = helpers.programs(STREAM, method, dropout=0.2, batch_size=BATCH)
  other, shown = train(run, streamed=False)
  assert tuple(shown) == SIZES
  pairs = zip(*map(helpers.readable, (other.variables, in_memory[0].variables)), strict=True)
  assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("layout", [Layout(2), Layout(4, 2, share_lanes=True), Layout(1, 4)])
def test_sizes_on_several_devices_and_side_by_side(layout):
  run = make_programs(layout=layout)
  data = device_examples.to_device(helpers.examples(STREAM, 0, 12), 12)
  state = run.init(jax.random.split(KEY, layout.num_lanes))
  state = run.consolidate(state, data, 0, phase="train")
  assert run.rehearsal_size(state) == 4
  assert run.rehearsal(state).mask.sum() == 4 * layout.num_lanes
  assert run.traces["rehearsal_size"] == run.traces["rehearsal"] == 1


def test_seeds_side_by_side_must_rehearse_as_many():
  def init(params):
    del params
    return jnp.int32(0)

  def rehearsal(state):
    return Batch(
      jnp.zeros((3, *helpers.IMAGE), jnp.uint8),
      *jnp.zeros((2, 3), jnp.int32),
      jnp.arange(3) < state,
    )

  method = lift(optax.sgd(0.1))._replace(init=init, rehearsal=rehearsal)
  run = helpers.programs(STREAM, method, layout=Layout(2))
  state = run.init(jax.random.split(KEY, 2))
  assert run.rehearsal_size(state) == 0
  state = state._replace(method=jnp.array([1, 2]))
  with pytest.raises(ConfigError, match=r"rehearse \[1, 2\] exemplars.*seed_axis='loop'"):
    run.rehearsal_size(state)
