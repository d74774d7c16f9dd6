"""What all networks of images have in common: padding rows, dropout, gradients."""

import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from tagjax.models import AlexNet, CifarAlexNet, LasemCNN, LeNet, ResNet18, RPSNet, resnet_s
from tagjax.models.convolution import direct

LASEM = {"channels": (4, 4), "kernels": (3, 3), "pools": (1, 3), "hidden": (8,)}
TINY = {"width": 2, "blocks": (1, 1)}
MODELS = {
  "resnet18": (functools.partial(ResNet18, 4, **TINY), 32),
  "resnet_s": (functools.partial(resnet_s, 4, **TINY), 8),
  "alexnet": (functools.partial(AlexNet, 4, hidden=8), 63),
  "cifar_alexnet": (functools.partial(CifarAlexNet, 4, hidden=8), 21),
  "lenet": (functools.partial(LeNet, 4), 28),
  "rps_net": (functools.partial(RPSNet, 4, widths=(2, 3, 4, 5), blocks=1), 8),
  "lasem_cnn": (functools.partial(LasemCNN, 4, **LASEM), 8),
}


def build(name, rate):
  make, pixels = MODELS[name]
  make = functools.partial(make, convolve=direct)  # compiles more quickly
  if name == "cifar_alexnet":
    return make(dropout=(rate,) * 3, hidden_dropout=rate), pixels
  return make(dropout=rate), pixels


@functools.partial(jax.jit, static_argnames="model")
def training_pass(model, variables, image, mask):
  """`((loss, (logits, changed)), gradient)` of the valid rows."""

  def loss(params):
    logits, changed = model.apply(
      {**variables, "params": params},
      image,
      task_id=jnp.zeros(len(image), jnp.int32),
      mask=mask,
      train=True,
      mutable=["batch_stats"],
    )
    logits = jnp.where(mask[:, None], logits, 0)
    return jnp.sum(jnp.square(logits - 1)), (logits, changed)

  return jax.value_and_grad(loss, has_aux=True)(variables["params"])


@pytest.mark.parametrize("name", MODELS)
def test_padding_rows_change_no_other_and_all_gradients_are_finite(name):
  model, pixels = build(name, 0.0)
  variables = networks.randomised(model, pixels, pixels, 3)
  image, mask = networks.images(pixels, rows=4), np.array([True, False, True, True])
  other = np.where(mask.reshape(-1, 1, 1, 1), image, 7).astype(np.float32)
  ours, theirs = (training_pass(model, variables, rows, mask) for rows in (image, other))
  for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5 * np.abs(one).max())
  assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(ours[1]))


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_of_training_only(name):
  model, pixels = build(name, 0.5)
  variables = networks.randomised(model, pixels, pixels, 3)
  image = networks.images(pixels)

  def logits(train, seed):
    return np.asarray(networks.apply(model, variables, image, train=train, seed=seed)[0])

  np.testing.assert_array_equal(logits(False, 0), logits(False, 1))
  np.testing.assert_array_equal(logits(True, 0), logits(True, 0))
  assert not np.allclose(logits(True, 0), logits(True, 1))
