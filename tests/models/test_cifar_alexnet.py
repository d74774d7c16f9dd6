"""The AlexNet of HAT: its size, its forward pass against NumPy, where it drops."""

import networks
import numpy as np
import pytest

from tagjax.models import CifarAlexNet


def test_number_of_parameters():
  convolutions = 16 * 3 * 64 + 64 + 9 * 64 * 128 + 128 + 4 * 128 * 256 + 256
  dense = 1024 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 100 + 100
  assert networks.num_parameters(CifarAlexNet(100), 32, 32, 3) == convolutions + dense == 6_708_772


@pytest.mark.parametrize("pixels", [32, 84])
def test_shape_of_the_logits(pixels):
  assert networks.shapes(CifarAlexNet(10), pixels, pixels, 3)[0].shape == (1, 10)


def test_forward_equals_numpy():
  model = CifarAlexNet(5, hidden=12)
  image = networks.images((21, 32), rows=2)
  variables = networks.randomised(model, 21, 32, 3)
  params = networks.in_float64(variables["params"])
  x = image.astype(np.float64)
  for layer in range(3):
    x = networks.relu(networks.convolve(x, params[f"conv{layer}"], padding=0))
    x = networks.max_pool(x, 2, 2)
  x = x.reshape(2, -1)
  for layer in range(2):
    x = networks.relu(networks.dense(x, params[f"hidden{layer}"]))
  logits, _ = networks.apply(model, variables, image)
  np.testing.assert_allclose(logits, networks.dense(x, params["head"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rates", [((0.9, 0, 0), 0.0), ((0, 0, 0.9), 0.0), ((0, 0, 0), 0.9)])
def test_each_rate_is_of_its_own_place(rates):
  model = CifarAlexNet(5, 16, *rates)
  image = networks.images(21, rows=2)
  variables = networks.randomised(model, 21, 21, 3)
  first, second = (networks.apply(model, variables, image, train=True, seed=s)[0] for s in (0, 1))
  assert not np.allclose(first, second)


def test_images_too_small_are_refused():
  with pytest.raises(ValueError, match="at least 21 pixels"):
    networks.shapes(CifarAlexNet(10), 20, 32, 3)
