"""What goes into the head is what `features=True` gives, of every model with one head for all."""

import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from tagjax import models
from tagjax.core.register import declared

ONE_HEAD = [name for name, one in declared("model").items() if "num_outputs" in one.provided]
"""Networks with a head for each task (LASEM's, progressive ones) have no features for all tasks."""


def made(name):
  return declared("model")[name].make(num_outputs=7)


@pytest.mark.parametrize("name", ONE_HEAD)
def test_every_model_gives_the_input_of_its_head(name):
  model, image = made(name), jnp.zeros((2, 64, 64, 3))
  options = {"train": False, **networks.call(image)}
  variables = jax.eval_shape(functools.partial(model.init, **options), jax.random.key(0), image)
  apply = functools.partial(model.apply, features=True, **options)
  features = jax.eval_shape(apply, variables, image)
  assert features.shape == (2, variables["params"]["head"]["kernel"].shape[0])
  assert features.dtype == jnp.float32


@pytest.mark.parametrize("model", [models.MLP(7, hidden=(5,)), models.RPSNet(7, (2, 2, 2, 2), 1)])
def test_the_head_makes_logits_of_them(model):
  image = networks.images(8)
  variables = networks.randomised(model, *image.shape[1:])
  options = {"train": False, **networks.call(image)}
  logits = model.apply(variables, image, **options)
  features = np.asarray(model.apply(variables, image, features=True, **options))
  head = variables["params"]["head"]
  np.testing.assert_allclose(features @ head["kernel"] + head.get("bias", 0), logits, rtol=1e-4)
  assert features.any()
