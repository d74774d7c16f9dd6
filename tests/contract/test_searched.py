"""Networks of shared and own layers, and methods that search them, in the compiled stream."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax.core.errors import ConfigError
from tagjax.engine.learner import make_learner
from tagjax.models import LasemCNN, dfcnn, hps, prognn, prognn_mlp, tf
from tagjax.models.convolution import direct

STREAM = helpers.spec()
SIZES = {"channels": (3, 4), "kernels": (3, 3), "pools": (1, 2), "hidden": ()}
FACTORS = {"base_channels": (2, 2), "filter_sizes": (3, 3), "filter_channels": (2, 2)}
ONE_LAYER = {"channels": (3,), "kernels": (3,), "pools": (2,)}
SIZE, BATCH = 8, 4


def network(make, **options):
  factors = FACTORS if make is dfcnn else {}
  return make(STREAM, **{"dropout": 0.0, **SIZES, **factors, **options}).clone(convolve=direct)


def method_for(model, *members, optimizer=None):
  optimizer = optimizer or optax.sgd(0.1, momentum=0.9)
  stacked = tagjax.task_stacked(model, STREAM)
  return tagjax.chain(*members, tagjax.only_current_task(optimizer, stacked))


def train(model, method, tasks=None, **options):
  run = helpers.programs(STREAM, method, model=model, batch_size=BATCH, **options)
  key = jax.random.key(0)
  return run, helpers.train_stream(run, STREAM, key, size=SIZE, batch_size=BATCH, tasks=tasks)


SEARCHES = {
  "lasem": lambda: (network(hps, sharing="searched"), tagjax.methods.lasem()),
  "darts": lambda: (network(dfcnn, sharing="searched"), tagjax.methods.darts(learning_rate=0.1)),
}
OTHERS = {
  "factor_penalty": lambda: (network(tf, sharing="top-1"), tagjax.methods.factor_penalty()),
  "prognn": lambda: (network(prognn), tagjax.lift(optax.identity())),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_stream_is_one_program_and_all_is_finite(name):
  model, member = OTHERS[name]()
  run, state = train(model, method_for(model, member))
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.variables))


@pytest.mark.product
@pytest.mark.parametrize("name", SEARCHES)
def test_the_stream_is_one_program_which_goes_on_and_four_devices_agree_with_one(name):
  model, member = SEARCHES[name]()
  method = method_for(model, member, optimizer=optax.sgd(0.01))
  (run, one), (_, four) = (train(model, method, num_devices=devices) for devices in (1, 4))
  options = {"size": SIZE, "batch_size": BATCH, "stops": True}
  stopped = helpers.train_stream(run, STREAM, jax.random.key(0), **options)
  assert all(count == 1 for count in run.traces.values())
  for a, b in zip(*map(helpers.readable, (one, stopped)), strict=True):
    np.testing.assert_array_equal(a, b)
  pairs = zip(
    *(jax.tree.leaves((state.variables, state.method)) for state in (one, four)), strict=True
  )
  for a, b in pairs:
    assert np.isfinite(a).all()
    for replica in range(1, 4):
      np.testing.assert_array_equal(b[0], b[replica])
    np.testing.assert_allclose(a, b[0], rtol=2e-4, atol=2e-5)


ARCHITECTURES = {
  **{
    make.__name__: (functools.partial(network, make, sharing="top-1"), "")
    for make in (hps, tf, dfcnn)
  },
  "prognn": (functools.partial(network, prognn), ""),
  "prognn_mlp": (functools.partial(prognn_mlp, STREAM, hidden=(5,)), ""),
  "lasem": (functools.partial(network, hps, sharing="searched"), "lasem+"),
  "darts": (functools.partial(network, dfcnn, sharing="searched"), "darts+"),
}


def chained(name, chain):
  """The network, and the method that the command line makes of the chain."""
  make, search = ARCHITECTURES[name]
  model = make()
  rate = 0.05 if chain.endswith("sgd") else 0.005
  options = {"memory__capacity": 2, "learning_rate": rate, "darts__learning_rate": 0.1}
  stacked = tagjax.task_stacked(model, STREAM)
  return model, helpers.named_method(search + chain, STREAM, (2,) * 3, stacked, **options)({})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_takes_regularisers_replay_and_optimizers(name):
  """A step is traced, not compiled: its state keeps shapes and dtypes."""
  model, method = chained(name, "ewc+er+tag")
  learner = make_learner(model, method, STREAM)
  before = jax.eval_shape(learner.init, jax.random.key(0))
  step = functools.partial(learner.step, phase="train")
  batch = helpers.batch(STREAM, 0, BATCH)
  after, _ = jax.eval_shape(step, before, batch, jnp.int32(0))
  assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
    lambda leaf: (leaf.shape, leaf.dtype), before
  )


@pytest.mark.product
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "tag"])
@pytest.mark.parametrize("other", ["", "ewc+", "er+"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_trains_with_each_of_them(name, other, optimizer):
  model, method = chained(name, other + optimizer)
  run, state = train(model, method)
  fresh = run.init(jax.random.key(0)[None]).variables
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.variables))
  pairs = zip(*(jax.tree.leaves(one["params"]) for one in (fresh, state.variables)), strict=True)
  assert any((a != b).any() for a, b in pairs)


def test_what_stands_before_a_search_is_refused():
  with pytest.raises(ValueError, match=r"member 1 \(lasem\) of the chain ignores its incoming"):
    helpers.named_method("ewc+lasem+sgd", STREAM)({})


@pytest.mark.product
@pytest.mark.parametrize("name", SEARCHES)
def test_seeds_side_by_side_are_the_seeds_alone(name):
  model = network(hps, sharing="searched", dropout=0.2, **ONE_LAYER)
  _, member = SEARCHES[name]()
  learner = make_learner(model, method_for(model, member), STREAM)

  def one_seed(key):
    state = learner.init(key)
    state, _ = learner.step(state, helpers.batch(STREAM, 0, BATCH), jnp.int32(0), phase="train")
    state = learner.consolidate(state, None, jnp.int32(0), phase="train")
    state, _ = learner.step(state, helpers.batch(STREAM, 1, BATCH), jnp.int32(1), phase="train")
    return state.variables["params"]

  keys = jax.random.split(jax.random.key(0), 2)
  together, alone = jax.jit(jax.vmap(one_seed))(keys), jax.jit(one_seed)
  for index, key in enumerate(keys):
    pairs = zip(jax.tree.leaves(together), jax.tree.leaves(alone(key)), strict=True)
    for a, b in pairs:
      np.testing.assert_allclose(a[index], b, rtol=1e-3, atol=1e-5)


@functools.cache
def none_shared():
  model = network(hps, sharing="none")
  return helpers.programs(STREAM, method_for(model), model=model, batch_size=BATCH)


def after(tasks):
  """With the order of examples that each task has in the whole stream."""
  run, key, sizes = none_shared(), jax.random.key(0), {"size": SIZE, "batch_size": BATCH}
  return helpers.train_stream(run, STREAM, key, tasks=tasks, first_epoch=tasks[0], **sizes)


def test_without_sharing_each_task_is_a_network_trained_on_it_alone_to_the_bit():
  """So nothing is forgotten: other tasks make no difference to a task's rows, nor to its logits."""
  whole, run = after(range(3)), none_shared()
  for task in (0, 2):
    alone = after([task])
    for a, b in zip(
      jax.tree.leaves(alone.variables), jax.tree.leaves(whole.variables), strict=True
    ):
      np.testing.assert_array_equal(a[task], b[task])
      assert (np.asarray(a)[task - 1] != np.asarray(b)[task - 1]).any()
    figures = [helpers.evaluate(run, state, STREAM, task, 2) for state in (alone, whole)]
    for a, b in zip(*map(jax.tree.leaves, figures), strict=True):
      np.testing.assert_array_equal(a, b)


def test_all_layers_shared_are_a_network_with_one_head_for_all():
  """Without hidden layers: the rows of the head are columns of one head."""
  model, plain = network(hps, sharing="all"), LasemCNN(STREAM.num_outputs, **SIZES, dropout=0.0)
  learners = [
    make_learner(model, method_for(model, optimizer=optax.sgd(0.1)), STREAM),
    make_learner(plain.clone(convolve=direct), tagjax.lift(optax.sgd(0.1)), STREAM),
  ]
  ours, theirs = (jax.jit(learner.init)(jax.random.key(0)) for learner in learners)
  params = ours.variables["params"]
  head = params["head"]["task"]
  theirs = theirs._replace(
    variables={
      "params": {
        "head": {
          "kernel": jnp.concatenate(list(head["kernel"]), axis=1),
          "bias": head["bias"].reshape(-1),
        },
        **{f"conv{layer}": params[f"conv{layer}"]["shared"] for layer in range(2)},
      }
    }
  )
  steps = [jax.jit(functools.partial(learner.step, phase="train")) for learner in learners]
  for task in (0, 1, 0):
    batch = helpers.batch(STREAM, task, BATCH)
    ours, _ = steps[0](ours, batch, jnp.int32(task))
    theirs, _ = steps[1](theirs, batch, jnp.int32(task))
  for layer in range(2):
    one, two = (
      ours.variables["params"][f"conv{layer}"]["shared"],
      theirs.variables["params"][f"conv{layer}"],
    )
    for leaf in ("kernel", "bias"):
      np.testing.assert_allclose(one[leaf], two[leaf], rtol=1e-5, atol=1e-6)
  kernel = jnp.concatenate(list(ours.variables["params"]["head"]["task"]["kernel"]), axis=1)
  np.testing.assert_allclose(
    kernel, theirs.variables["params"]["head"]["kernel"], rtol=1e-5, atol=1e-6
  )


def test_lasem_with_one_configuration_is_the_static_network():
  searched, static = network(hps, sharing="searched"), network(hps, sharing="top-1")
  ours = method_for(searched, tagjax.methods.lasem(candidates=("top-1",)))
  learners = [
    make_learner(searched, ours, STREAM),
    make_learner(static, method_for(static), STREAM),
  ]
  states = [jax.jit(learner.init)(jax.random.key(0)) for learner in learners]
  searched_params = states[0].variables["params"]
  shape = states[1].variables["params"]
  chosen = {
    name: {part: searched_params[name][part] for part in layer} for name, layer in shape.items()
  }
  states[1] = states[1]._replace(variables={"params": chosen})
  steps = [jax.jit(functools.partial(learner.step, phase="train")) for learner in learners]
  ends = [jax.jit(functools.partial(learner.consolidate, phase="train")) for learner in learners]
  for task in (0, 1):
    for place in range(2):
      state = states[place]
      for _ in range(2):
        state, _ = steps[place](state, helpers.batch(STREAM, task, BATCH), jnp.int32(task))
      states[place] = ends[place](state, None, jnp.int32(task))
  for name, layer in states[1].variables["params"].items():
    for part, values in layer.items():
      for leaf, value in values.items():
        found = states[0].variables["params"][name][part][leaf]
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def test_a_network_that_is_not_searched_is_refused():
  model = network(hps, sharing="top-1")
  with pytest.raises(
    ValueError, match=r"requires 'routing' of the model, and TransferCNN .* sharing='searched'"
  ):
    make_learner(model, method_for(model, tagjax.methods.lasem()), STREAM)


def test_a_searched_network_that_nothing_searches_is_refused():
  image, label = np.zeros((4, SIZE, SIZE, 3), np.float32), np.array([0, 1, 0, 1])
  stream = tagjax.Stream.from_arrays("mine", [(image, label, image, label)])
  model = hps(stream.spec, sharing="searched", **SIZES)
  with pytest.raises(ConfigError, match=r"are to be searched .* the method does not search"):
    tagjax.fit(stream, model, optax.sgd(0.1), progress=False)
