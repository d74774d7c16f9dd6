"""iTAML against NumPy in float64: inner loops, merges, statistics, copies, votes, and refusals."""

import functools
import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.method import Boundary, EpochStep, Method, Query, lift
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.evaluate import without_answers
from tagjax.engine.learner import make_learner
from tagjax.engine.model import Model
from tagjax.methods import er, ewc, gem, itaml, tag_method
from tagjax.methods.itaml import Copies, vote

RAGGED = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], bool)
SPEC = StreamSpec(3, 6, RAGGED, "class", (4,), np.dtype(np.float32))
SGD = optax.sgd(0.1)


def linear(spec=SPEC):
  """A head with a bias, alone."""
  shape = (spec.image_shape[0], spec.num_outputs)

  def init(key, image):
    del image
    return {"head": {"kernel": jax.random.normal(key, shape), "bias": jnp.zeros(shape[1])}}

  def apply(params, image):
    head = params["head"]
    return image @ head["kernel"] + head["bias"][None]

  return Model(init, apply)


def batch_of(counts, seed=0, padding=2, spec=SPEC):
  """So many rows of each task, shuffled; rows of padding hold nonsense."""
  rng = np.random.default_rng(seed)
  task = rng.permutation(np.repeat(np.arange(len(counts)), counts))
  label = np.array([rng.choice(np.flatnonzero(spec.classes[t])) for t in task])
  image = rng.normal(size=(len(task) + padding, *spec.image_shape)).astype(np.float32)
  image[len(task) :] = 1e3
  task, label = (np.pad(x, (0, padding)).astype(np.int32) for x in (task, label))
  mask = np.arange(len(task)) < len(task) - padding
  return Batch(*map(jnp.asarray, (image, label, task, mask)))


def learner_of(method, spec=SPEC, model=None):
  return make_learner(model or linear(spec), method, spec, max_value=1.0)


def stepped(method, batches, session, **options):
  """The learner, and its state before and after the batches."""
  learner = learner_of(method, **options)
  step = jax.jit(functools.partial(learner.step, phase="train"))
  before = after = learner.init(jax.random.key(1))
  for batch in batches:
    after, _ = step(after, batch, jnp.int32(session))
  return learner, before, after


def wide(params):
  """Kernel and bias in float64, one below the other."""
  head = params["head"]
  return np.concatenate([head["kernel"], np.asarray(head["bias"])[None]]).astype(np.float64)


def slice_gradient(theta, batch, task):
  rows = np.asarray(batch.mask & (batch.task_id == task))
  x = np.pad(np.asarray(batch.image, np.float64)[rows], ((0, 0), (0, 1)), constant_values=1)
  target = np.eye(6)[np.asarray(batch.label)[rows]]
  own = RAGGED[task]
  error = (1 / (1 + np.exp(-x @ theta)) - target) * own / (len(x) * own.sum())
  return x.T @ error


def reference(theta, batches, session, *, variant, own, r, momentum, beta=0.7):
  trace = np.zeros_like(theta)
  for batch in batches:
    base, phi, moved = theta, theta, {}
    for task in np.unique(np.asarray(batch.task_id)[np.asarray(batch.mask)]):
      phi = base if variant == "paper" else phi
      for _ in range(r):
        trace = momentum * trace + slice_gradient(phi, batch, task) + 0.01 * phi
        phi = phi - 0.1 * trace
      moved[task] = phi - base
    change = phi - base if variant == "reference" else sum(moved.values()) / len(moved)
    if own:
      change = sum(moved[task] * RAGGED[task] for task in moved)
    theta = base + np.exp(-beta * session / 3) * change
  return theta


@pytest.mark.parametrize(
  ("variant", "merge", "r"),
  [("paper", "mean", 1), ("paper", "own", 2), ("reference", "mean", 2)],
)
def test_steps_are_those_of_the_equations(variant, merge, r):
  """Slices of 1, 3 and 2 outputs; passes of both sizes; a task that is absent; padding."""
  batches = [batch_of(counts, seed) for seed, counts in enumerate([(3, 25, 10), (0, 4, 34)])]
  inner = chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, momentum=0.9))
  options = {"beta": 0.7, "r": r, "variant": variant, "classifier_merge": merge, "head": "*"}
  _, before, after = stepped(itaml(SPEC, inner, **options), batches, 2)
  expected = reference(
    wide(before.variables["params"]),
    batches,
    2,
    variant=variant,
    own=merge == "own",
    r=r,
    momentum=0.9,
  )
  np.testing.assert_allclose(wide(after.variables["params"]), expected, rtol=2e-5, atol=2e-6)


def test_a_batch_without_any_row_changes_nothing():
  nothing = batch_of((0, 0, 0), padding=10)
  _, before, after = stepped(itaml(SPEC, optax.adam(0.1)), [nothing], 1)
  for a, b in zip(
    *(jax.tree.leaves((s.variables, s.method)) for s in (before, after)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def recorder():
  """Writes down, a row a call, what it is told; takes no step."""

  def init(params):
    del params
    return jnp.full((4, 5), jnp.nan), jnp.zeros((), jnp.int32)

  def update(updates, state, params, *, at):
    rows, place = state
    batch = at.batch
    same = jnp.all(jnp.where(batch.mask, batch.task_id == at.inner_task, True))
    own = jnp.sum(jnp.abs(at.apply_fn({"params": params}, batch)[0] - at.logits))
    told = [at.task_id, at.inner_task, jnp.sum(batch.mask), same, own]
    zero = jax.tree.map(jnp.zeros_like, updates)
    return zero, (rows.at[place].set(jnp.stack([*map(jnp.float32, told)])), place + 1)

  return Method(init, update)


def test_what_the_inner_method_is_told():
  told = lift(optax.stateless(lambda updates, params: updates))
  heard = optax.GradientTransformationExtraArgs(
    lambda params: jnp.full(4, -1),
    lambda updates, state, params=None, *, task_id, **extra: (
      updates,
      jnp.roll(state, -1).at[-1].set(task_id),
    ),
  )
  method = itaml(SPEC, chain(told, recorder(), heard))
  _, _, after = stepped(method, [batch_of((1, 0, 9)), batch_of((0, 5, 2))], 2)
  _, (rows, calls), tasks = after.method.inner
  assert calls == 4
  assert rows.tolist() == [[2, 0, 1, 1, 0], [2, 2, 9, 1, 0], [2, 1, 5, 1, 0], [2, 2, 2, 1, 0]]
  assert tasks.tolist() == [0, 2, 1, 2]


def test_the_optimizer_starts_anew_with_each_session_and_what_knows_the_past_stays():
  tag = tag_method(0.1, num_tasks=3)
  inner = chain(ewc(10.0), tag, optax.trace(0.9))
  learner, _, state = stepped(itaml(SPEC, inner), [batch_of((4, 6, 3))], 1)
  chunk = jax.tree.map(lambda leaf: leaf[None], batch_of((0, 5, 0)))
  end = jax.jit(functools.partial(learner.consolidate, phase="train"))(state, chunk, jnp.int32(1))
  (_, moments, trace), (anchored, kept, fresh) = state.method.inner, end.method.inner
  assert all(leaf.any() for leaf in jax.tree.leaves(trace))
  assert not any(leaf.any() for leaf in jax.tree.leaves(fresh))
  assert anchored.tasks == 1
  for a, b in zip(jax.tree.leaves(moments), jax.tree.leaves(kept), strict=True):
    np.testing.assert_array_equal(a, b)


def test_running_averages_follow_the_batch_then_each_task():
  spec = helpers.spec("class")
  model = helpers.TinyModel(6, batch_norm=True)
  batch = helpers.batch(spec, 0, 10)._replace(task_id=jnp.array([0, 1, 0, 2, 1, 1, 0, 0, 2, 1]))
  batch = batch._replace(label=2 * batch.task_id, mask=jnp.arange(10) < 9)
  learner = make_learner(model, itaml(spec, SGD), spec)
  before = learner.init(jax.random.key(1))
  after, _ = jax.jit(functools.partial(learner.step, phase="train"))(before, batch, jnp.int32(2))
  variables = before.variables
  run = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
  for rows in ([True] * 9 + [False], *(np.asarray(batch.task_id == t) for t in range(3))):
    kept = np.flatnonzero(np.asarray(rows) & np.asarray(batch.mask))
    given = {"task_id": batch.task_id[kept], "mask": jnp.ones(len(kept), bool)}
    _, moved = run(variables, batch.image[kept] / 255.0, **given)
    variables = {**variables, **moved}
  found = after.variables["batch_stats"]
  for a, b in zip(*map(jax.tree.leaves, (found, variables["batch_stats"])), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def boundary(learner, state, task):
  """What `prepare` is given."""
  made = []

  def prepare(state, variables, *, at):
    del state
    made.append(at)
    return variables

  spied = make_learner(
    linear(learner.spec), Method(lambda p: (), lambda *a, at: a, prepare=prepare), learner.spec
  )
  spied.prepare(spied.init(jax.random.key(0)), jnp.int32(task))
  assert isinstance(made[0], Boundary)
  return made[0]


def filled(method, sessions, seed=0):
  """A learner whose memory has the exemplars of these sessions, and its state."""
  learner = learner_of(method)
  state = learner.init(jax.random.key(seed))
  end = jax.jit(functools.partial(learner.consolidate, phase="train"))
  for session in range(sessions):
    counts = [0] * 3
    counts[session] = 12
    chunk = jax.tree.map(lambda leaf: leaf[None], batch_of(counts, session))
    state = end(state, chunk, jnp.int32(session))
  return learner, state


def test_copies_are_adapted_to_the_exemplars_of_their_task():
  method = itaml(SPEC, SGD, capacity=20, per="total", adapt_batch_size=100, adapt_learning_rate=0.1)
  learner, state = filled(method, 2)
  prepare = jax.jit(learner.prepare)
  general = wide(state.variables["params"])
  served = prepare(state, jnp.int32(1)).served
  exemplars = state.method.memory.exemplars
  for task in range(2):
    # One batch: the first step of Adam is the sign of the gradient.
    expected = general - 0.1 * np.sign(slice_gradient(general, exemplars, task))
    copy = jax.tree.map(lambda leaf, t=task: leaf[t], served.adapted["params"])
    np.testing.assert_allclose(wide(copy), expected, atol=1e-4)
  unseen = jax.tree.map(lambda leaf: leaf[2], served.adapted["params"])
  np.testing.assert_array_equal(wide(unseen), general)
  alone = prepare(state, jnp.int32(0)).served  # the first session adapts nothing
  for row in range(3):
    copy = jax.tree.map(lambda leaf, t=row: leaf[t], alone.adapted["params"])
    np.testing.assert_array_equal(wide(copy), general)


def test_an_epoch_of_adaptation_takes_each_exemplar_once():
  """Counted by a model whose gradient is a number for each exemplar that it has seen."""
  method = itaml(SPEC, SGD, capacity=20, per="total", adapt_batch_size=4)
  learner, state = filled(method, 3)
  exemplars = state.method.memory.exemplars
  at = boundary(learner, state, 2)
  seen = []

  def watch(variables, batch, **options):
    jax.debug.callback(lambda i, m: seen.append(i[m].tolist()), batch.image[:, 0], batch.mask)
    return linear().apply(variables["params"], batch.image), variables

  def apply_fn(variables, batch, *, key=None, train=False):
    assert key is not None
    assert train
    return watch(variables, batch)

  told = at._replace(apply_fn=apply_fn)
  method.prepare(state.method, dict(state.variables), at=told)
  jax.effects_barrier()
  expected = np.asarray(exemplars.image[:, 0])[np.asarray(exemplars.mask)]
  assert sorted(itertools.chain(*seen)) == sorted(expected.tolist())
  assert max(map(len, seen)) == 4


def constant_copies(general, adapted):
  """Models that give the same logits to every example."""
  variables = {"params": {"bias": jnp.asarray(general, jnp.float32)}}
  return Copies(variables, {"params": {"bias": jnp.asarray(adapted, jnp.float32)}})


def ask(served, image, *, session=2, continuum=1, mask=None, task_id=None):
  """Predictions of a model that adds the image to its bias."""
  rows = len(image)
  mask = np.ones(rows, bool) if mask is None else mask
  task_id = np.full(rows, session) if task_id is None else task_id
  zeros = np.zeros(rows, np.int32)
  batch = Batch(*map(jnp.asarray, (np.float32(image), zeros, np.int32(task_id), mask)))

  def apply_fn(variables, batch, **options):
    del options
    return batch.image + variables["params"]["bias"][None], variables

  at = Query(batch, jnp.int32(session), apply_fn, None, jax.random.key(0), continuum)
  return np.asarray(itaml(SPEC, SGD).predict(served, at=at))


ADAPTED = [[5, 0, 0, 0, 0, 0], [0, 0, 7, 6, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_a_run_votes_and_the_copy_of_its_task_classifies():
  rng = np.random.default_rng(0)
  image = rng.normal(size=(12, 6)) * 2
  served = constant_copies(np.zeros(6), ADAPTED)
  mask = np.arange(12) < 11
  image[~mask, 0] = 50  # padding does not vote
  for p in (1, 3, 4):
    logits = ask(served, image, continuum=p, mask=mask)
    best = np.stack([np.where(RAGGED[t], image, -np.inf).max(axis=1) for t in range(3)], axis=1)
    for start in range(0, 12, p):
      rows = np.arange(start, start + p)
      valid = rows[mask[rows]]
      if not valid.size:
        continue
      chosen = int(np.argmax(best[valid].mean(axis=0)))
      own = image + np.array(ADAPTED[chosen])
      expected = np.where(RAGGED[chosen], own, -np.inf).argmax(axis=1)
      np.testing.assert_array_equal(logits[valid].argmax(axis=1), expected[valid])
      # All outputs of the chosen task stand above all others: so do the k largest.
      others = logits[valid][:, ~RAGGED[chosen]].max(axis=1)
      assert (logits[valid][:, RAGGED[chosen]].min(axis=1) > others).all()
  # Each task's outputs are those of its own copy, up to a shift of the row.
  for task in range(3):
    expected = (image + np.array(ADAPTED[task]))[:, RAGGED[task]]
    found = logits[:, RAGGED[task]]
    shift = (found - expected)[mask]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-5)


def test_tasks_that_are_not_seen_are_not_chosen_and_the_first_of_equal_ones_is():
  served = constant_copies([0, 0, 0, 0, 9, 9], np.zeros((3, 6)))
  assert ask(served, np.zeros((2, 6)), session=1).argmax(axis=1).tolist() == [0, 0]
  assert ask(served, np.zeros((2, 6)), session=2).argmax(axis=1).tolist() == [4, 4]
  mask = jnp.array([False, True])
  logits = jnp.array([[99.0, 0, 0, 0, 0, 0], [0, 0, 3, 0, 0, 0]])
  assert vote(SPEC, logits, mask, jnp.int32(2), 2).tolist() == [1]


def test_nothing_of_the_true_task_reaches_the_predictor():
  spec = helpers.spec("class")
  learner = make_learner(helpers.TinyModel(6), itaml(spec, SGD, capacity=3), spec)
  state = learner.init(jax.random.key(0))
  batch = helpers.batch(spec, 0, 8)

  @jax.jit
  def answer(task_id):
    served = learner.prepare(state, jnp.int32(2))
    asked = without_answers(spec, batch._replace(task_id=task_id), jnp.int32(2))
    return learner.predict(served, asked, jnp.int32(2), continuum=4)

  np.testing.assert_array_equal(answer(jnp.arange(8) % 3), answer(jnp.zeros(8, jnp.int32)))


def test_several_continua_in_one_program_share_all_but_the_vote():
  spec = helpers.spec("class")
  learner = make_learner(helpers.TinyModel(6), itaml(spec, SGD), spec)
  served = learner.prepare(learner.init(jax.random.key(0)), jnp.int32(2))
  batch = helpers.batch(spec, 0, 8)

  def dots(*continua):
    def ask_all(served, batch):
      return [learner.predict(served, batch, jnp.int32(2), continuum=p) for p in continua]

    # The suite compiles without the passes of XLA that are meant.
    options = {"xla_disable_hlo_passes": ""}
    text = jax.jit(ask_all).lower(served, batch).compile(options).as_text()
    return text.count(" dot(") + text.count("dot_general"), text.count(" while(")

  jax.config.update("jax_disable_most_optimizations", False)
  try:
    assert dots(1, 2, 4) == dots(1)
  finally:
    jax.config.update("jax_disable_most_optimizations", True)


def test_a_memory_smaller_than_the_classes_leaves_the_general_model():
  method = itaml(SPEC, SGD, capacity=4, per="total")
  learner, state = filled(method, 3)
  assert not state.method.memory.exemplars.mask.any()
  served = jax.jit(learner.prepare)(state, jnp.int32(2)).served
  for leaf, rows in zip(*map(jax.tree.leaves, (served.general, served.adapted)), strict=True):
    np.testing.assert_array_equal(rows, jnp.stack([leaf] * 3))


def test_without_exemplars_nothing_is_rehearsed_and_the_general_model_classifies():
  method = itaml(SPEC, SGD, capacity=0)
  learner, _, state = stepped(method, [batch_of((0, 9, 0))], 1)
  assert not learner.rehearses
  assert state.method.memory == ()
  served = learner.prepare(state, jnp.int32(1)).served
  np.testing.assert_array_equal(wide(served.general["params"]), wide(state.variables["params"]))


@pytest.mark.parametrize(
  ("inner", "options", "message"),
  [
    (SGD, {"r": 0}, r"r must be an integer of at least 1, got 0"),
    (SGD, {"beta": -1.0}, r"beta must be a number in \[0, inf\)"),
    (SGD, {"variant": "authors"}, "variant must be one of 'paper', 'reference'"),
    (SGD, {"classifier_merge": "own", "variant": "reference"}, "classifier_merge='own'"),
    (SGD, {"selection": "last"}, "selection='last' is unknown"),
    (SGD, {"adapt_learning_rate": 0.0}, "adapt_learning_rate must be"),
    (itaml(SPEC, SGD), {}, "inner .* makes its step from scratch"),
  ],
)
def test_bad_arguments(inner, options, message):
  with pytest.raises(ValueError, match=message):
    itaml(SPEC, inner, **options)


def test_tasks_that_share_their_outputs_are_refused():
  with pytest.raises(ValueError, match="scenario='domain': the tasks share"):
    itaml(helpers.spec("domain"), SGD)


@pytest.mark.parametrize("replay", [er, gem])
def test_methods_that_replay_or_project_are_refused_inside(replay):
  method = itaml(SPEC, chain(replay(SPEC, capacity=2), SGD))
  with pytest.raises(ValueError, match=r"inner \((er|gem)\) keeps examples of earlier tasks"):
    method.init({"w": jnp.zeros(2)})


@pytest.mark.parametrize("head", ["fc/*", "body/*"])
def test_the_head_must_be_found(head):
  method = itaml(SPEC, SGD, classifier_merge="own", head=head)
  params = {"head": {"kernel": jnp.zeros((4, 6))}, "body": {"kernel": jnp.zeros((4, 4))}}
  with pytest.raises(ValueError, match="must match parameters whose last axis is the 6 outputs"):
    method.init(params)


def test_on_the_command_line_the_rest_of_the_chain_is_inside():
  stream = helpers.spec("class")
  made = helpers.named_method("itaml+ewc+sgd", stream, schedule="cosine", freeze=("*bias",))({})
  assert made.name == "itaml+ewc+sgd+schedule+freeze"
  assert made.settings["ewc"]["strength"] == 1.0
  assert made.settings["itaml"]["beta"] == 1.0
  params = {"kernel": jnp.zeros((4, 6)), "bias": jnp.zeros(6)}
  assert len(made.init(params).inner) == 4
  with pytest.raises(ConfigError, match=r"config.freeze=.*matches no parameter"):
    made.init({"kernel": jnp.zeros((4, 6))})
  with pytest.raises(ConfigError, match=r"config.method='itaml\+er\+sgd': inner \(er.*\) keeps"):
    helpers.named_method("itaml+er+sgd", stream)({}).init(params)
  with pytest.raises(ConfigError, match=r"config.itaml.r=0: must be an integer of at least 1"):
    helpers.named_method("itaml+sgd", stream, itaml__r=0)({})
  with pytest.raises(ValueError, match=r"member 1 \(itaml\+sgd\) of the chain ignores"):
    helpers.named_method("ewc+itaml+sgd", stream)({})


def test_a_schedule_inside_follows_the_epochs_of_the_session():
  """However many inner steps a minibatch has."""
  stream = SPEC
  options = {"schedule": "step", "step__every": 1, "step__factor": 0.5, "memory__capacity": 0}
  method = helpers.named_method("itaml+sgd", stream, (4, 4, 4), learning_rate=0.1, **options)({})
  learner = learner_of(method)
  before = learner.init(jax.random.key(1))
  batch = batch_of((3, 4, 5))
  step = jax.jit(functools.partial(learner.step, phase="train"))
  moved = []
  for epoch in range(3):
    told = {"task_epoch": epoch, "epoch": epoch, "step": 3, "num_steps": 4}
    where = EpochStep(*(jnp.int32(told.get(name, 2)) for name in EpochStep._fields))
    after, _ = step(before, batch, jnp.int32(2), epoch_step=where)
    moved.append(wide(after.variables["params"]) - wide(before.variables["params"]))
  for epoch in range(3):
    np.testing.assert_allclose(moved[epoch], moved[0] * 0.5**epoch, atol=1e-6)
