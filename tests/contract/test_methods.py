"""Every method of the tables, alone and composed, through the compiled stream.

By default each method is tried alone with SGD, and each memory in a chain with three regularisers
and TAG; `-m product` composes each pair with every optimizer, and tries the other half on several
devices and side by side.
"""

import functools
import inspect
import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.config.settings import members
from tagjax.config.validate import validate
from tagjax.core.register import declared
from tagjax.input_pipeline import device_examples
from tagjax.models import JointEmbedding
from tagjax.transforms import optax_options

STREAM = helpers.spec()
ISOLATING = ("packnet", "hat", "den")
"""Modifiers for streams that tell tasks apart, which tests/contract/test_isolating.py tries."""
MODIFIERS = [
  name for name, one in declared("modifier").items() if one.needs_past and name not in ISOLATING
]
OPTIMIZERS = ["sgd", "rmsprop", "adagrad", "adam", "radam", "stable_sgd"] + [
  name for name in declared("optimizer") if name.startswith("tag")
]
SIZE, BATCH = 12, 4
REGULARISERS = ("", "ewc", "mas", "mas_local", "si", "rwalk", "lwf")
MEMORIES = ("", "er", "er_ace", "der", "derpp", "agem", "gem")
AROUND = ("itaml",)
"""Modifiers that hold the rest of the chain, and have no way to be off."""
REHEARSALS = ("icarl", "bic")
"""Methods with a loss of their own and exemplars in the training set."""
TOGETHER = ("+".join(REGULARISERS[1::2]), "+".join(REGULARISERS[2::2]))
"""Each regulariser once: compiling three at a time takes little longer than one."""
FROM_SCRATCH = ("gdumb",)
"""Methods that do not learn from the stream: what stands beside them has nothing to do."""
OF_THE_GRADIENT = ("weight_decay", "clip")
"""Modifiers that know nothing of tasks."""
OF_NETWORKS = ("factor_penalty", "lasem", "darts")
"""Modifiers for networks of their own, which tests/contract/test_searched.py tries."""
ONE_A_RUN = MEMORIES[1:] + REHEARSALS + AROUND + FROM_SCRATCH
OFF = {
  "ewc": {"ewc.strength": 0.0},
  "mas": {"mas.strength": 0.0},
  "mas_local": {"mas_local.strength": 0.0},
  "si": {"si.strength": 0.0},
  "rwalk": {"rwalk.strength": 0.0},
  "lwf": {"lwf.strength": 0.0},
  "weight_decay": {"weight_decay.strength": 0.0},
} | {name: {"memory.capacity": 0} for name in (*MEMORIES[1:], *REHEARSALS, *FROM_SCRATCH)}
# Strong enough to be seen after a few steps of a tiny network.
ON = {
  "ewc.strength": 10.0,
  "mas.strength": 10.0,
  "mas_local.strength": 10.0,
  "si.strength": 10.0,
  "memory.capacity": 2,
  "rwalk.update_every": 2,
  "weight_decay.strength": 0.1,
  "clip.max_norm": 0.1,
}


def spell(*names: str) -> str:
  return "+".join(name for name in names if name)


# Two at a time: what is compared is the whole state, so that one cannot hide behind the other.
PAIRED = [spell(*pair) for pair in itertools.zip_longest(REGULARISERS[1:], ONE_A_RUN, fillvalue="")]
PAIRED_BY_DEFAULT = [
  pair if place % 2 == 0 else pytest.param(pair, marks=pytest.mark.product)
  for place, pair in enumerate(PAIRED)
]
"""Every second one; `-m product` tries the others."""


def compositions():
  """All of them; those that are not tried by default are marked."""
  for index, memory in enumerate(MEMORIES[1:]):
    for group, regularisers in enumerate(TOGETHER):  # by default with one of the two
      yield _marked(spell(regularisers, memory, "tag"), default=index % 2 == group)
  for memory in REHEARSALS:  # what other regularisers add is added alike
    yield spell("ewc", memory, "tag")
  memories = MEMORIES + REHEARSALS
  for regulariser, memory, optimizer in itertools.product(REGULARISERS, memories, OPTIMIZERS):
    count = bool(regulariser) + bool(memory)
    default = count == 0 or (count == 1 and optimizer == "sgd")
    if memory not in REHEARSALS or (regulariser, optimizer) != ("ewc", "tag"):
      yield _marked(spell(regulariser, memory, optimizer), default)
  for around, regulariser, optimizer in itertools.product(AROUND, REGULARISERS, OPTIMIZERS):
    default = (regulariser, optimizer) in [("", "sgd"), ("lwf", "tag")]
    yield _marked(spell(around, regulariser, optimizer), default)
  for name in FROM_SCRATCH:
    yield spell(name, "sgd")


def _marked(method: str, default: bool):
  return method if default else pytest.param(method, marks=pytest.mark.product)


def optimizer_of(method: str) -> str:
  return members(method)[-1].name


def method_of(method: str, stream, **changes):
  rate = 0.1 if optimizer_of(method) in ("sgd", "stable_sgd") else 0.01
  values = {"learning_rate": rate, "batch_size": BATCH, **ON, **changes}
  validate({"method": method, **values})
  steps = [-(-SIZE // BATCH)] * stream.num_tasks
  return helpers.named_method(method, stream, steps, **values)


def programs(method: str, stream=STREAM, changes=(), **options):
  made = method_of(method, stream, **dict(changes))
  return helpers.programs(stream, made({}), batch_size=BATCH, **options)


def train(run, stream=STREAM, **options):
  return helpers.train_stream(
    run, stream, jax.random.key(0), size=SIZE, batch_size=BATCH, **options
  )


def params_of(state) -> list[np.ndarray]:
  return helpers.readable(state.variables["params"])


@functools.cache
def naive(optimizer: str, scenario: str = "task") -> list[np.ndarray]:
  stream = helpers.spec(scenario)
  return params_of(train(programs(optimizer, stream), stream))


def test_the_product_names_everything_that_is_declared():
  known = {*REGULARISERS[1:], *ONE_A_RUN, *OF_THE_GRADIENT, *OF_NETWORKS}
  assert known | set(ISOLATING) == set(declared("modifier"))
  assert known - {*OF_THE_GRADIENT, *OF_NETWORKS} == set(MODIFIERS)
  ours = {name for name, one in declared("optimizer").items() if not is_optax(one)}
  assert set(OPTIMIZERS) == ours


def is_optax(declaration) -> bool:
  """Whether it is one of Optax, of which tests/transforms tries every one."""
  return inspect.unwrap(declaration.make).__module__ == optax_options.__name__


@pytest.mark.parametrize("method", list(compositions()))
def test_every_composition(method):
  """It learns, and no program makes a NaN."""
  run = programs(method)
  with jax.debug_nans(True):
    state = train(run)
  after = params_of(state)
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in after)
  if method not in OPTIMIZERS:
    pairs = zip(after, naive(optimizer_of(method)), strict=True)
    assert any((a != b).any() for a, b in pairs)
  check_that_nothing_crosses_to_the_host(run, state)


def check_that_nothing_crosses_to_the_host(run, state):
  """Within a call of the training program."""
  data = device_examples.to_device(helpers.examples(STREAM, 0, SIZE), SIZE)
  epoch_id, numbers = (jnp.asarray(value, jnp.int32) for value in (9, [2, 0, 3]))
  order, compiled = run._compiled["order"], run._compiled["train", "train"]
  with jax.transfer_guard("disallow"):
    rows = order(state, data.size, epoch_id)
    (state, _), chunk = compiled((state, rows), data, numbers)
  assert int(chunk.steps) == 3


@pytest.mark.parametrize("method", ["weight_decay", "clip", "weight_decay+clip+er+tag"])
def test_modifiers_that_know_nothing_of_tasks(method):
  run = programs(method)
  after = params_of(train(run))
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in after)
  pairs = zip(after, naive(optimizer_of(method)), strict=True)
  assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("name", [*OFF])
def test_what_is_off_is_naive_bit_for_bit(name):
  state = train(programs(spell(name, "rmsprop"), changes=OFF[name].items()))
  for a, b in zip(params_of(state), naive("rmsprop"), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("name", "scenario"),
  [
    *((name, "class") for name in MODIFIERS),
    *(
      pytest.param(name, "domain", marks=pytest.mark.product)
      for name in MODIFIERS
      if name not in AROUND
    ),
  ],
)
def test_every_scenario(name, scenario):
  stream = helpers.spec(scenario)
  on = params_of(train(programs(spell(name, "sgd"), stream), stream))
  assert all(np.isfinite(leaf).all() for leaf in on)
  assert any((a != b).any() for a, b in zip(on, naive("sgd", scenario), strict=True))


@pytest.mark.parametrize("name", PAIRED_BY_DEFAULT)
def test_four_devices_agree_with_each_other_and_with_one(name):
  method = spell(name, "sgd")
  # Small steps: statistics of tiny batches would make much of a difference in rounding.
  options = {"changes": {"learning_rate": 0.01}.items(), "batch_norm": True}
  one, four = (
    # The last batch of a task leaves one device with nothing.
    helpers.train_stream(run, STREAM, jax.random.key(0), size=SIZE - 1, batch_size=BATCH)
    for run in (programs(method, **options), programs(method, **options, num_devices=4))
  )
  for leaf in helpers.readable((four.variables, four.method)):
    for replica in range(1, 4):
      np.testing.assert_array_equal(leaf[0], leaf[replica])
  both = [helpers.readable((state.variables, state.method)) for state in (one, four)]
  for a, b in zip(*both, strict=True):
    np.testing.assert_allclose(a, b[0], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", PAIRED_BY_DEFAULT)
def test_seeds_side_by_side_are_the_seeds_alone(name):
  learner = programs(spell(name, "sgd"), dropout=0.1).single
  tasks = [
    device_examples.to_device(helpers.examples(STREAM, task, SIZE), SIZE) for task in range(2)
  ]
  tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)

  def one_task(state, given):
    """Two steps of three, and the end of the task."""
    task_id, data = given
    rows = jnp.arange(SIZE).reshape(-1, BATCH)
    chunk = jax.vmap(lambda rows: device_examples.take(data, rows))(rows)
    state, _ = jax.lax.scan(
      lambda state, batch: learner.step(state, batch, task_id, phase="train"),
      state,
      jax.tree.map(lambda leaf: leaf[:2], chunk),
    )
    return learner.consolidate(state, chunk, task_id, phase="train"), None

  def one_seed(key):
    state, _ = jax.lax.scan(one_task, learner.init(key), (jnp.arange(2), tasks))
    return state.variables, state.method

  keys = jax.random.split(jax.random.key(0), 2)
  together, alone = jax.jit(jax.vmap(one_seed))(keys), jax.jit(one_seed)
  for index, key in enumerate(keys):
    for a, b in zip(helpers.readable(together), helpers.readable(alone(key)), strict=True):
      np.testing.assert_allclose(a[index], b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
  ("method", "scenario"), [("ewc+mas+agem+tag", "task"), ("si+rwalk+er", "class")]
)
def test_a_joint_embedding_is_a_model_like_any_other(method, scenario):
  stream = helpers.spec(scenario)
  rows = np.random.default_rng(0).uniform(size=(6, 3))
  model = JointEmbedding(helpers.TinyModel(6, batch_norm=True), rows)
  run = programs(method, stream, model=model)
  before = run.init(jnp.atleast_1d(jax.random.key(0)), None).variables
  before = jax.tree.map(np.asarray, before)  # training takes its place
  after = train(run, stream).variables
  assert all(count == 1 for count in run.traces.values())
  assert all(np.isfinite(leaf).all() for leaf in helpers.readable(after["params"]))
  for a, b in zip(*(map(helpers.readable, (before["params"], after["params"]))), strict=True):
    assert (a != b).any()
  np.testing.assert_array_equal(before["attributes"]["rows"], after["attributes"]["rows"])


@pytest.mark.parametrize("name", [name for name in REGULARISERS if name])
def test_what_is_kept_of_task_three_differs_from_task_two(name):
  run = programs(spell(name, "sgd"))
  two, three = (helpers.readable(train(run, tasks=range(tasks)).method[0]) for tasks in (2, 3))
  assert any((a != b).any() for a, b in zip(two, three, strict=True))


BY_DEFAULT = [one for one in compositions() if isinstance(one, str)]


@pytest.mark.parametrize("compositions", [BY_DEFAULT, PAIRED])
def test_the_compositions_hold_every_modifier(compositions):
  assert set(MODIFIERS) <= {name for method in compositions for name in method.split("+")}
