"""The core can hold every kind of method: each sketch runs through the compiled stream."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sketches

from tagjax.core.method import Method, as_transform, chain, lift, nothing

STREAM = helpers.spec()
SGD = optax.sgd(0.1)
KINDS = {
  "plain": lift(SGD),
  "regulariser": chain(sketches.regulariser(1.0), SGD),
  "projection": chain(sketches.projection(8, helpers.IMAGE), SGD),
  "inner_loop": sketches.inner_loop(0.1, STREAM.num_tasks),
  "columns": sketches.only_current_task(SGD),
  "phases": sketches.two_phases(0.1),
  "composed": chain(
    sketches.regulariser(1.0), sketches.projection(8, helpers.IMAGE), optax.adam(0.01)
  ),
}


def programs(kind, **options):
  model = sketches.TaskColumns(3, 6) if kind == "columns" else None
  return helpers.programs(STREAM, KINDS[kind], model=model, **options)


def params_of(state):
  return state.variables["params"]


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("kind", KINDS)
def test_one_trace_finite_and_moving(kind):
  run = programs(kind)
  start = leaves(params_of(run.init(jax.random.key(0)[None])))
  state = helpers.train_stream(run, STREAM, jax.random.key(0))
  assert all(count == 1 for count in run.traces.values())
  after = leaves(params_of(state))
  assert all(np.isfinite(leaf).all() for leaf in after)
  assert any((a != b).any() for a, b in zip(start, after, strict=True))


@pytest.mark.parametrize("kind", ["regulariser", "projection", "composed"])
def test_a_method_that_is_on_differs_from_naive(kind):
  key = jax.random.key(0)
  methods = KINDS | {"composed_naive": lift(optax.adam(0.01))}
  naive = "composed_naive" if kind == "composed" else "plain"
  states = [
    helpers.train_stream(helpers.programs(STREAM, methods[name]), STREAM, key)
    for name in (kind, naive)
  ]
  one, two = (leaves(params_of(state)) for state in states)
  assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(one, two, strict=True))


def test_strength_zero_is_naive_bit_for_bit():
  key = jax.random.key(0)
  off = helpers.programs(STREAM, chain(sketches.regulariser(0.0), SGD))
  naive = helpers.programs(STREAM, lift(SGD))
  one = helpers.train_stream(off, STREAM, key)
  two = helpers.train_stream(naive, STREAM, key)
  for a, b in zip(leaves(params_of(one)), leaves(params_of(two)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_importance_grows_with_every_task():
  run = programs("regulariser")
  key = jax.random.key(0)
  after = [
    helpers.train_stream(programs("regulariser"), STREAM, key, tasks=range(tasks))
    for tasks in (2, 3)
  ]
  del run
  two, three = (state.method[0] for state in after)
  assert (two.tasks, three.tasks) == (2, 3)
  pairs = zip(leaves(two.importance), leaves(three.importance), strict=True)
  assert all((b >= a).all() and (b > a).any() for a, b in pairs)
  for anchor, value in zip(leaves(three.anchor), leaves(params_of(after[1])), strict=True):
    np.testing.assert_array_equal(anchor, value)


def test_memory_holds_the_last_examples_and_is_equal_on_all_devices():
  run = programs("projection", num_devices=4, batch_size=8)
  state = helpers.train_stream(run, STREAM, jax.random.key(0), size=24, batch_size=8)
  for leaf in leaves(state.method):
    for replica in range(1, 4):
      np.testing.assert_array_equal(leaf[0], leaf[replica])
  memory = state.method[0].memory
  assert np.asarray(memory.mask[0]).sum() == 8
  assert (np.asarray(memory.task_id[0]) == 2).all()


def test_columns_of_other_tasks_stay_bit_for_bit():
  run = programs("columns")
  start = params_of(run.init(jax.random.key(0)[None]))
  start = jax.tree.map(np.asarray, start)
  after = params_of(helpers.train_stream(run, STREAM, jax.random.key(0), tasks=[1]))
  after = jax.tree.map(np.asarray, after)
  for name in start:
    np.testing.assert_array_equal(start[name][[0, 2]], after[name][[0, 2]])
    assert (start[name][1] != after[name][1]).any()


def test_each_phase_is_consolidated_once_a_task():
  run = programs("phases")
  state = helpers.train_stream(run, STREAM, jax.random.key(0))
  assert state.method == {"select": 3, "expand": 3}


def test_adaptation_changes_the_evaluation_and_not_the_state():
  run = programs("inner_loop")
  state = helpers.train_stream(run, STREAM, jax.random.key(0))
  before = leaves(params_of(state))
  from tagjax.input_pipeline import device_examples

  data = device_examples.to_device(helpers.examples(STREAM, 0), 23)
  adapted = run.evaluate(state, data, 0, 2).loss
  plain = helpers.programs(STREAM, KINDS["inner_loop"]._replace(adapt=Method(None, None).adapt))
  assert adapted != plain.evaluate(state, data, 0, 2).loss
  for a, b in zip(before, leaves(params_of(state)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_vmapped_seeds_equal_separate_seeds():
  """The step is a pure function: any number of seeds run side by side."""
  learner = programs("composed").single
  batch = helpers.batch(STREAM, 0)
  keys = jax.random.split(jax.random.key(0), 3)

  def two_steps(key):
    state = learner.init(key)
    for _ in range(2):
      state, _ = learner.step(state, batch, jnp.int32(1), phase="train")
    return params_of(state)

  together = jax.jit(jax.vmap(two_steps))(keys)
  for index, key in enumerate(keys):
    alone = jax.jit(two_steps)(key)
    jax.tree.map(
      lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6),
      together,
      alone,
    )


def test_replacing_method_must_stand_first():
  with pytest.raises(ValueError, match="member 1 of the chain ignores its incoming updates"):
    chain(SGD, sketches.inner_loop(0.1, 3))
  assert chain(sketches.inner_loop(0.1, 3), optax.clip(1.0)).replaces


def test_phases_must_agree():
  other = sketches.two_phases(0.1)._replace(phases=("one", "two"))
  with pytest.raises(ValueError, match="different phases"):
    chain(sketches.two_phases(0.1), other)
  assert chain(sketches.regulariser(1.0), sketches.two_phases(0.1)).phases == ("select", "expand")


def test_a_method_in_a_plain_optax_chain_fails_loudly():
  transform = optax.chain(as_transform(sketches.regulariser(1.0)), SGD)
  params = {"w": jnp.ones(2)}
  with pytest.raises(TypeError, match="at"):
    transform.update(params, transform.init(params), params)


def test_lift_refuses_what_is_no_transformation():
  with pytest.raises(TypeError, match="expected a tagjax Method"):
    lift(lambda grads: grads)
  with pytest.raises(ValueError, match="at least one"):
    chain()


def test_nothing_has_no_state_and_returns_the_very_updates():
  updates = {"w": jnp.ones(2)}
  assert nothing().init(updates) == ()
  after, state = nothing().update(updates, (), updates, at=None)
  assert after is updates
  assert state == ()
