"""The compiled programs: one trace, resumable chunks, devices that agree."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core import losses
from tagjax.core.chain import chain
from tagjax.core.method import lift
from tagjax.engine.layout import Layout
from tagjax.engine.learner import make_learner, serve
from tagjax.engine.programs import Programs
from tagjax.engine.train_loop import DEVICE_AXIS
from tagjax.input_pipeline import device_examples, order
from tagjax.methods import er
from tagjax.transforms import Columns, scale_by_tag

SGD = lift(optax.sgd(0.1))


def assert_equal(one, two):
  jax.tree.map(np.testing.assert_array_equal, *map(readable, (one, two)))


def readable(tree):
  def read(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

  return jax.tree.map(read, tree)


def test_one_trace_serves_tasks_chunks_epochs_and_seeds():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD)
  for seed in range(2):
    state = run.init(jax.random.key(seed)[None])
    for task, size in enumerate((23, 8, 17)):
      data = device_examples.to_device(helpers.examples(stream, task, size), 23)
      for start, stop in ((0, 1), (1, -(-size // 4))):
        state, _ = run.train(state, data, task, task, start, stop, phase="train")
      run.evaluate(run.prepare(state, task), data, task)
  assert run.traces == {"init": 1, "order": 1, ("train", "train"): 1, "evaluate": 1}
  assert run.compile_seconds > 0


def test_chunks_add_up_to_the_epoch():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD, dropout=0.3)
  data = device_examples.to_device(helpers.examples(stream, 0), 23)
  whole, total = run.train(run.init(jax.random.key(0)[None]), data, 0, 5, 0, 6, phase="train")
  parts = run.init(jax.random.key(0)[None])
  losses = 0.0
  for start, stop in ((0, 2), (2, 5), (5, 6)):
    parts, chunk = run.train(parts, data, 0, 5, start, stop, phase="train")
    losses += float(chunk.loss[0])
  assert_equal(whole, parts)
  assert total.steps == 6
  np.testing.assert_allclose(total.loss[0], losses, rtol=1e-6)


def test_the_order_is_kept_for_the_chunks_of_an_epoch_and_for_nothing_else():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD)
  tasks = [device_examples.to_device(helpers.examples(stream, t, 23 - 7 * t), 23) for t in range(3)]

  def steps(state, task, epoch):
    return run.train(state, tasks[task], task, epoch, 0, 2, phase="train")[0]

  def start(seed):
    return run.init(jax.random.key(seed)[None])

  def forget():
    steps(start(7), 2, 9)

  forget()
  expected = steps(start(1), 0, 5)
  forget()
  steps(start(0), 0, 5)
  assert_equal(steps(start(1), 0, 5).variables, expected.variables)
  for task, epoch in ((1, 5), (0, 6)):
    state = steps(start(0), 0, 5)
    copy = jax.tree.map(jnp.copy, state)
    found = steps(state, task, epoch)
    forget()
    assert_equal(found.variables, steps(copy, task, epoch).variables)


def test_an_epoch_shows_each_example_once_in_a_new_order():
  stream = helpers.spec()
  data = device_examples.to_device(helpers.examples(stream, 0, 10), 13)
  orders = [
    np.asarray(order.shuffled_rows(jax.random.key(epoch), 13, data.size, 4)) for epoch in range(2)
  ]
  for rows in orders:
    assert rows.shape == (4, 4)
    assert sorted(rows.ravel()[:10]) == list(range(10))
    assert (rows.ravel()[10:] == 13).all()
  assert (orders[0] != orders[1]).any()


def test_training_stops_at_the_step_that_is_not_finite():
  stream = helpers.spec()
  run = helpers.programs(stream, lift(optax.sgd(1e30)))
  data = device_examples.to_device(helpers.examples(stream, 0), 23)
  _, chunk = run.train(run.init(jax.random.key(0)[None]), data, 0, 0, 0, 6, phase="train")
  assert not np.isfinite(chunk.last_loss)
  assert chunk.steps < 6


def test_evaluation_counts_every_example_once():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD)
  state = helpers.train_stream(run, stream, jax.random.key(0))
  data = helpers.examples(stream, 1, 37, seed=3)
  result = run.evaluate(run.prepare(state, 2), device_examples.to_device(data, 50), 2)
  learner = run.single
  full = device_examples.take(device_examples.to_device(data, 37), np.arange(37))
  active = stream.classes[np.asarray(full.task_id)]
  logits = losses.mask_logits(learner.predict(serve(state), full, 2), active)
  loss = losses.cross_entropy(logits, full.label, active)
  assert result.correct == np.sum(np.argmax(logits, -1) == data.label)
  np.testing.assert_allclose(result.loss[0], np.mean(loss), rtol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_four_devices_equal_one(batch_norm):
  stream = helpers.spec()
  states = {}
  for devices in (1, 4):
    run = helpers.programs(stream, SGD, batch_size=8, num_devices=devices, batch_norm=batch_norm)
    states[devices] = helpers.train_stream(run, stream, jax.random.key(0), batch_size=8)
  first = jax.tree.map(lambda leaf: leaf[0], states[4])
  for replica in range(1, 4):
    assert_equal(first, jax.tree.map(lambda leaf, r=replica: leaf[r], states[4]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
    states[1].variables,
    first.variables,
  )


def test_a_state_of_shared_columns_survives_gathering():
  stream = helpers.spec()
  axis = DEVICE_AXIS

  def learner(columns, axis_name):
    method = lift(scale_by_tag(stream.num_tasks, accumulator_dtype="bfloat16", columns=columns))
    network = helpers.TinyModel(stream.num_outputs, axis_name=axis_name)
    return make_learner(network, method, stream, axis_name=axis_name)

  run = Programs(
    learner(Columns(axis, 4), axis),
    learner(Columns(), None),
    batch_size=8,
    eval_batch_size=16,
    layout=Layout(num_devices=4, share_columns=True),
  )
  state = helpers.train_stream(run, stream, jax.random.key(0), batch_size=8)
  whole = run.to_host(state)
  template = run.template(jax.random.key(0)[None])
  assert jax.tree.map(np.shape, whole) == jax.tree.map(np.shape, template)
  kinds = {type(leaf) for leaf in jax.tree.leaves(whole.method.first_moment)}
  assert kinds == {np.ndarray}  # they may be too large for one device
  assert_equal(run.to_devices(whole), state)


def test_state_survives_replication():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD, num_devices=2)
  state = run.init(jax.random.key(0)[None])
  assert_equal(run.replicate(run.unreplicate(state)), state)


@functools.cache
def keys_of_seeds():
  return jax.random.split(jax.random.key(5), 4)


def make_run(layout):
  """Programs with dropout and a memory."""
  stream = helpers.spec()
  method = chain(er(stream, capacity=2), optax.sgd(0.1))
  return helpers.programs(stream, method, layout=layout, dropout=0.2)


def side_by_side(run, keys):
  """Trains a stream; the collapsed state, and the figures of an evaluation and of more steps."""
  stream = helpers.spec()
  state = helpers.train_stream(run, stream, keys)
  data = device_examples.to_device(helpers.examples(stream, 1), 23)
  result = run.evaluate(run.prepare(state, 2), data, 2)
  state, chunk = run.train(state, data, 1, 9, 0, 3, phase="train")
  assert run.traces["train", "train"] == run.traces["evaluate"] == 1
  return run.unreplicate(state), chunk, result


@pytest.fixture(scope="module")
def alone():
  """Each seed by itself."""
  run = make_run(Layout())
  return [side_by_side(run, key) for key in keys_of_seeds()]


@pytest.mark.parametrize(
  "layout",
  [
    Layout(4),
    Layout(4, 4, share_lanes=True),
    Layout(4, 3, share_lanes=True),
    Layout(4, 2),
    Layout(4, 2, in_turn=True),
    Layout(4, in_turn=True),
    Layout(4, 3, share_lanes=True, in_turn=True),
  ],
  ids=lambda layout: "-".join(map(str, layout)),
)
def test_seeds_side_by_side_are_the_seeds_alone(layout, alone):
  state, chunk, result = side_by_side(make_run(layout), keys_of_seeds())
  for index, (own_state, own_chunk, own_result) in enumerate(alone):
    mine = jax.tree.map(lambda leaf, i=index: leaf[i], (state, chunk, result))
    if layout.batch_devices > 1:  # other dropout on each device: only what does not depend on it
      assert mine[0].step == own_state.step
      assert_equal(mine[0].method[0].memory.seen, own_state.method[0].memory.seen)
      continue
    one = (own_state, *jax.tree.map(lambda leaf: leaf[0], (own_chunk, own_result)))
    if layout.in_turn:
      assert_equal(mine, one)
      continue
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      *map(readable, (mine, one)),
    )


def test_seeds_differ(alone):
  weights = [jax.tree.leaves(state.variables)[0] for state, _, _ in alone]
  assert len({np.asarray(leaf).tobytes() for leaf in weights}) == 4


def test_a_seed_that_diverges_stops_those_beside_it():
  stream = helpers.spec()
  run = helpers.programs(stream, SGD, layout=Layout(2))
  data = device_examples.to_device(helpers.examples(stream, 0), 23)
  state = run.init(keys_of_seeds()[:2])
  params = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), state.variables["params"])
  state = state._replace(variables={**state.variables, "params": params})
  _, chunk = run.train(state, data, 0, 0, 0, 6, phase="train")
  assert np.isfinite(chunk.last_loss).tolist() == [True, False]
  assert chunk.steps.tolist() == [1, 1]


def test_lanes_in_turn_end_each_for_itself_and_what_fills_up_gets_no_turn():
  stream = helpers.spec()
  layout = Layout(3, 2, share_lanes=True, in_turn=True)
  run = helpers.programs(stream, SGD, layout=layout)
  data = device_examples.to_device(helpers.examples(stream, 0), 23)
  state = run.init(keys_of_seeds()[:3])
  params = jax.tree.map(lambda leaf: leaf.at[0, 1].set(np.nan), state.variables["params"])
  state = state._replace(variables={**state.variables, "params": params})
  state, chunk = run.train(state, data, 0, 0, 0, 6, phase="train")
  assert chunk.steps.tolist() == [6, 1, 6]
  assert np.isfinite(chunk.last_loss).tolist() == [True, False, True]
  assert state.step.tolist() == [[6, 1], [6, 0]]


@pytest.mark.parametrize(("lost", "steps"), [([1], 6), ([0, 1], 1)])
def test_seeds_of_a_grid_go_on_beside_one_that_diverges_until_none_is_left(lost, steps):
  stream = helpers.spec()
  run = helpers.programs(stream, SGD, layout=Layout(2), keep_going=True)
  data = device_examples.to_device(helpers.examples(stream, 0), 23)
  state = run.init(keys_of_seeds()[:2])
  params = jax.tree.map(
    lambda leaf: leaf.at[jnp.array(lost)].set(np.nan), state.variables["params"]
  )
  state = state._replace(variables={**state.variables, "params": params})
  state, chunk = run.train(state, data, 0, 0, 0, 6, phase="train")
  assert chunk.steps.tolist() == [1 if lane in lost else steps for lane in range(2)]
  if 0 not in lost:
    alone = helpers.programs(stream, SGD)
    expected, _ = alone.train(alone.init(keys_of_seeds()[:1]), data, 0, 0, 0, 6, phase="train")
    for a, b in zip(
      jax.tree.leaves(state.variables), jax.tree.leaves(expected.variables), strict=True
    ):
      np.testing.assert_allclose(a[0], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  "layout",
  [Layout(1), Layout(4), Layout(4, 4, share_lanes=True), Layout(4, 3, share_lanes=True)],
)
def test_the_stored_state_does_not_know_of_devices(layout):
  """A checkpoint of seeds on some devices can be restored on others."""
  stream = helpers.spec()
  run = helpers.programs(stream, SGD, layout=layout)
  state = run.init(keys_of_seeds()[: layout.num_lanes])
  stored, template = run.to_host(state), run.template(keys_of_seeds()[: layout.num_lanes])
  assert jax.tree.structure(stored) == jax.tree.structure(template)
  for leaf, like in zip(jax.tree.leaves(stored), jax.tree.leaves(template), strict=True):
    assert (leaf.shape, leaf.dtype) == (like.shape, like.dtype)
  assert_equal(run.to_devices(stored), state)
