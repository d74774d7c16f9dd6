"""The reduced ResNet: its size, its forward pass against NumPy, dropout and padding rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.models import ReducedResNet, convolution

BLOCKS = [(stage, block) for stage in range(4) for block in range(2)]


@functools.cache
def initialised(model, shape):
  image = jnp.zeros(shape)
  return jax.jit(lambda key: model.init(key, image, train=False, **call(image)))(jax.random.key(0))


def make(image, **settings):
  model = ReducedResNet(**{"num_outputs": 10, "width": 4, **settings})
  return model, initialised(model, (1, *image.shape[1:]))


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, variables, image, *, train, seed=0):
  rngs = {"dropout": jax.random.key(seed)}
  return model.apply(
    variables, image, train=train, rngs=rngs, mutable=["batch_stats"], **call(image)
  )[0]


def call(image):
  return {"task_id": jnp.zeros(len(image), jnp.int32), "mask": jnp.ones(len(image), bool)}


def images(rows=4, pixels=32, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (rows, pixels, pixels, 3)).astype(np.float32)


@pytest.mark.parametrize(("pixels", "count"), [(32, 496_680), (84, 544_680)])
def test_number_of_parameters(pixels, count):
  image = jnp.zeros((1, pixels, pixels, 3))
  model = ReducedResNet(num_outputs=100)
  shapes = jax.eval_shape(
    lambda key: model.init(key, image, train=False, **call(image)), jax.random.key(0)
  )
  leaves = jax.tree.leaves(shapes["params"])
  assert len(leaves) == 48
  assert sum(np.prod(leaf.shape) for leaf in leaves) == count


def test_initial_values_are_pytorchs():
  _, variables = make(images(), width=20, num_outputs=100)
  for path, value in jax.tree.leaves_with_path(variables["params"]):
    name = jax.tree_util.keystr(path)
    if "norm" in name:
      np.testing.assert_array_equal(value, np.full(value.shape, float("scale" in name)))
      continue
    fan_in = 160 if "head" in name else np.prod(value.shape[:-1])
    bound = 1 / np.sqrt(fan_in)
    assert 0.9 * bound < np.abs(value).max() <= bound, name
    np.testing.assert_allclose(np.var(value), bound**2 / 3, rtol=0.25, err_msg=name)


def numpy_convolve(x, kernel, stride):
  size = kernel.shape[0]
  margin = size // 2
  x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
  return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)


def numpy_forward(variables, x, train):
  """The network in float64; `variables` as Flax holds them."""
  params, stats = (
    jax.tree.map(lambda a: np.asarray(a, np.float64), variables[name])
    for name in ("params", "batch_stats")
  )
  x = x.astype(np.float64)

  def norm(h, p, s):
    mean, var = (h.mean((0, 1, 2)), h.var((0, 1, 2))) if train else (s["mean"], s["var"])
    return (h - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["bias"]

  h = numpy_convolve(x, params["stem"]["kernel"], 1)
  h = np.maximum(norm(h, params["stem_norm"], stats["stem_norm"]), 0)
  for stage, block in BLOCKS:
    name = f"stage{stage}_block{block}"
    p, s, stride = params[name], stats[name], 2 if stage > 0 and block == 0 else 1
    inner = numpy_convolve(h, p["conv"]["kernel"], stride)
    inner = norm(np.maximum(inner, 0), p["norm1"], s["norm1"])
    if "shortcut" in p:
      h = numpy_convolve(h, p["shortcut"]["kernel"], stride)
    h = norm(np.maximum(inner + h, 0), p["norm2"], s["norm2"])
  rows, columns = h.shape[1] // 4, h.shape[2] // 4
  h = np.stack(
    [
      h[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((1, 2))
      for i in range(rows)
      for j in range(columns)
    ],
    axis=1,
  )
  return h.reshape(len(h), -1) @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(("train", "pixels"), [(True, 32), (False, 57)])
def test_forward_equals_numpy(train, pixels):
  image = images(pixels=pixels)
  model, variables = make(image)
  # All parameters and averages away from their initial values, so that each one matters.
  rng = np.random.default_rng(1)
  variables = jax.tree.map(
    lambda a: np.asarray(a * rng.uniform(0.5, 1.5, a.shape), np.float32), variables
  )
  logits = apply(model, variables, image, train=train)
  expected = numpy_forward(variables, image, train)
  np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


@functools.partial(jax.jit, static_argnames="model")
def loss_and_stats(model, variables, image, label, mask):
  def loss(params):
    logits, updated = model.apply(
      {**variables, "params": params},
      image,
      task_id=jnp.zeros(len(image), jnp.int32),
      mask=mask,
      train=True,
      mutable=["batch_stats"],
    )
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1)[:, 0]
    return -jnp.sum(jnp.where(mask, chosen, 0)) / jnp.sum(mask), (logits, updated)

  return jax.value_and_grad(loss, has_aux=True)(variables["params"])


def test_padding_rows_have_no_influence():
  image, label = images(6), np.arange(6)
  model, variables = make(image)
  mask = np.array([1, 1, 0, 1, 1, 0], bool)
  other = np.where(mask.reshape(-1, 1, 1, 1), image, 7.0).astype(np.float32)
  short = loss_and_stats(model, variables, image[mask], label[mask], mask[mask])
  for padded in (image, other):
    (loss, (logits, stats)), grads = loss_and_stats(model, variables, padded, label, mask)
    ours = ((loss, (logits[mask], stats)), grads)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(short), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
  unmasked = loss_and_stats(model, variables, other, label, np.ones(6, bool))
  assert not np.allclose(unmasked[0][1][0][mask], short[0][1][0], atol=1e-2)


def test_results_do_not_depend_on_the_lowering():
  image, label = images(4), np.arange(4)
  _, variables = make(image)
  patches, direct = (
    loss_and_stats(
      ReducedResNet(10, width=4, convolve=lowering), variables, image, label, call(image)["mask"]
    )
    for lowering in (convolution.by_patches, convolution.direct)
  )
  for a, b in zip(jax.tree.leaves(patches), jax.tree.leaves(direct), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)


def test_dropout_only_in_training():
  image = images()
  _, variables = make(image)

  def logits(rate, train, seed=0):
    model = ReducedResNet(10, width=4, dropout=rate)
    return np.asarray(apply(model, variables, image, train=train, seed=seed))

  np.testing.assert_array_equal(logits(0.5, False), logits(0.5, False, seed=1))
  np.testing.assert_array_equal(logits(0.5, True), logits(0.5, True))
  assert not np.allclose(logits(0.5, True), logits(0.5, True, seed=1))
  # The last dropout stands after the last norm: at a rate of nearly 1 only the head's bias is left.
  bias = np.tile(variables["params"]["head"]["bias"], (4, 1))
  np.testing.assert_allclose(logits(float(np.nextafter(1, 0)), True), bias)


@pytest.mark.parametrize("shape", [(2, 24, 32, 3), (2, 784)])
def test_images_too_small_are_refused(shape):
  with pytest.raises(ValueError, match="at least 25 pixels"):
    initialised(ReducedResNet(10), shape)
