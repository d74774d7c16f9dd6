"""ResNet-18: its size, its forward pass against NumPy, its initial values."""

import networks
import numpy as np
import pytest

from tagjax.models import ResNet18


def test_number_of_parameters_is_torchvisions():
  assert networks.num_parameters(ResNet18(1000), 224, 224, 3) == 11_689_512
  assert networks.num_parameters(ResNet18(1000, blocks=(3, 4, 6, 3)), 224, 224, 3) == 21_797_672


@pytest.mark.parametrize("pixels", [32, 64, 84, 112])
def test_sizes_of_images_change_nothing_but_the_time(pixels):
  model = ResNet18(200)
  logits, variables = networks.shapes(model, pixels, pixels, 3)
  assert logits.shape == (1, 200)
  assert variables == networks.shapes(model, 224, 224, 3)[1]


def numpy_forward(model, variables, x):
  """The network in float64, in evaluation mode."""
  params, stats = (networks.in_float64(variables[name]) for name in ("params", "batch_stats"))

  def normalise(x, *place):
    layer, statistics = params, stats
    for name in place:
      layer, statistics = layer[name], statistics[name]
    return networks.normalise(x, layer, statistics, model.epsilon)

  large = model.stem != "cifar"
  x = networks.convolve(x.astype(np.float64), params["stem"], 2 if large else 1)
  x = networks.relu(normalise(x, "stem_norm"))
  if model.stem == "imagenet":
    x = networks.max_pool(x, 3, 2, ((1, 1), (1, 1)))
  for name in (f"stage{stage}_block{block}" for stage in range(2) for block in range(2)):
    block = params[name]
    stride = 2 if name == "stage1_block0" else 1
    h = networks.relu(normalise(networks.convolve(x, block["conv1"], stride), name, "norm1"))
    h = normalise(networks.convolve(h, block["conv2"]), name, "norm2")
    if stride == 2:
      x = networks.convolve(x, block["shortcut"], stride)
      x = normalise(x, name, "shortcut_norm") if model.normalise_shortcut else x
    x = networks.relu(h + x)
  return networks.dense(x.mean((1, 2)), params["head"])


@pytest.mark.parametrize(
  ("stem", "normalise_shortcut", "epsilon"),
  [("imagenet", True, 1e-5), ("unpooled", False, 0.1), ("cifar", True, 1e-3)],
)
def test_forward_equals_numpy(stem, normalise_shortcut, epsilon):
  options = {"stem": stem, "normalise_shortcut": normalise_shortcut, "epsilon": epsilon}
  model = ResNet18(10, width=4, blocks=(2, 2), **options)
  image = networks.images((21, 26), rows=2)
  variables = networks.randomised(model, 21, 26, 3)
  logits, _ = networks.apply(model, variables, image)
  expected = numpy_forward(model, variables, image)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_initial_values_are_torchvisions():
  params = networks.initialised(ResNet18(50, width=16, blocks=(1,)), 32, 32, 3)["params"]
  for kernel in (params["stem"]["kernel"], params["stage0_block0"]["conv1"]["kernel"]):
    size, _, _, features = kernel.shape
    deviation = np.sqrt(2 / (size * size * features))
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.1)
    assert np.abs(kernel).max() > 2.5 * deviation  # normal, and not cut
  np.testing.assert_array_equal(params["stage0_block0"]["norm2"]["scale"], np.ones(16))
  head = params["head"]["kernel"]
  assert 0.9 / np.sqrt(16) < np.abs(head).max() <= 1 / np.sqrt(16)


def test_what_is_no_image_is_refused():
  with pytest.raises(ValueError, match=r"\(1, 784\): ResNet18 takes \[B, H, W, C\]"):
    networks.shapes(ResNet18(10), 784)
