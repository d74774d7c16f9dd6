"""The perceptron against NumPy, its initial values, and its dropout."""

import jax
import numpy as np
import pytest

from tagjax.models import MLP

IMAGE = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
CALL = {"task_id": np.zeros(4, np.int32), "mask": np.ones(4, bool)}


def make(**settings):
  model = MLP(num_outputs=10, **settings)
  init = jax.jit(lambda key: model.init(key, IMAGE, train=False, **CALL))
  return model, init(jax.random.key(0))


@pytest.mark.parametrize("head_bias", [True, False])
def test_equals_numpy(head_bias):
  model, variables = make(hidden=(16, 12), head_bias=head_bias)
  assert ("bias" in variables["params"]["head"]) == head_bias
  x = IMAGE.reshape(4, -1).astype(np.float64)
  for name in ("hidden0", "hidden1", "head"):
    layer = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"][name])
    x = x @ layer["kernel"] + layer.get("bias", 0)
    x = x if name == "head" else np.maximum(x, 0)
  np.testing.assert_allclose(model.apply(variables, IMAGE, train=True, **CALL), x, atol=1e-5)


def test_initial_values_are_pytorchs():
  _, variables = make()
  for name, fan_in in (("hidden0", 64), ("hidden1", 256), ("head", 256)):
    for value in variables["params"][name].values():
      assert np.abs(value).max() <= 1 / np.sqrt(fan_in)
      assert np.abs(value).max() > 0.8 / np.sqrt(fan_in)
    np.testing.assert_allclose(
      np.var(variables["params"][name]["kernel"]), 1 / (3 * fan_in), rtol=0.1
    )


def test_dropout_only_in_training_and_of_both_hidden_layers():
  model, variables = make(dropout=0.5)

  def logits(train, seed=0):
    rngs = {"dropout": jax.random.key(seed)}
    return model.apply(variables, IMAGE, train=train, rngs=rngs, **CALL)

  np.testing.assert_array_equal(logits(False), make()[0].apply(variables, IMAGE, train=1, **CALL))
  np.testing.assert_array_equal(logits(True), logits(True))
  assert not np.allclose(logits(True), logits(True, seed=1))
  all_units = float(np.nextafter(1, 0))  # a rate of 1 is refused
  nothing = MLP(num_outputs=10, dropout=all_units).apply(
    variables, IMAGE, train=True, rngs={"dropout": jax.random.key(0)}, **CALL
  )
  np.testing.assert_allclose(nothing, np.tile(variables["params"]["head"]["bias"], (4, 1)))
