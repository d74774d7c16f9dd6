"""Models from outside: what is accepted, what they are given, what is refused."""

import functools

import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import tagjax
from tagjax.core.chain import chain
from tagjax.core.method import Method, identity, lift
from tagjax.core.types import Batch
from tagjax.engine.batch_statistics import (
  check_batch_statistics,
  check_padding_of_method,
  counts_padding,
)
from tagjax.engine.learner import make_learner, serve
from tagjax.engine.model import (
  Model,
  as_model,
  checked_model,
  initial_variables,
  task_stacked,
  variable_shapes,
)

STREAM = helpers.spec()
K = STREAM.num_outputs
PIXELS = 16


def flat(image):
  return image.reshape(image.shape[0], -1)


class Plain(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(K)(flat(x))


class Dropped(nn.Module):
  """Positional `train`, and a random stream of its own."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dropout(0.5, deterministic=not train)(nn.Dense(8)(flat(x)))
    if train:
      x = x + jax.random.normal(self.make_rng("noise"), x.shape)
    return nn.Dense(K)(x)


class Deterministic(nn.Module):
  @nn.compact
  def __call__(self, x, *, deterministic):
    return nn.Dense(K)(nn.Dropout(0.5)(flat(x), deterministic=deterministic))


class FlaxBatchNorm(nn.Module):
  axis_name: str | None = None
  momentum: float = 0.9

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(8)(flat(x))
    x = nn.BatchNorm(
      use_running_average=not train, momentum=self.momentum, axis_name=self.axis_name
    )(x)
    return nn.Dense(K)(nn.relu(x))


class Counting(nn.Module):
  """A collection of its own: passes taken, and rows that count."""

  @nn.compact
  def __call__(self, x, *, mask, train):
    passes = self.variable("seen", "passes", jnp.zeros, (), jnp.int32)
    rows = self.variable("seen", "rows", jnp.zeros, (), jnp.float32)
    if train and not self.is_initializing():
      passes.value += 1
      rows.value += jnp.sum(mask)
    self.sow("intermediates", "hidden", x)
    return nn.Dense(K)(flat(x))


class Passes(nnx.Variable):
  pass


class Net(nnx.Module):
  def __init__(self, width=8, *, axis_name=None, rngs):
    self.hidden = nnx.List([nnx.Linear(PIXELS, width, rngs=rngs)])
    self.norm = nnx.BatchNorm(width, axis_name=axis_name, rngs=rngs)
    self.first, self.second = (nnx.Dropout(0.5, rngs=rngs) for _ in range(2))
    self.head = nnx.Linear(width, K, rngs=rngs)
    self.passes = Passes(jnp.zeros((), jnp.int32))
    self.offset = np.ones(K, np.float32)

  def __call__(self, x):
    self.passes[...] += 1
    x = nnx.relu(self.norm(self.hidden[0](flat(x))))
    self.features = nnx.Intermediate(x)
    return self.head(self.second(self.first(x))) + self.offset[None]


class Ready(nnx.Module):
  """Has been made, as it should not."""


class Columns(nn.Module):
  """One row a task, found by the task's id."""

  partitioned = staticmethod(nn.with_logical_partitioning)

  @nn.compact
  def __call__(self, x, *, task_id):
    uniform = nn.initializers.variance_scaling(1.0, "fan_in", "uniform", batch_axis=0)
    shared = self.param("shared", nn.with_partitioning(nn.initializers.ones, (None,)), (PIXELS,))
    own = self.param("own", self.partitioned(uniform, ("task", None, None)), (3, PIXELS, K))
    return jnp.einsum("bi,bik->bk", flat(x) * shared[None], own[task_id])


class NNXColumns(nnx.Module):
  def __init__(self, rngs):
    rows = jax.random.normal(rngs.params(), (3, PIXELS, K))
    self.own = nnx.Param(rows, out_sharding=("task", None, None))
    self.shared = nnx.Param(jnp.ones(PIXELS))

  def __call__(self, x, task_id):
    return jnp.einsum("bi,bik->bk", flat(x) * self.shared[...][None], self.own[...][task_id])


FUNCTIONS = Model(
  init=lambda key, image: {"w": jax.random.normal(key, (image[0].size, K))},
  apply=lambda params, image: flat(image) @ params["w"],
)


class LinenFeatures(nn.Module):
  @nn.compact
  def __call__(self, x, *, features=False):
    x = nn.relu(nn.Dense(8)(flat(x)))
    return x if features else nn.Dense(K)(x)


class NNXFeatures(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(PIXELS, 8, rngs=rngs)
    self.head = nnx.Linear(8, K, rngs=rngs)

  def __call__(self, x, features=False):
    x = nnx.relu(self.hidden(flat(x)))
    return x if features else self.head(x)


FUNCTION_FEATURES = Model(
  init=lambda key, image: {"w": jax.random.normal(key, (image[0].size, K))},
  apply=lambda params, image, *, features=False: (
    flat(image) if features else flat(image) @ params["w"]
  ),
)


@pytest.mark.parametrize(
  ("model", "width"), [(LinenFeatures(), 8), (NNXFeatures, 8), (FUNCTION_FEATURES, PIXELS)]
)
def test_features_reach_the_method_that_requires_them(model, width):
  def consolidate(state, variables, *, at):
    features = jax.lax.map(lambda batch: at.apply_fn(variables, batch, features=True)[0], at.chunk)
    return jnp.sum(features, axis=(0, 1)), variables

  method = identity()._replace(
    init=lambda params: jnp.zeros(width), consolidate=consolidate, requires=frozenset({"features"})
  )
  learner = make_learner(model, chain(method, optax.sgd(0.1)), STREAM)
  state = learner.init(jax.random.key(0))
  chunk = jax.tree.map(lambda leaf: leaf[None], helpers.batch(STREAM, 0))
  after = learner.consolidate(state, chunk, jnp.int32(0), phase="train").method[0]
  assert after.shape == (width,)
  assert (after != 0).any()
  logits, _ = as_model(model, STREAM).apply(
    state.variables, chunk.image[0] / 255, task_id=None, mask=None, train=False, key=None
  )
  assert logits.shape == (6, K)
  with pytest.raises(
    ValueError, match=r"requires 'features'.*does not have it: .*choose one of .*mlp, "
  ):
    make_learner(Plain(), chain(method, optax.sgd(0.1)), STREAM)


def _init_with_state(key, image, mask):
  assert mask.shape == (1,)
  return {"params": {"w": jax.random.normal(key, (image[0].size, K))}, "seen": {"rows": 0.0}}


def _apply_with_state(variables, image, *, mask, key):
  noise = 0.0 if key is None else jax.random.normal(key)
  seen = {"rows": variables["seen"]["rows"] + jnp.sum(mask, dtype=jnp.float32)}
  return flat(image) @ variables["params"]["w"] + noise, {"seen": seen}


WITH_STATE = Model(
  init=lambda key, image, mask: jax.tree.map(jnp.asarray, _init_with_state(key, image, mask)),
  apply=_apply_with_state,
)

MODELS = {
  "plain": Plain(),
  "sequential": nn.Sequential([flat, nn.Dense(K)]),
  "dropout and noise": Dropped(),
  "deterministic": Deterministic(),
  "all keywords": helpers.TinyModel(K, batch_norm=True, dropout=0.5),
  "flax batch norm": FlaxBatchNorm(),
  "own collection": Counting(),
  "nnx": Net,
  "nnx partial": functools.partial(Net, width=4),
  "nnx function": lambda rngs: nnx.Sequential(flat, nnx.Linear(PIXELS, K, rngs=rngs)),
  "nnx in linen": nnx.bridge.to_linen(Net, width=4),
  "linen columns": Columns(),
  "nnx columns": NNXColumns,
  "functions": FUNCTIONS,
  "functions with state": WITH_STATE,
}


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_for_two_seeds_at_once_and_predicts_the_same_twice(name):
  checked_model(MODELS[name], STREAM)
  learner = make_learner(MODELS[name], lift(optax.sgd(0.1)), STREAM)
  state = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 2))
  batch = helpers.batch(STREAM, 0)

  @jax.jit
  @jax.vmap
  def run(state):
    return jax.lax.scan(
      lambda state, task: learner.step(state, batch, task, phase="train"), state, jnp.zeros(3, int)
    )

  after, info = run(state)
  chex_like = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
  assert chex_like == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)]
  assert jax.tree.structure(state) == jax.tree.structure(after)
  assert np.isfinite(info.loss).all()
  assert not np.allclose(info.loss[0], info.loss[1]), "the seeds start alike"
  moved = jax.tree.map(
    lambda old, new: not np.allclose(old, new),
    state.variables["params"],
    after.variables["params"],
  )
  assert any(jax.tree.leaves(moved))
  seed = serve(jax.tree.map(lambda leaf: leaf[0], after))
  first, second = (learner.predict(seed, batch, jnp.int32(0)) for _ in range(2))
  np.testing.assert_array_equal(first, second)


def passes(model, variables, *, train, key=None, rows=6):
  batch = helpers.batch(STREAM, 0, rows)
  return as_model(model, STREAM).apply(
    variables,
    batch.image.astype(jnp.float32) / 255,
    task_id=batch.task_id,
    mask=batch.mask,
    train=train,
    key=key,
  )


RANDOM = ("dropout and noise", "deterministic", "all keywords", "nnx", "functions with state")


@pytest.mark.parametrize("name", RANDOM)
def test_randomness_follows_the_key_of_a_training_pass(name):
  variables = initial_variables(MODELS[name], STREAM, jax.random.key(0))
  one, two = jax.random.split(jax.random.key(1))
  run = functools.partial(passes, MODELS[name], variables, train=True)
  np.testing.assert_array_equal(run(key=one)[0], run(key=one)[0])
  assert not np.allclose(run(key=one)[0], run(key=two)[0])


def test_only_training_changes_the_other_collections():
  for name, path, change in (
    ("own collection", ("seen", "passes"), 1),
    ("own collection", ("seen", "rows"), 6),
    ("nnx", ("Passes", "passes"), 1),
    ("functions with state", ("seen", "rows"), 6),
  ):
    variables = initial_variables(MODELS[name], STREAM, jax.random.key(0))
    for train in (False, True):
      _, after = passes(MODELS[name], variables, train=train, key=jax.random.key(0))
      assert jax.tree.structure(after) == jax.tree.structure(variables)
      assert after[path[0]][path[1]] - variables[path[0]][path[1]] == change * train
      jax.tree.map(np.testing.assert_array_equal, after["params"], variables["params"])


def test_existing_models_start_and_pass_as_they_do_by_themselves():
  """The other random streams must not change what "params" and "dropout" draw."""
  model = helpers.TinyModel(K, batch_norm=True, dropout=0.5)
  batch = helpers.batch(STREAM, 1)
  image = batch.image.astype(jnp.float32) / 255
  given = {"task_id": batch.task_id, "mask": batch.mask}
  one = {"task_id": jnp.zeros(1, jnp.int32), "mask": jnp.ones(1, bool)}
  key, dropout = jax.random.split(jax.random.key(3))
  ours = initial_variables(model, STREAM, key)
  theirs = model.init(key, jnp.zeros((1, *helpers.IMAGE)), **one, train=False)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  logits, changed = as_model(model, STREAM).apply(ours, image, **given, train=True, key=dropout)
  expected, stats = model.apply(
    theirs, image, **given, train=True, rngs={"dropout": dropout}, mutable=["batch_stats"]
  )
  np.testing.assert_array_equal(logits, expected)
  jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], stats["batch_stats"])


def test_nnx_is_the_module_called_by_itself():
  net = Net(rngs=nnx.Rngs(jax.random.key(5)))
  image = helpers.batch(STREAM, 0).image.astype(jnp.float32) / 255
  variables = initial_variables(Net, STREAM, jax.random.key(5))
  np.testing.assert_array_equal(variables["params"]["head"]["kernel"], net.head.kernel[...])
  net.eval()
  np.testing.assert_allclose(passes(Net, variables, train=False)[0], net(image), rtol=1e-6)
  net.train()
  net(image)
  _, after = passes(Net, variables, train=True, key=jax.random.key(0))
  np.testing.assert_allclose(after["batch_stats"]["norm"]["mean"], net.norm.mean[...], rtol=1e-5)
  np.testing.assert_allclose(after["batch_stats"]["norm"]["var"], net.norm.var[...], rtol=1e-5)
  assert set(variables) == {"params", "batch_stats", "Passes", "arrays"}
  assert variables["params"]["hidden"]["0"]["kernel"].shape == (PIXELS, 8)


class Halves(nnx.Module):
  """Shows the masks of two dropout layers."""

  def __init__(self, rngs):
    self.first, self.second = (nnx.Dropout(0.5, rngs=rngs) for _ in range(2))
    self.scale = nnx.Param(jnp.ones(()))

  def __call__(self, x):
    ones = self.scale[...] * jnp.ones((len(x), 3))
    return jnp.concatenate([self.first(ones), self.second(ones)], axis=1)


def test_no_two_random_streams_of_a_module_are_alike():
  variables = initial_variables(Halves, STREAM, jax.random.key(0))
  out, _ = passes(Halves, variables, train=True, key=jax.random.key(2), rows=20)
  assert not np.array_equal(out[:, :3], out[:, 3:])
  out, _ = passes(Halves, variables, train=False)
  np.testing.assert_array_equal(out, 1)


def test_the_axis_of_devices_reaches_whoever_names_it():
  """Statistics over two halves of a batch are those of the whole batch."""
  whole = helpers.batch(STREAM, 0).image.astype(jnp.float32) / 255
  halves = whole.reshape(2, 3, *helpers.IMAGE)
  for model, place in ((FlaxBatchNorm(), "BatchNorm_0"), (Net, "norm")):
    variables = initial_variables(model, STREAM, jax.random.key(0))
    given = {"task_id": jnp.zeros(3, jnp.int32), "mask": jnp.ones(3, bool), "train": True}
    shared = functools.partial(
      as_model(model, STREAM, axis_name="devices").apply, **given, key=jax.random.key(0)
    )
    _, after = jax.vmap(shared, (None, 0), axis_name="devices")(variables, halves)
    _, expected = passes(model, variables, train=True, key=jax.random.key(0))
    for half in range(2):
      jax.tree.map(
        lambda ours, theirs, half=half: np.testing.assert_allclose(ours[half], theirs, rtol=1e-5),
        after["batch_stats"][place],
        expected["batch_stats"][place],
      )


# What does not fit.


class Wide(nn.Module):
  outputs: int = K

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.outputs)(flat(x))


class Asks(nn.Module):
  def __call__(self, x, training):
    return x


class Bare(nnx.Module):
  def __init__(self, rngs):
    self.offset = jnp.ones(K)

  def __call__(self, x):
    return flat(x)


class Growing(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    count = self.variable("seen", "count", jnp.zeros, (), jnp.int32)
    if train:
      count.value += 0.5
    return nn.Dense(K)(flat(x))


def functions(apply):
  return FUNCTIONS._replace(apply=apply)


REFUSED = {
  "width": (Wide(7), ValueError, r"gives 7 outputs, the stream has 6: make its last layer 6 wide"),
  "rank": (
    functions(lambda params, image: flat(image) @ params["w"][:, 0]),
    ValueError,
    r"output of shape \(3,\) for 3 images: .* \(3, 6\)",
  ),
  "rows": (
    functions(lambda params, image: (flat(image) @ params["w"])[:1]),
    ValueError,
    r"output of shape \(1, 6\) for 3 images",
  ),
  "integers": (
    functions(lambda params, image: jnp.zeros((len(image), K), jnp.int32)),
    ValueError,
    "logits of dtype int32: they must be floating",
  ),
  "several outputs": (
    functions(lambda params, image: [flat(image)] * 3),
    ValueError,
    r"returns list: it must return one array of logits \[B, 6\]",
  ),
  "images": (
    nn.Sequential([nn.Conv(3, (3, 3, 3, 3)), nn.Dense(K)]),
    ValueError,
    r"fails on the stream's images, float32 \[B, 4, 4, 1\]: \w+: ",
  ),
  "no parameters": (nn.Sequential([flat]), ValueError, "the model has no parameters"),
  "dtype of a variable": (
    Growing(),
    ValueError,
    r"\['seen'\]\['count'\] is int32\[\] before a pass and float32\[\] after it",
  ),
  "unknown argument": (
    Asks(),
    TypeError,
    r"Asks.__call__ asks for 'training' \(did you mean train",
  ),
  "variables of bare parameters": (
    functions(lambda params, image: (flat(image) @ params["w"], {"seen": 1})),
    ValueError,
    "its init a bare tree of parameters",
  ),
  "too few arguments": (FUNCTIONS._replace(init=lambda key: key), TypeError, "init must take 2"),
  "nnx instance": (
    Ready(),
    TypeError,
    r"an instance of the NNX module Ready: give the class, or functools.partial\(Ready, ...\)",
  ),
  "nnx bare array": (Bare, TypeError, "Bare.offset is a bare JAX array: make it an nnx.Variable"),
  "no nnx module": (lambda rngs: 3, TypeError, r"\(rngs=...\) gives int, not an NNX module"),
  "linen class": (Plain, TypeError, "the Linen class Plain: give an instance of it"),
  "function": (lambda x: x, TypeError, r"give a Flax Linen module, an NNX class .*tagjax.Model"),
  "nothing": (None, TypeError, "the model is NoneType: give a Flax Linen module"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name):
  model, error, message = REFUSED[name]
  with pytest.raises(error, match=message) as caught:
    checked_model(model, STREAM)
  assert "\n" not in str(caught.value)


def test_sequences_of_integers_reach_the_model_as_integers():
  class Spec(type(STREAM)):
    image_dtype = jnp.int32

  stream = Spec(*STREAM)._replace(image_shape=(5,))
  model = nn.Sequential([nn.Embed(10, 4), flat, nn.Dense(K)])
  checked_model(model, stream)
  with pytest.raises(ValueError, match=r"float32 \[B, 5\]: ValueError: Input type must be"):
    checked_model(model, STREAM._replace(image_shape=(5,)))


# Batch statistics.


def test_flax_batch_norm_with_full_batches_is_the_step_written_by_hand():
  """Two steps of our learner, and the same by hand with Flax and Optax alone."""
  model = FlaxBatchNorm()
  learner = make_learner(model, lift(optax.sgd(0.1)), STREAM)
  state = learner.init(jax.random.key(0))
  variables = state.variables
  for task in (0, 0, 1):
    batch = helpers.batch(STREAM, task, 8)
    state, info = learner.step(state, batch, jnp.int32(task), phase="train")
    own = np.flatnonzero(STREAM.classes[task])

    def loss_fn(params, stats, batch=batch, own=own):
      image = batch.image.astype(jnp.float32) / 255
      logits, changed = model.apply(
        {"params": params, "batch_stats": stats}, image, True, mutable=["batch_stats"]
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits[:, own], batch.label - own[0])
      return jnp.mean(losses), changed["batch_stats"]

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      variables["params"], variables["batch_stats"]
    )
    params = jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], grads)
    variables = {"params": params, "batch_stats": stats}
    np.testing.assert_allclose(info.loss, loss, rtol=1e-5)
  jax.tree.map(
    lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
    state.variables,
    variables,
  )


def padded(batch: Batch) -> Batch:
  more = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:2]]), batch)
  return more._replace(image=more.image.at[-2:].set(255), mask=more.mask.at[-2:].set(False))


@pytest.mark.parametrize("model", [FlaxBatchNorm(), Net])
def test_flax_batch_norm_counts_padding_which_is_why_it_is_refused(model):
  learner = make_learner(model, lift(optax.sgd(0.0)), STREAM)
  state, batch = learner.init(jax.random.key(0)), helpers.batch(STREAM, 0)
  full, rows = (
    learner.step(state, given, jnp.int32(0), phase="train")[0].variables["batch_stats"]
    for given in (batch, padded(batch))
  )
  assert not np.allclose(jax.tree.leaves(full)[0], jax.tree.leaves(rows)[0])
  check = functools.partial(check_batch_statistics, model, STREAM, batch_size=4)
  message = (
    "batch_size=4 does not divide the 22 examples of task 1, and the model's batch_stats would "
    "count the rows .*: set drop_last=True, batch_size=2, which divides every task, or use tagjax"
  )
  with pytest.raises(ValueError, match=message):
    check([8, 22], drop_last=False)
  check([8, 22], drop_last=True)
  check([8, 24], drop_last=False)
  check([8, 24], drop_last=False, num_devices=2)


def test_padding_of_a_method_is_refused_where_it_would_be_counted():
  plain, rehearsing = lift(optax.sgd(0.1)), Method(None, None, rehearsal=lambda state: state)
  inner_loops = plain._replace(pads_batches=True, name="inner")
  check, good = check_padding_of_method, helpers.TinyModel(K, batch_norm=True)
  for method in (chain(plain, rehearsing), chain(inner_loops, plain)):
    with pytest.raises(ValueError, match="fills batches up with padding"):
      check(FlaxBatchNorm(), STREAM, method)
    check(good, STREAM, method)
  check(FlaxBatchNorm(), STREAM, rehearsing, drop_last=True)
  check(FlaxBatchNorm(), STREAM, plain)


def test_what_counts_padding_is_read_off_the_trace():
  counting = {name for name, model in MODELS.items() if counts_padding(model, STREAM)}
  assert counting == {"flax batch norm", "nnx", "nnx partial", "nnx in linen"}


def test_statistics_of_one_device_of_several_are_refused():
  alone = functools.partial(nnx.BatchNorm, PIXELS)

  def net(rngs):
    return nnx.Sequential(flat, alone(rngs=rngs), nnx.Linear(PIXELS, K, rngs=rngs))

  check = functools.partial(check_batch_statistics, net, STREAM, [8, 8])
  with pytest.raises(ValueError, match=r"data_parallel=2: the model's batch_stats .* axis_name"):
    check(batch_size=4, drop_last=True, num_devices=2)
  check(batch_size=4, drop_last=True)
  check_batch_statistics(
    helpers.TinyModel(K, batch_norm=True), STREAM, [7], batch_size=4, drop_last=False, num_devices=2
  )
  check_batch_statistics(Plain(), STREAM, [7], batch_size=4, drop_last=False, num_devices=2)


# Task-stacked parameters.


class Partitioned(Columns):
  partitioned = staticmethod(nn.with_partitioning)


@pytest.mark.parametrize("model", [Columns(), Partitioned(), NNXColumns])
def test_the_first_logical_axis_marks_task_stacked_parameters(model):
  assert task_stacked(model, STREAM) == {"own": True, "shared": False}
  assert task_stacked(as_model(model, STREAM), STREAM) == {"own": True, "shared": False}
  variables = initial_variables(model, STREAM, jax.random.key(0))
  assert jax.tree.structure(variables["params"]) == jax.tree.structure({"own": 0, "shared": 0})
  with pytest.raises(ValueError, match=r"\['own'\].*\(3, 16, 6\).*must have 4 rows"):
    task_stacked(model, STREAM._replace(num_tasks=4))


def test_functions_mark_theirs_by_boxes_and_others_have_none():
  boxed = FUNCTIONS._replace(
    init=lambda key, image: {"w": nn.LogicallyPartitioned(jnp.zeros((3, PIXELS)), ("task", None))}
  )
  assert task_stacked(boxed, STREAM) == {"w": True}
  for model in (Net, Plain()):
    stacked = task_stacked(model, STREAM)
    params = variable_shapes(model, STREAM)["params"]
    assert jax.tree.structure(stacked) == jax.tree.structure(params)
    assert not any(jax.tree.leaves(stacked))


def test_only_the_rows_of_the_task_in_training_move():
  model = Columns()
  rows = tagjax.tag(0.01, num_tasks=1)
  transform = tagjax.only_current_task(
    tagjax.tag(0.01, num_tasks=3), task_stacked(model, STREAM), rows=rows
  )
  learner = make_learner(model, chain(tagjax.methods.ewc(1.0), transform), STREAM)
  step = jax.jit(functools.partial(learner.step, phase="train"))
  state = jax.jit(learner.init)(jax.random.key(0))
  for task in (0, 2, 1):
    before = state.variables["params"]["own"]
    for _ in range(2):
      state, _ = step(state, helpers.batch(STREAM, task), jnp.int32(task))
    moved = np.any(np.asarray(before != state.variables["params"]["own"]), axis=(1, 2))
    np.testing.assert_array_equal(moved, np.arange(3) == task)
