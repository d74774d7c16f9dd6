"""Methods that give each task parameters of its own, in the compiled stream.

What an earlier task computes does not change, to the bit, whatever they are composed with.
"""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax.core.errors import ConfigError
from tagjax.core.method import EpochStep
from tagjax.engine.learner import make_learner
from tagjax.input_pipeline import device_examples
from tagjax.models import MLP, attention_cnn, attention_mlp, expandable_cnn, expandable_mlp
from tagjax.models.convolution import direct

STREAM = helpers.spec()
SIZE, BATCH = 12, 4
CONVOLUTION = {"channels": (4,), "kernels": (3,), "pools": (2,), "dropout": 0.0}
NETWORKS = {
  "packnet": lambda: MLP(STREAM.num_outputs, hidden=(8,)),
  # Gates that are 0 or 1 in float32 wherever embeddings are not all but 0.
  "hat": lambda: attention_mlp(STREAM, hidden=(8, 6), scale=1e6),
  "den": lambda: expandable_mlp(STREAM, hidden=(8, 6)),
}
CONVOLUTIONAL = {
  "hat": lambda: attention_cnn(STREAM, hidden=(5,), scale=1e6, **CONVOLUTION),
  "den": lambda: expandable_cnn(STREAM, hidden=(5,), **CONVOLUTION),
}
OPTIONS = {
  "learning_rate": 0.05,
  "ewc.strength": 10.0,
  "memory.capacity": 2,
  "den.split_above": 0.0,  # every unit that moves is split, or set back
  "den.expand_by": 2,
}


def made(method: str, network, **changes):
  stacked = tagjax.task_stacked(network, STREAM)
  options = {**OPTIONS, **changes}
  return helpers.named_method(method, STREAM, [SIZE // BATCH] * 3, stacked, **options)({})


def run_of(method: str, network=None, num_devices=1, **changes):
  network = network or NETWORKS[method.split("+")[0]]()
  own = made(method, network, **changes)
  options = {"model": network, "batch_size": BATCH, "num_devices": num_devices}
  return helpers.programs(STREAM, own, **options)


def train(run, tasks=None, size=SIZE, stops=False):
  options = {"size": size, "batch_size": BATCH, "tasks": tasks, "told": True, "stops": stops}
  return helpers.train_stream(run, STREAM, jax.random.key(0), **options)


def compositions():
  """Each of them with SGD, RMSProp and TAG, and with nothing, EWC and ER."""
  for name in NETWORKS:
    for optimizer in ("sgd", "rmsprop", "tag"):
      for other in ("", "ewc+", "er+") if name == "den" else ("", "ewc+"):
        tried = other == "ewc+" and optimizer == "tag"
        marks = [] if tried else [pytest.mark.product]
        yield pytest.param(f"{name}+{other}{optimizer}", None, marks=marks)
  for name, network in CONVOLUTIONAL.items():
    yield pytest.param(f"{name}+sgd", network, marks=[pytest.mark.product])


@pytest.mark.parametrize(("method", "network"), list(compositions()))
def test_what_earlier_tasks_compute_does_not_change_to_the_bit(method, network):
  network = network and network().clone(convolve=direct)
  run = run_of(method, network, learning_rate=0.005 if "tag" in method else 0.05)
  first = train(run, [0])
  before = helpers.evaluate(run, first, STREAM, 0, 0)
  last = train(run)
  after = helpers.evaluate(run, last, STREAM, 0, 2)
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in helpers.readable(last.variables))
  np.testing.assert_array_equal(before.loss, after.loss)
  moved = zip(*map(jax.tree.leaves, (first.variables, last.variables)), strict=True)
  assert any((a != b).any() for a, b in moved)


@pytest.mark.product
@pytest.mark.parametrize("name", ["den", "hat", "packnet"])
def test_a_stopped_stream_goes_on_and_four_devices_agree_with_each_other_and_with_one(name):
  # The last batch of a task leaves one device with nothing.
  runs = [run_of(f"{name}+sgd", num_devices=number) for number in (1, 4)]
  one, four = (train(run, [0, 1], SIZE - 1) for run in runs)
  stopped = train(runs[0], [0, 1], SIZE - 1, stops=True)
  for a, b in zip(*map(helpers.readable, (one, stopped)), strict=True):
    np.testing.assert_array_equal(a, b)
  for leaf in helpers.readable((four.variables, four.method)):
    for replica in range(1, 4):
      np.testing.assert_array_equal(leaf[0], leaf[replica])
  both = [helpers.readable((state.variables, state.method)) for state in (one, four)]
  for a, b in zip(*both, strict=True):
    np.testing.assert_allclose(a, b[0], rtol=2e-4, atol=2e-5)


@pytest.mark.product
@pytest.mark.parametrize("name", ["den", "hat", "packnet"])
def test_seeds_side_by_side_are_the_seeds_alone(name):
  network = NETWORKS[name]()
  learner = make_learner(network, made(f"{name}+sgd", network), STREAM)
  tasks = [device_examples.to_device(helpers.examples(STREAM, t, SIZE), SIZE) for t in range(2)]
  tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)

  def one_task(state, given):
    task_id, data = given
    rows = jnp.arange(SIZE).reshape(-1, BATCH)
    chunk = jax.vmap(lambda rows: device_examples.take(data, rows))(rows)
    for phase in learner.phases:

      def step(state, turn, phase=phase):
        number, batch = turn
        where = EpochStep(task_id, task_id, 0, 0, number, 3)
        return learner.step(state, batch, task_id, phase=phase.name, epoch_step=where)

      state, _ = jax.lax.scan(step, state, (jnp.arange(3), chunk))
      state = learner.consolidate(state, chunk, task_id, phase=phase.name)
    return state, None

  def one_seed(key):
    state, _ = jax.lax.scan(one_task, learner.init(key), (jnp.arange(2), tasks))
    return state.variables, state.method

  keys = jax.random.split(jax.random.key(0), 2)
  together, alone = jax.jit(jax.vmap(one_seed))(keys), jax.jit(one_seed)
  for index, key in enumerate(keys):
    for a, b in zip(helpers.readable(together), helpers.readable(alone(key)), strict=True):
      np.testing.assert_allclose(a[index], b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS])
@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_a_stream_that_does_not_tell_tasks_is_refused(name, scenario):
  text = f"parameters of its own, and scenario='{scenario}' does not tell the task of a test"
  with pytest.raises(ConfigError, match=text):
    helpers.named_method(f"{name}+sgd", helpers.spec(scenario), [3] * 3)({})


@pytest.mark.parametrize("name", ["packnet", "hat"])
def test_replay_has_nothing_to_train(name):
  network = NETWORKS[name]()
  text = f"keeps examples of earlier tasks, and {name} freezes their parameters"
  with pytest.raises(ConfigError, match=text):
    made(f"{name}+er+sgd", network).init(network_params(network))


@pytest.mark.parametrize("name", [*NETWORKS])
@pytest.mark.parametrize(
  ("other", "text"),
  [("icarl", "mixes exemplars of earlier tasks"), ("itaml", "makes its step from scratch")],
)
def test_what_cannot_stand_within_is_refused(name, other, text):
  with pytest.raises(ConfigError, match=text):
    made(f"{name}+{other}+sgd", NETWORKS[name]())


def network_params(network):
  learner = make_learner(network, tagjax.lift(optax.sgd(0.1)), STREAM)
  return jax.eval_shape(learner.init, jax.random.key(0)).variables["params"]


@pytest.mark.parametrize(
  ("name", "wanted", "those"), [("hat", "attention", "attention"), ("den", "stamps", "expandable")]
)
def test_a_network_without_gates_is_refused(name, wanted, those):
  network = NETWORKS["packnet"]()
  text = (
    f"requires '{wanted}' of the model, and MLP does not have it: .* "
    f"or choose one of {those}_cnn, {those}_mlp$"
  )
  with pytest.raises(ValueError, match=text):
    make_learner(network, made(f"{name}+sgd", network), STREAM)
