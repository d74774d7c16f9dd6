"""Ranges and figures of channels that stored pixels are mapped to."""

import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.input_pipeline.normalization import NORMALIZATIONS, normalizer

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
  ("name", "expected"),
  [("unit", [0, 0.5, 1]), ("signed", [-1, 0, 1]), ("centered", [-0.5, 0, 0.5])],
)
def test_the_stored_range_is_mapped(name, expected):
  image = jnp.array([[0], [8], [16]], jnp.uint8)
  ours = normalizer(name, 16, (1,))(image)
  assert ours.dtype == jnp.float32
  np.testing.assert_allclose(ours[:, 0], expected)


@pytest.mark.parametrize(
  ("name", "mean", "deviation"),
  [
    ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ("cifar", [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    ("mnist", [0.1307], [0.3081]),
  ],
)
def test_channels_are_standardised(name, mean, deviation):
  image = IMAGE[..., : len(mean)]
  ours = normalizer(name, 255, image.shape[1:])(jnp.asarray(image))
  expected = (image / 255.0 - np.array(mean)) / np.array(deviation)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_what_tags_code_makes_of_cub():
  ours = normalizer("legacy_cub", 255, IMAGE.shape[1:])(jnp.asarray(IMAGE))
  expected = (IMAGE - np.array([103.94, 116.78, 123.68]) - 0.5) * 2
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-4)


def test_what_agems_code_makes_of_its_images():
  ours = normalizer("legacy_agem", 255, IMAGE.shape[1:])(jnp.asarray(IMAGE))
  np.testing.assert_allclose(ours, IMAGE - np.array([103.94, 116.78, 123.68]), rtol=1e-5, atol=1e-4)
  mean = IMAGE.mean(axis=0)
  ours = normalizer("mean_image", 255, IMAGE.shape[1:], mean_image=mean)(jnp.asarray(IMAGE))
  np.testing.assert_allclose(ours, (IMAGE - mean) / 255, atol=1e-6)
  with pytest.raises(ValueError, match="needs the mean of the training images"):
    normalizer("mean_image", 255, IMAGE.shape[1:])


def test_images_of_other_channels_are_refused():
  for name, bounds in NORMALIZATIONS.items():
    if np.ndim(bounds[0]):
      with pytest.raises(ValueError, match=f"'{name}' is for images of .* choose 'unit'"):
        normalizer(name, 255, (4, 4, 2))


def test_names_are_checked():
  with pytest.raises(ValueError, match="normalization='centred' is unknown"):
    normalizer("centred", 255, (4, 4, 1))


def test_tokens_stay_as_they_are():
  tokens = jnp.array([[300, 7]], jnp.int32)
  assert normalizer("unit", 1, (2,), np.int32)(tokens) is tokens
  with pytest.raises(ValueError, match=r"normalization='signed' is for pixels.*int32.*'unit'"):
    normalizer("signed", 1, (2,), np.int32)
  assert normalizer("signed", 255, (2,), np.uint8)(tokens.astype(jnp.uint8)).dtype == jnp.float32
