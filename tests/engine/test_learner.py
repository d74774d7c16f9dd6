"""The training step: averaging, masks, batch statistics, keys."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.keys import run_keys
from tagjax.core.method import Method, lift
from tagjax.engine.learner import make_learner, serve
from tagjax.input_pipeline.augmentation import Augmentation


def learner(stream, method=None, **options):
  model = helpers.TinyModel(stream.num_outputs, **options)
  return make_learner(model, method or lift(optax.sgd(0.1)), stream)


def test_figures_of_three_channels_are_refused_for_grey_images():
  stream = helpers.spec()
  with pytest.raises(ValueError, match=r"'imagenet' is for images of 3 channels.*\(4, 4, 1\)"):
    make_learner(helpers.TinyModel(6), lift(optax.sgd(0.1)), stream, normalization="imagenet")


def test_pretrained_variables_replace_their_own_only_and_the_method_starts_from_them():
  stream = helpers.spec()
  sees = optax.GradientTransformation(lambda params: params, optax.identity().update)
  given = {"params": {"Dense_0": {"kernel": np.full((16, 8), 0.5, np.float32)}}}
  model = helpers.TinyModel(stream.num_outputs)
  plain, ours = (
    jax.jit(make_learner(model, lift(sees), stream, pretrained=weights).init)(jax.random.key(3))
    for weights in (None, given)
  )
  np.testing.assert_array_equal(ours.variables["params"]["Dense_0"]["kernel"], 0.5)
  for layer, leaf in (("Dense_0", "bias"), ("Dense_1", "kernel"), ("Dense_1", "bias")):
    np.testing.assert_array_equal(
      ours.variables["params"][layer][leaf], plain.variables["params"][layer][leaf]
    )
  assert not np.allclose(plain.variables["params"]["Dense_0"]["kernel"], 0.5)
  jax.tree.map(np.testing.assert_array_equal, ours.method, ours.variables["params"])


def test_unknown_normalization_is_refused():
  stream = helpers.spec()
  with pytest.raises(ValueError, match="normalization='centred' is unknown"):
    make_learner(helpers.TinyModel(6), lift(optax.sgd(0.1)), stream, normalization="centred")


def test_step_is_the_gradient_step_of_the_masked_cross_entropy():
  stream = helpers.spec()
  run = learner(stream)
  state = run.init(jax.random.key(0))
  data = helpers.batch(stream, 1)
  after, info = run.step(state, data, jnp.int32(1), phase="train")

  def loss(params):
    image = data.image.reshape(6, -1) / 255.0
    hidden = jax.nn.relu(image @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None])
    logits = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"][None]
    own = logits[:, 2:4]  # the outputs of task 1
    picked = jnp.take_along_axis(own, data.label[:, None] - 2, 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(own, -1) - picked)

  value, grad = jax.value_and_grad(loss)(state.variables["params"])
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.variables["params"], grad)
  np.testing.assert_allclose(info.loss, value, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    after.variables["params"],
    expected,
  )
  assert after.step == 1


def test_padding_rows_change_nothing():
  stream = helpers.spec()
  run = learner(stream, batch_norm=True)
  state = run.init(jax.random.key(0))
  data = helpers.batch(stream, 0, 4)
  padded = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:2]]), data)
  padded = padded._replace(
    image=padded.image.at[4:].set(255), mask=jnp.array([True] * 4 + [False] * 2)
  )
  one, info_one = run.step(state, data, jnp.int32(0), phase="train")
  two, info_two = run.step(state, padded, jnp.int32(0), phase="train")
  np.testing.assert_allclose(info_one.loss, info_two.loss, rtol=1e-6)
  np.testing.assert_allclose(info_one.accuracy, info_two.accuracy)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    one.variables,
    two.variables,
  )


def test_batch_statistics_follow_the_current_batch_only():
  """A method that looks at other batches must not move the running averages."""
  stream = helpers.spec()
  other = helpers.batch(stream, 2)

  def looking(updates, state, params, *, at):
    at.grad_fn(params, other)
    at.apply_fn(at.variables, other, train=True)
    return updates, state

  plain, curious = lift(optax.sgd(0.1)), lift(optax.sgd(0.1))
  curious = curious._replace(
    update=lambda u, s, p, *, at: plain.update(*looking(u, s, p, at=at), p, at=at)
  )
  after = []
  for method in (plain, curious):
    run = learner(stream, method, batch_norm=True)
    state = run.init(jax.random.key(0))
    state, _ = run.step(state, helpers.batch(stream, 0), jnp.int32(0), phase="train")
    after.append(state.variables["batch_stats"])
  jax.tree.map(np.testing.assert_array_equal, *after)
  assert np.any(jax.tree.leaves(after[0])[0] != 0)


def test_running_averages_are_used_and_kept_in_evaluation():
  stream = helpers.spec()
  run = learner(stream, batch_norm=True)
  state = run.init(jax.random.key(0))
  for _ in range(3):
    state, _ = run.step(state, helpers.batch(stream, 0), jnp.int32(0), phase="train")
  whole = run.predict(serve(state), helpers.batch(stream, 0), jnp.int32(0))
  first = jax.tree.map(lambda leaf: leaf[:1], helpers.batch(stream, 0))
  alone = run.predict(serve(state), first, jnp.int32(0))
  np.testing.assert_allclose(whole[:1], alone, rtol=1e-5)


def test_dropout_differs_between_steps_and_is_off_in_evaluation():
  stream = helpers.spec()
  run = learner(stream, lift(optax.sgd(0.0)), dropout=0.5)
  state = run.init(jax.random.key(0))
  data = helpers.batch(stream, 0)
  state, first = run.step(state, data, jnp.int32(0), phase="train")
  state, second = run.step(state, data, jnp.int32(0), phase="train")
  assert first.loss != second.loss
  one = run.predict(serve(state), data, jnp.int32(0))
  two = run.predict(serve(state), data, jnp.int32(0))
  np.testing.assert_array_equal(one, two)


def test_custom_loss_gets_unmasked_logits():
  stream = helpers.spec()
  seen = {}

  def update(updates, state, params, *, at):
    def loss_fn(logits, batch):
      del batch
      return jnp.sum(logits)

    seen["loss"], grad = at.grad_fn(params, at.batch, loss_fn=loss_fn)
    seen["logits"] = at.logits
    return grad, state

  run = learner(stream, lift(optax.sgd(0.1))._replace(update=update))
  run.step(run.init(jax.random.key(0)), helpers.batch(stream, 0), jnp.int32(0), phase="train")
  np.testing.assert_allclose(seen["loss"], jnp.sum(seen["logits"]), rtol=1e-6)


def test_streams_of_keys_differ():
  keys = run_keys(jax.random.key(0))
  data = [tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys]
  assert len(set(data)) == len(data)


def test_training_passes_are_augmented_and_no_others():
  stream = helpers.spec()
  model = helpers.TinyModel(stream.num_outputs)
  batch = helpers.batch(stream, 0)
  seen = []

  def looks(at, variables):
    seen.append(at.apply_fn(variables, batch, key=at.key, train=False)[0])
    return at.apply_fn(variables, batch, key=at.key, train=True)[0]

  def outputs(augmentation):
    method = Method(
      lambda params: jnp.zeros((6, stream.num_outputs)),
      lambda updates, state, params, *, at: (updates, at.logits),
      lambda state, variables, *, at: (looks(at, variables), variables),
    )
    made = make_learner(model, method, stream, augmentation=augmentation)
    state = made.init(jax.random.key(0))
    stepped, _ = made.step(state, batch, jnp.int32(0), phase="train")
    again, _ = made.step(state, batch, jnp.int32(0), phase="train")
    ended = made.consolidate(state, jax.tree.map(lambda x: x[None], batch), jnp.int32(0), phase="")
    evaluated = made.predict(serve(state), batch, jnp.int32(0))
    np.testing.assert_array_equal(stepped.method, again.method)
    return stepped.method, ended.method, evaluated

  plain, changed = outputs(Augmentation()), outputs(Augmentation(crop=2))
  assert not np.allclose(plain[0], changed[0])
  assert not np.allclose(plain[1], changed[1])
  np.testing.assert_array_equal(plain[2], changed[2])
  np.testing.assert_array_equal(seen[0], seen[1])
