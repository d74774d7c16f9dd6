"""RESNET-S and RESNET-B: their sizes, their differences from ResNet-18, their initial values."""

import networks
import numpy as np

from tagjax.models import resnet_b, resnet_s


def two_convolutions(inputs, outputs, *, shortcut):
  """Parameters of a block; `shortcut`: those of its 1×1 convolution's normalisation, None: none."""
  convolutions = 9 * inputs * outputs + 9 * outputs * outputs + 4 * outputs
  return convolutions + (0 if shortcut is None else inputs * outputs + shortcut)


def test_number_of_parameters_of_resnet_s():
  blocks = sum(2 * two_convolutions(width, width, shortcut=None) for width in (20,))
  for width in (40, 80, 160):
    blocks += two_convolutions(width // 2, width, shortcut=2 * width)
    blocks += two_convolutions(width, width, shortcut=None)
  expected = 9 * 3 * 20 + 2 * 20 + blocks + 160 * 100 + 100
  assert expected == networks.num_parameters(resnet_s(100), 32, 32, 3) == 1_109_240


def test_number_of_parameters_of_resnet_b():
  blocks = sum(2 * two_convolutions(width, width, shortcut=None) for width in (64,))
  for width in (128, 256, 512):
    blocks += two_convolutions(width // 2, width, shortcut=0)
    blocks += two_convolutions(width, width, shortcut=None)
  expected = 49 * 3 * 64 + 2 * 64 + blocks + 512 * 200 + 200
  assert expected == networks.num_parameters(resnet_b(200), 224, 224, 3) == 11_277_320


def test_settings_and_other_options():
  small, big = resnet_s(7, dropout=0.5), resnet_b(7, axis_name="devices")
  assert (small.num_outputs, small.dropout, big.axis_name) == (7, 0.5, "devices")
  assert (small.stem, big.stem) == ("cifar", "unpooled")
  assert (small.normalise_shortcut, big.normalise_shortcut) == (True, False)
  assert small.epsilon == big.epsilon == 1e-3


def test_kernels_start_within_the_root_of_their_height_times_inputs():
  params = networks.initialised(resnet_s(10, width=16, blocks=(1, 1)), 16, 16, 3)["params"]
  for kernel in (params["stem"]["kernel"], params["stage1_block0"]["shortcut"]["kernel"]):
    bound = 1 / np.sqrt(kernel.shape[0] * kernel.shape[2])
    assert 0.9 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(np.var(kernel), bound**2 / 3, rtol=0.15)
