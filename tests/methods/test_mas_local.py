"""Local MAS against the Hebbian products in NumPy float64, and what must hold in the loop."""

import boundaries
import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sketches

from tagjax.methods.mas_local import MasLocalState, mas_local
from tagjax.models import Conv

STREAM = helpers.spec()
SIZE = 23


def hebbian(params, task, rows=slice(None)):
  """`Σ |x_i relu(y_j)| / n` of `TinyModel`: of the head without the relu."""
  x = boundaries.inputs(STREAM, task, SIZE)[0][rows]
  before, logits, _ = boundaries.two_layers(params, x)
  hidden = np.maximum(before, 0)
  outputs = np.abs(logits) * STREAM.classes[task]
  return {
    "Dense_0": {
      "kernel": np.einsum("ni,nj->ij", x, hidden) / len(x),
      "bias": hidden.mean(axis=0),
    },
    "Dense_1": {
      "kernel": np.einsum("ni,nj->ij", hidden, outputs) / len(x),
      "bias": outputs.mean(axis=0),
    },
  }


@pytest.mark.parametrize("examples", [None, 10])
def test_dense_layers_are_products_of_activations(examples):
  expected = None
  for task, state in enumerate(
    boundaries.consolidated(mas_local(1.0, examples=examples), STREAM, [0, 1])
  ):
    params = state.variables["params"]
    new = hebbian(params, task, slice(examples))
    expected = new if expected is None else jax.tree.map(np.add, expected, new)
    boundaries.assert_close(state.method.importance, expected, rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, state.method.anchor, params)
  inactive = ~STREAM.classes[0] & ~STREAM.classes[1]
  assert (np.asarray(state.method.importance["Dense_1"]["kernel"])[:, inactive] == 0).all()


class ConvolutionalModel(nn.Module):
  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    x = nn.relu(Conv(3, size=3, stride=2, use_bias=True, name="conv")(image))
    return nn.Dense(6, name="head")(x.reshape(x.shape[0], -1))


def test_a_convolution_sums_over_positions_before_the_absolute_value():
  state = boundaries.consolidated(
    mas_local(1.0), STREAM, [1], model=ConvolutionalModel(), normalization="signed"
  )[0]
  params = jax.tree.map(lambda p: np.asarray(p, np.float64), state.variables["params"])
  kernel, bias = params["conv"]["kernel"], params["conv"]["bias"]
  images = boundaries.inputs(STREAM, 1, SIZE)[0].reshape(SIZE, 4, 4, 1) * 2 - 1
  of_kernel, of_bias = np.zeros_like(kernel), np.zeros_like(bias)
  for image in np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))):
    own_kernel, own_bias = np.zeros_like(kernel), np.zeros_like(bias)
    for row in (0, 2):
      for column in (0, 2):
        patch = image[row : row + 3, column : column + 3]
        y = np.maximum(np.einsum("ijc,ijco->o", patch, kernel) + bias, 0)
        own_kernel += patch[..., None] * y.reshape(1, 1, 1, -1)
        own_bias += y
    of_kernel += np.abs(own_kernel) / SIZE
    of_bias += own_bias / SIZE
  actual = state.method.importance["conv"]
  assert_tree = {"kernel": of_kernel, "bias": of_bias}
  boundaries.assert_close(dict(actual), assert_tree, rtol=1e-4, atol=1e-5)


def test_normalisations_have_no_importance_and_each_layer_stands_alone():
  """Behind batch statistics: their parameters are free, and no gradient passes a layer's input."""
  model = helpers.TinyModel(STREAM.num_outputs, batch_norm=True)
  state = boundaries.consolidated(mas_local(1.0), STREAM, [1], model=model)[0]
  importance = state.method.importance
  assert all((np.asarray(leaf) == 0).all() for leaf in importance["BatchNorm_0"].values())
  expected = hebbian({k: v for k, v in state.variables["params"].items() if "Dense" in k}, 1)
  boundaries.assert_close(importance["Dense_0"], expected["Dense_0"], rtol=1e-4)


@pytest.mark.parametrize(("clip", "length"), [(None, 80.0), (2.0, 2.0)])
def test_the_pull_is_clipped_on_request(clip, length):
  state = MasLocalState({"w": jnp.full(16, 0.5)}, {"w": jnp.ones(16)})
  method = mas_local(10.0, clip=clip)
  updates, _ = method.update({"w": jnp.zeros(16)}, state, {"w": jnp.full(16, 3.0)}, at=None)
  np.testing.assert_allclose(updates["w"], np.full(16, length / 4), rtol=1e-6)


def test_in_the_loop():
  boundaries.assert_regulariser_is_sound(lambda strength: mas_local(strength / 100), atol=1e-4)


def test_a_model_without_kernels_is_refused():
  with pytest.raises(ValueError, match="found no layer with a parameter named 'kernel'"):
    boundaries.consolidated(mas_local(1.0), STREAM, [0], model=sketches.TaskColumns(3, 6))


class HeadFirst(nn.Module):
  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    x = image.reshape(image.shape[0], -1)
    logits = nn.Dense(6)(x)
    return logits + jnp.sum(nn.Dense(4)(x), axis=-1, keepdims=True)


def test_a_model_whose_last_layer_is_no_head_is_refused():
  with pytest.raises(ValueError, match=r"called last gives \(1, 4\), the logits are \(1, 6\)"):
    boundaries.consolidated(mas_local(1.0), STREAM, [0], model=HeadFirst())


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strength": -1}, "strength must be"),
    ({"examples": 0}, "examples must be"),
    ({"clip": 0}, "clip must be"),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    mas_local(**options)
