"""LASEM's networks: their sizes, a forward pass against NumPy, skips, initial values."""

import itertools

import networks
import numpy as np
import pytest

from tagjax.models import LasemCNN
from tagjax.models.lasem_network import PRESETS

SMALL = {"channels": (4, 4, 6), "kernels": (5, 3, 3), "pools": (1, 3, 2), "hidden": (8, 7)}


def expected_count(preset, positions, outputs):
  """By the sizes of the layers; `positions` are those that the last max-pool leaves."""
  channels = (3, *preset["channels"])
  steps = zip(preset["kernels"], channels[:-1], channels[1:], strict=True)
  convolutions = sum(size * size * inputs * filters + filters for size, inputs, filters in steps)
  widths = (positions * channels[-1], *preset["hidden"], outputs)
  return convolutions + sum(a * b + b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize(
  ("name", "pixels", "side", "outputs", "count"),
  [
    ("cifar", 32, 8, 100, 334_276),
    ("office_home", 128, 4, 130, 2_687_042),  # 128, 43, 15, 8, 4
    ("stl10", 96, 4, 60, 552_364),  # 96, 32, 11, 4
    ("stl10_nine_layers", 96, 4, 60, 746_124),
    ("seventeen_layers", 32, 2, 100, 13_147_884),
  ],
)
def test_number_of_parameters(name, pixels, side, outputs, count):
  preset = PRESETS[name]
  ours = networks.num_parameters(LasemCNN(outputs, **preset), pixels, pixels, 3)
  assert ours == expected_count(preset, side * side, outputs) == count


@pytest.mark.parametrize("skips", [(), ((1, 1),)])
def test_forward_equals_numpy(skips):
  model = LasemCNN(5, skips=skips, **SMALL)
  image = networks.images((10, 13), rows=2)
  variables = networks.randomised(model, 10, 13, 3)
  params = networks.in_float64(variables["params"])
  x = networks.relu(networks.convolve(image.astype(np.float64), params["conv0"]))
  h = networks.relu(networks.convolve(x, params["conv1"]))
  h = h + x if skips else h
  h = networks.max_pool(h, 3, 3, ((1, 1), (1, 1)))
  h = networks.relu(networks.convolve(h, params["conv2"]))
  h = networks.max_pool(h, 2, 2, ((0, 0), (0, 1))).reshape(2, -1)
  for layer in range(2):
    h = networks.relu(networks.dense(h, params[f"hidden{layer}"]))
  logits, _ = networks.apply(model, variables, image)
  np.testing.assert_allclose(logits, networks.dense(h, params["head"]), rtol=1e-4, atol=1e-4)


def test_initial_values_are_those_of_the_paper():
  params = networks.initialised(LasemCNN(10, **PRESETS["cifar"]), 8, 8, 3)["params"]
  for layer in params.values():
    assert np.abs(layer["kernel"]).max() <= 0.1
    np.testing.assert_array_equal(layer["bias"], np.full(layer["bias"].shape, np.float32(0.2)))
  # A normal distribution of deviation 0.05, cut at two deviations, has one of 0.044.
  np.testing.assert_allclose(np.std(params["conv3"]["kernel"]), 0.044, rtol=0.02)


def test_layers_that_do_not_fit_together_are_refused():
  with pytest.raises(ValueError, match=r"pools=\(1, 3\): give each of them a value"):
    networks.shapes(LasemCNN(5, **SMALL | {"pools": (1, 3)}), 16, 16, 3)
  with pytest.raises(ValueError, match=r"the skip \(1, 2\) would add .* to"):
    networks.shapes(LasemCNN(5, skips=((1, 2),), **SMALL), 16, 16, 3)
