"""LeNet: its size, its forward pass against NumPy, its frame of zeros."""

import networks
import numpy as np
import pytest

from tagjax.models import LeNet


@pytest.mark.parametrize(("pixels", "channels", "count"), [(28, 1, 61_706), (32, 3, 62_006)])
def test_number_of_parameters(pixels, channels, count):
  assert networks.num_parameters(LeNet(10), pixels, pixels, channels) == count


@pytest.mark.parametrize(
  ("pixels", "margins", "features"),
  [((28, 28), ((2, 2), (2, 2)), 5 * 5), ((9, 40), ((11, 12), (0, 0)), 5 * 7)],
)
def test_forward_equals_numpy(pixels, margins, features):
  model = LeNet(10)
  image = networks.images(pixels, rows=2, channels=1)
  variables = networks.randomised(model, *pixels, 1)
  params = networks.in_float64(variables["params"])
  assert params["hidden0"]["kernel"].shape == (16 * features, 120)
  x = np.pad(image.astype(np.float64), ((0, 0), *margins, (0, 0)))
  for layer in range(2):
    x = networks.relu(networks.convolve(x, params[f"conv{layer}"], padding=0))
    x = networks.max_pool(x, 2, 2)
  x = x.reshape(2, -1)
  for layer in range(2):
    x = networks.relu(networks.dense(x, params[f"hidden{layer}"]))
  logits, _ = networks.apply(model, variables, image)
  np.testing.assert_allclose(logits, networks.dense(x, params["head"]), rtol=1e-4, atol=1e-4)
