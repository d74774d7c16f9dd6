"""Every lowering is the same convolution, and it is PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.models import convolution
from tagjax.models.convolution import Conv

SHAPES = [
  (size, None, stride, height, width)
  for size in (1, 3)
  for stride in (1, 2)
  for height, width in ((8, 8), (21, 11))
]
# Even kernels, none of the usual padding, more of it, strides that leave rows over.
SHAPES += [(4, 0, 1, 8, 8), (2, 0, 1, 5, 8), (5, 2, 4, 11, 9), (3, 0, 2, 8, 9), (2, 3, 3, 6, 7)]


def reference(image, kernel, stride, padding=None):
  """The definition in loops, float64; symmetric zero padding, by default of `k // 2`."""
  size = kernel.shape[0]
  margin = size // 2 if padding is None else padding
  batch, height, width, _ = image.shape
  padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
  rows = (height + 2 * margin - size) // stride + 1
  columns = (width + 2 * margin - size) // stride + 1
  out = np.zeros((batch, rows, columns, kernel.shape[-1]))
  for y in range(rows):
    for x in range(columns):
      window = padded[:, stride * y : stride * y + size, stride * x : stride * x + size]
      out[:, y, x] = np.einsum("bijc,ijco->bo", window, kernel)
  return out


def example(size, height, width, seed=0):
  rng = np.random.default_rng(seed)
  image = rng.normal(size=(2, height, width, 3)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 3, 5)).astype(np.float32)
  return image, kernel


LOWERINGS = [convolution.direct, convolution.by_patches, convolution.patched_gradients]


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(("size", "padding", "stride", "height", "width"), SHAPES)
def test_equals_the_definition(lowering, size, padding, stride, height, width):
  image, kernel = example(size, height, width)
  expected = reference(image.astype(np.float64), kernel.astype(np.float64), stride, padding)
  ours = lowering(image, kernel, stride, padding)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "padding", "stride", "height", "width"), SHAPES)
def test_gradients_of_the_lowerings_agree(size, padding, stride, height, width):
  image, kernel = example(size, height, width)
  out, direct = jax.vjp(lambda *a: convolution.direct(*a, stride, padding), image, kernel)
  cotangent = jax.random.normal(jax.random.key(0), out.shape)
  for lowering in (convolution.by_patches, convolution.patched_gradients):
    _, pull_back = jax.vjp(lambda *a: lowering(*a, stride, padding), image, kernel)  # noqa: B023
    for ours, theirs in zip(pull_back(cotangent), direct(cotangent), strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "padding", "stride"), [(3, None, 1), (3, None, 2), (4, 0, 2)])
def test_per_example_gradients_and_stacked_kernels(size, padding, stride):
  image, kernel = example(size, 8, 8)
  kernels = jnp.stack([kernel, 2 * kernel])

  def loss(kernel, image, lowering):
    return jnp.sum(jnp.square(lowering(image[None], kernel, stride, padding)))

  def grads(lowering):
    return jax.vmap(jax.grad(loss), in_axes=(0, 0, None))(kernels, image, lowering)

  for lowering in (convolution.by_patches, convolution.patched_gradients):
    np.testing.assert_allclose(grads(lowering), grads(convolution.direct), rtol=1e-4, atol=1e-2)


def lowered(function, *args):
  return jax.jit(function).lower(*args).as_text()


def test_a_gradient_on_the_cpu_takes_no_convolution():
  image, kernel = example(3, 8, 8)

  def loss(image, kernel):
    return jnp.sum(jnp.square(convolution.convolve(image, kernel, 2)))

  gradient = jax.grad(loss, (0, 1))
  assert "stablehlo.convolution" not in lowered(gradient, image, kernel)
  each = jax.vmap(gradient, (0, None))
  assert "stablehlo.convolution" not in lowered(each, image[:, None], kernel)
  for ours, theirs in zip(
    gradient(image, kernel),
    jax.grad(lambda *a: jnp.sum(jnp.square(convolution.direct(*a, 2))), (0, 1))(image, kernel),
    strict=True,
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_pass_without_a_gradient_is_one_convolution():
  image, kernel = example(3, 8, 8)

  def convolve(image, kernel):
    return convolution.convolve(image, kernel, 1)

  assert lowered(convolve, image, kernel).count("stablehlo.convolution") == 1
  over_images = jax.vmap(convolve, (0, None))
  assert lowered(over_images, image[:, None], kernel).count("stablehlo.convolution") == 1
  expected = convolution.by_patches(image, kernel, 1)[:, None]
  np.testing.assert_allclose(over_images(image[:, None], kernel), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("image_axis", [None, 0])
def test_stacked_kernels_take_no_grouped_convolution(image_axis, padding):
  image, kernel = example(3, 8, 8)
  kernels = jnp.stack([kernel, 2 * kernel])
  images = jnp.stack([image, image]) if image_axis == 0 else image

  def convolve(image, kernel):
    return convolution.convolve(image, kernel, 2, padding)

  over_kernels = jax.vmap(convolve, (image_axis, 0))
  assert "stablehlo.convolution" not in lowered(over_kernels, images, kernels)
  once = convolution.direct(image, kernel, 2, padding)
  expected = jnp.stack([once, 2 * once])
  np.testing.assert_allclose(over_kernels(images, kernels), expected, rtol=1e-4, atol=1e-4)
  # The images of each kernel mapped over as well.
  nested = jax.vmap(jax.vmap(convolve, (0, None)), (None, 0))(image[:, None], kernels)
  np.testing.assert_allclose(nested[:, :, 0], expected, rtol=1e-4, atol=1e-4)


def test_other_backends_use_the_direct_form(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  image, kernel = example(3, 8, 8)
  jaxpr = jax.make_jaxpr(lambda *a: convolution.convolve(*a, 1))(image, kernel)
  assert "conv_general_dilated" in str(jaxpr)


def test_wrong_kernels_are_refused():
  image, kernel = example(3, 8, 8)
  with pytest.raises(ValueError, match=r"odd size.*give the padding"):
    convolution.convolve(image, kernel[:2, :2], 1)
  with pytest.raises(ValueError, match="kernel is 2x3: only square"):
    convolution.convolve(image, kernel[:2], 1, padding=0)
  with pytest.raises(ValueError, match="with a padding of 0 it is smaller than the kernel, 3x3"):
    convolution.convolve(image[:, :, :2], kernel, 1, padding=0)
  with pytest.raises(ValueError, match="3 channels, kernel takes 2"):
    convolution.convolve(image, kernel[:, :, :2], 1)


def test_layer_hands_its_padding_and_initial_values_on():
  image, _ = example(3, 8, 8)
  constant = jax.nn.initializers.constant
  layer = Conv(5, 4, 2, True, padding=3, kernel_init=constant(0.5), bias_init=constant(0.25))
  out, variables = layer.init_with_output(jax.random.key(0), image)
  np.testing.assert_array_equal(variables["params"]["kernel"], np.full((4, 4, 3, 5), 0.5))
  expected = reference(image.astype(np.float64), np.full((4, 4, 3, 5), 0.5), 2, 3) + 0.25
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_layer_has_pytorch_initial_values_and_adds_its_bias():
  image = jnp.ones((2, 8, 8, 16))
  layer = Conv(features=64, size=3, use_bias=True)
  params = layer.init(jax.random.key(0), image)["params"]
  bound = 1 / np.sqrt(9 * 16)
  for name, shape in (("kernel", (3, 3, 16, 64)), ("bias", (64,))):
    value = np.asarray(params[name])
    assert value.shape == shape
    assert np.abs(value).max() <= bound
    assert np.abs(value).max() > 0.9 * bound
  np.testing.assert_allclose(np.var(params["kernel"]), bound**2 / 3, rtol=0.05)
  without = {"kernel": params["kernel"], "bias": jnp.zeros(64)}
  difference = layer.apply({"params": params}, image) - layer.apply({"params": without}, image)
  np.testing.assert_allclose(difference[0, 3, 3], params["bias"], atol=1e-5)
  assert "bias" not in Conv(features=4).init(jax.random.key(0), image)["params"]
