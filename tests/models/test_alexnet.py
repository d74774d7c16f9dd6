"""AlexNet: its size, its forward pass against NumPy, its means of regions."""

import networks
import numpy as np
import pytest

from tagjax.models import AlexNet
from tagjax.models.alexnet import region_means

LAYERS = ((4, 2, True), (1, 2, True), (1, 1, False), (1, 1, False), (1, 1, True))


def test_number_of_parameters_is_torchvisions():
  assert networks.num_parameters(AlexNet(1000), 224, 224, 3) == 61_100_840


@pytest.mark.parametrize("pixels", [64, 96, 128, 224])
def test_sizes_of_images_change_nothing_but_the_time(pixels):
  logits, variables = networks.shapes(AlexNet(50), pixels, pixels, 3)
  assert logits.shape == (1, 50)
  assert variables == networks.shapes(AlexNet(50), 224, 224, 3)[1]


def test_forward_equals_numpy_with_the_weights_of_features_channels_first():
  model = AlexNet(5, hidden=12)
  image = networks.images((67, 131), rows=2)
  variables = networks.randomised(model, 67, 131, 3)
  params = networks.in_float64(variables["params"])
  x = image.astype(np.float64)
  for layer, (stride, padding, pool) in enumerate(LAYERS):
    x = networks.relu(networks.convolve(x, params[f"conv{layer}"], stride, padding))
    x = networks.max_pool(x, 3, 2) if pool else x
  x = np.moveaxis(numpy_regions(x), -1, 1).reshape(2, -1)
  for layer in range(2):
    x = networks.relu(networks.dense(x, params[f"hidden{layer}"]))
  logits, _ = networks.apply(model, variables, image)
  np.testing.assert_allclose(logits, networks.dense(x, params["head"]), rtol=1e-4, atol=1e-4)


def numpy_regions(x, side=6):
  """PyTorch's adaptive average pooling, region by region."""
  _, height, width, _ = x.shape

  def reach(region, length):
    return slice(region * length // side, -(-(region + 1) * length // side))

  rows = [
    [x[:, reach(i, height), reach(j, width)].mean((1, 2)) for j in range(side)] for i in range(side)
  ]
  return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.parametrize("pixels", [6, 1, (3, 13), 12])
def test_region_means(pixels):
  x = networks.images(pixels)
  np.testing.assert_allclose(region_means(x, 6), numpy_regions(x), rtol=1e-5, atol=1e-6)


def test_images_too_small_are_refused():
  with pytest.raises(ValueError, match="at least 63 pixels"):
    networks.shapes(AlexNet(10), 62, 100, 3)
  assert networks.shapes(AlexNet(10), 63, 63, 3)[0].shape == (1, 10)
