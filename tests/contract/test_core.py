"""The core can hold every kind of method: each sketch runs through the compiled stream."""

import functools
import types

import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sketches

from tagjax.core.chain import chain
from tagjax.core.method import Method, Phase, as_transform, identity, lift
from tagjax.core.types import Batch
from tagjax.engine.counts import Measures
from tagjax.engine.evaluate import without_answers
from tagjax.engine.layout import Layout
from tagjax.engine.learner import make_learner
from tagjax.input_pipeline import device_examples

STREAM = helpers.spec()
SGD = optax.sgd(0.1)
KINDS = {
  "plain": lift(SGD),
  "regulariser": chain(sketches.regulariser(1.0), SGD),
  "projection": chain(sketches.projection(8, STREAM), SGD),
  "inner_loop": sketches.inner_loop(0.1, STREAM),
  "rehearsing": chain(sketches.rehearsing(2, STREAM), SGD),
  "columns": sketches.only_current_task(SGD),
  "routed": sketches.routed(0.1),
  "phases": sketches.two_phases(0.1),
  "composed": chain(sketches.regulariser(1.0), sketches.projection(8, STREAM), optax.adam(0.01)),
}
# "composed" holds the first three; what is true of it on devices and side by side is true of them.
COMPOUND = [kind for kind in KINDS if kind not in ("plain", "regulariser", "projection")]
MODELS = {"columns": sketches.TaskColumns(3, 6), "routed": sketches.Routed(6)}
SIZE, BATCH = 13, 4


def programs(kind, **options):
  measures = None
  if kind == "inner_loop":  # which looks at whole runs
    measures = Measures(4, (1, 4, 8), top_k=2, confusion=True, details=True)
  return helpers.programs(STREAM, KINDS[kind], model=MODELS.get(kind), measures=measures, **options)


def params_of(state):
  return state.variables["params"]


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def run_through(kind, keys=None, **options):
  """Programs, the state after the stream, and the evaluation of each task."""
  run = programs(kind, **options)
  keys = jax.random.key(0) if keys is None else keys
  state = helpers.train_stream(run, STREAM, keys, size=SIZE, batch_size=BATCH)
  served = run.prepare(state, 2)
  figures = [
    run.evaluate(
      served, device_examples.to_device(helpers.examples(STREAM, task, 18, seed=1), 18), 2
    )
    for task in range(STREAM.num_tasks)
  ]
  assert all(count == 1 for count in run.traces.values())
  return run, state, figures


@functools.cache
def alone(kind):
  return run_through(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_one_trace_finite_and_moving(kind):
  run, state, figures = alone(kind)
  start = leaves(params_of(run.init(jax.random.key(0)[None])))
  after = leaves(params_of(state))
  assert all(np.isfinite(leaf).all() for leaf in after)
  assert any((a != b).any() for a, b in zip(start, after, strict=True))
  assert all(np.isfinite(figure.loss).all() for figure in figures)


@pytest.mark.parametrize("kind", COMPOUND)
def test_four_devices_agree_with_each_other_and_with_one(kind):
  _, state, figures = run_through(kind, num_devices=4)
  for leaf in leaves((state.variables, state.method)):
    for replica in range(1, 4):
      np.testing.assert_array_equal(leaf[0], leaf[replica])
  mine = (jax.tree.map(lambda leaf: leaf[0], (state.variables, state.method)), figures)
  _, state, figures = alone(kind)
  for a, b in zip(leaves(mine), leaves(((state.variables, state.method), figures)), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", COMPOUND)
def test_seeds_side_by_side_are_the_seeds_alone(kind):
  keys = jax.random.split(jax.random.key(7), 2).at[1].set(jax.random.key(0))
  _, state, figures = run_through(kind, keys, layout=Layout(2))
  mine = jax.tree.map(lambda leaf: leaf[1], ((state.variables, state.method), figures))
  _, state, figures = alone(kind)
  figures = jax.tree.map(lambda leaf: leaf[0], figures)
  for a, b in zip(leaves(mine), leaves(((state.variables, state.method), figures)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crosses_to_the_host_within_a_call(kind):
  run, state, _ = alone(kind)
  state = jax.tree.map(jnp.copy, state)  # it is donated
  data = device_examples.to_device(helpers.examples(STREAM, 0, SIZE), SIZE)
  tested = device_examples.to_device(helpers.examples(STREAM, 0, 18), 18)
  two, epoch_id, numbers = (jnp.asarray(value, jnp.int32) for value in (2, 9, [2, 0, 3]))
  phase = run.phases[0].name
  train, consolidate = run._compiled["train", phase], run._compiled["consolidate", phase]
  with jax.transfer_guard("disallow"):
    order = run._compiled["order"](state, data.size, epoch_id)
    (state, _), chunk = train((state, order), data, numbers)
    state, _ = consolidate(state, data, two)
  served = run.prepare(state, 2)
  with jax.transfer_guard("disallow"):
    run._compiled["evaluate"](served, tested, two)
  assert int(chunk.steps) == 3


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


def test_a_phase_may_have_epochs_of_its_own():
  run, state, _ = alone("phases")
  assert run.phases == (Phase("select", 2), Phase("expand"))
  assert state.step == 3 * STREAM.num_tasks * -(-SIZE // BATCH)


def test_preparing_changes_the_evaluation_and_not_the_state():
  run, state, figures = alone("inner_loop")
  before = leaves(params_of(state))
  run.prepare(state, 2)
  for a, b in zip(before, leaves(params_of(state)), strict=True):
    np.testing.assert_array_equal(a, b)
  default = Method._field_defaults
  plain = KINDS["inner_loop"]._replace(prepare=default["prepare"], predict=default["predict"])
  other = helpers.evaluate(helpers.programs(STREAM, plain), state, STREAM, 0, 2, size=18)
  assert figures[0].loss != other.loss


def test_what_does_not_prepare_serves_the_very_variables():
  run, state, _ = alone("plain")
  served = run.prepare(state, 2)
  for a, b in zip(*map(jax.tree.leaves, (served.served, state.variables)), strict=True):
    assert a is b
  assert "prepare" not in run.traces
  assert run.rehearsal_size(state) == 0
  assert run.rehearsal(state) is None
  assert "rehearsal_size" not in run.traces


class Unchanged(nn.Module):
  """Logits that are the images."""

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    return nn.Dense(image.shape[1], kernel_init=lambda key, shape, dtype: jnp.eye(*shape))(image)


def test_the_continuum_is_classified_by_its_vote():
  """Runs of 5 vote for the task of the largest mean; padding has no vote, nor have later tasks."""
  spec = helpers.spec("class")._replace(image_shape=(6,), image_dtype=np.dtype(np.float32))
  learner = make_learner(Unchanged(), sketches.inner_loop(0.1, spec), spec, max_value=1)
  served = learner.prepare(jax.jit(learner.init)(jax.random.key(0)), jnp.int32(1))
  image = np.random.default_rng(0).uniform(-1, 1, (40, 6)).astype(np.float32)
  mask = np.arange(40) < 38
  zero = jnp.zeros(40, jnp.int32)
  logits = learner.predict(served, Batch(image, zero, zero, mask), jnp.int32(1), continuum=5)
  for run in range(8):
    rows = range(5 * run, min(5 * run + 5, 38))
    task = np.argmax(image[rows].reshape(len(rows), 3, 2)[:, :2].max(axis=2).mean(axis=0))
    for row in rows:
      assert np.argmax(logits[row]) == 2 * task + np.argmax(image[row, 2 * task : 2 * task + 2])
  single = image.reshape(40, 3, 2)[:, :2].max(axis=2).argmax(axis=1).reshape(8, 5)
  assert (single != single[:, :1]).any()


def test_a_method_that_ignores_updates_must_stand_first():
  inner = KINDS["inner_loop"]
  with pytest.raises(ValueError, match="member 1 of the chain ignores its incoming updates"):
    chain(SGD, inner)
  assert chain(inner, optax.clip(1.0)).ignores_updates


def test_phases_must_agree():
  phases = sketches.two_phases(0.1)
  with pytest.raises(ValueError, match=r"different phases: \[\['one'\], \['select', 'expand'\]\]"):
    chain(phases, phases._replace(phases=(Phase("one"),)))
  assert chain(sketches.regulariser(1.0), phases).phases == phases.phases


@pytest.mark.parametrize(
  ("phases", "error", "words"),
  [
    (("train",), TypeError, r"write Phase\('train'\)"),
    ((), ValueError, "at least one phase"),
    ((Phase("one"), Phase("one", 2)), ValueError, "each with its own name"),
    ((Phase("one", 0),), ValueError, "at least one epoch"),
  ],
)
def test_wrong_phases_are_refused(phases, error, words):
  method = lift(SGD)._replace(phases=phases)
  with pytest.raises(error, match=words):
    chain(method, SGD)
  with pytest.raises(error, match=words):
    helpers.programs(STREAM, method)


def test_a_chain_joins_names_settings_and_requirements():
  def named(name, settings=None, requires=()):
    return identity()._replace(name=name, settings=settings or {}, requires=frozenset(requires))

  one, two = named("one", {"strength": 1.0}, ["mask"]), named("two", {"capacity": 3}, ["routing"])
  method = chain(chain(one, SGD), named(""), two)
  assert method.name == "one+two"
  assert method.settings == {"one": {"strength": 1.0}, "two": {"capacity": 3}}
  assert method.requires == {"mask", "routing"}
  with pytest.raises(ValueError, match="two members of the chain are called 'one'"):
    chain(one, one._replace(settings={"strength": 2.0}))


def test_preparations_are_threaded_and_one_member_predicts():
  def adding(value):
    return identity()._replace(prepare=lambda state, served, *, at: [*served, value])

  predicting = identity()._replace(name="last", predict=lambda served, *, at: (served, at.key))
  at = types.SimpleNamespace(key=jax.random.key(0))
  at._replace = lambda **changes: at
  method = chain(adding(1), adding(2), predicting, SGD)
  served = method.prepare(((), (), (), ()), [0], at=at)
  assert served == [0, 1, 2]
  assert method.predict(served, at=at)[0] == [0, 1, 2]
  with pytest.raises(ValueError, match=r"members 0 \(last\) and 1 \(last\) .* keep one"):
    chain(predicting, predicting)
  with pytest.raises(ValueError, match=r"member 1 of the chain prepares .* member 0 \(last\)"):
    chain(predicting, adding(1))


def test_exemplars_of_a_chain_are_put_one_after_another():
  batch = helpers.batch(STREAM, 0, 3)
  one = identity()._replace(rehearsal=lambda state: batch)
  none = identity()._replace(rehearsal=lambda state: None)
  assert chain(one, SGD).rehearsal(((), ())) is batch
  assert chain(none, SGD).rehearsal(((), ())) is None
  both = chain(one, none, one).rehearsal(((), (), ()))
  for leaf, own in zip(both, batch, strict=True):
    np.testing.assert_array_equal(leaf, np.concatenate([own, own]))


def test_what_a_method_requires_the_model_must_have():
  method = KINDS["routed"]
  make_learner(sketches.Routed(6), method, STREAM)
  with pytest.raises(ValueError, match="requires 'routing' of the model, and TinyModel does not"):
    make_learner(helpers.TinyModel(6), method, STREAM)
  named = chain(identity()._replace(requires=frozenset({"mask", "no"}), name="mine"), SGD)
  with pytest.raises(ValueError, match="the method mine requires 'no' of"):
    make_learner(helpers.TinyModel(6), named, STREAM)


def test_the_gradient_under_other_variables():
  seen = {}

  def update(updates, state, params, *, at):
    for name, gate in (("one", [1.0, 0.0]), ("other", [0.0, 1.0])):
      variables = {"routing": {"gate": jnp.array(gate)}}
      seen[name] = at.grad_fn(params, at.batch, variables=variables)
    seen["usual"] = at.grad_fn(params, at.batch)
    return updates, state

  method = identity()._replace(update=update)
  learner = make_learner(sketches.Routed(6), method, STREAM)
  state = learner.init(jax.random.key(0))
  after, _ = learner.step(state, helpers.batch(STREAM, 0), jnp.int32(0), phase="train")
  jax.tree.map(np.testing.assert_array_equal, seen["one"], seen["usual"])
  assert seen["other"][0] != seen["usual"][0]
  _, grad = seen["other"]
  assert (grad["route0"]["kernel"] == 0).all()
  assert (grad["route1"]["kernel"] != 0).any()
  jax.tree.map(
    np.testing.assert_array_equal, after.variables["routing"], state.variables["routing"]
  )


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_the_test_tells_nothing(scenario):
  """A model and a method that read all that they get: shuffled answers change no bit.

  They change only what the evaluator counts of tasks, once it has the answers.
  """
  stream = helpers.spec(scenario)
  outputs = stream.num_outputs

  def predict(served, *, at):
    logits, _ = at.apply_fn(served, at.batch)
    hint = jax.nn.one_hot(at.batch.label + at.batch.task_id, outputs)
    hint += jax.nn.one_hot(at.batch.index, outputs)
    runs = logits.reshape(-1, at.continuum, outputs).mean(axis=1)
    run = jnp.repeat(runs, at.continuum, axis=0)
    return logits + run + hint + jax.random.uniform(at.key, (outputs,))[None]

  method = lift(SGD)._replace(predict=predict)
  measures = Measures(4, (1, 3, 4), top_k=2, confusion=True, details=True)
  options = {"model": sketches.TaskColumns(3, outputs), "measures": measures}
  run = helpers.programs(stream, method, **options)
  state = helpers.train_stream(run, stream, jax.random.key(0), size=SIZE)
  data = device_examples.to_device(helpers.examples(stream, 1, SIZE, seed=1), SIZE)
  told = data._replace(task_id=jnp.asarray(np.arange(SIZE) % 3, jnp.int32))
  served = run.prepare(state, 2)
  own, other = (run.evaluate(served, examples, 2) for examples in (data, told))
  same = (np.asarray(own.loss) == np.asarray(other.loss)).all()
  assert same == (scenario != "task")
  if scenario == "class":
    assert (own.counts.task != other.counts.task).any()
    own, other = (
      figures.counts._replace(task=0, task_aware=0, plain_task_aware=0) for figures in (own, other)
    )
    jax.tree.map(np.testing.assert_array_equal, own, other)

  def answers(examples):
    batch = device_examples.take(examples, jnp.arange(SIZE))
    question = without_answers(stream, batch, jnp.int32(2))
    return np.asarray(jax.jit(run.single.predict)(served, question, 2))

  relabelled = data._replace(label=data.label[::-1], index=data.index[::-1])
  np.testing.assert_array_equal(answers(data), answers(relabelled))
  assert (answers(data) == answers(told)).all() == (scenario != "task")


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


def test_identity_has_no_state_and_returns_the_very_updates():
  updates = {"w": jnp.ones(2)}
  assert identity().init(updates) == ()
  after, state = identity().update(updates, (), updates, at=None)
  assert after is updates
  assert state == ()
