"""RPS-net: its size, its forward pass against NumPy, its pooling and initial values."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from tagjax.models import RPSNet
from tagjax.models.rps_net import generalised_mean

BLOCKS = [(stage, block) for stage in range(4) for block in range(2)]


def test_number_of_parameters():
  assert networks.num_parameters(RPSNet(100), 32, 32, 3) == 1_250_236


@pytest.mark.parametrize("pixels", [28, 112])
def test_sizes_of_images_change_nothing_but_the_time(pixels):
  logits, variables = networks.shapes(RPSNet(10), pixels, pixels, 3)
  assert logits.shape == (1, 10)
  assert variables == networks.shapes(RPSNet(10), 32, 32, 3)[1]
  assert "bias" not in variables["params"]["head"]


def numpy_forward(variables, x):
  params, stats = (networks.in_float64(variables[name]) for name in ("params", "batch_stats"))

  def normalised_conv(x, layers, statistics, name):
    x = networks.convolve(x, layers[name])
    return networks.normalise(x, layers[f"{name}_norm"], statistics[f"{name}_norm"])

  x = networks.relu(normalised_conv(x.astype(np.float64), params, stats, "stem"))
  for stage, block in BLOCKS:
    layers, statistics = (tree[f"stage{stage}_block{block}"] for tree in (params, stats))
    h = networks.relu(normalised_conv(x, layers, statistics, "conv1"))
    h = normalised_conv(h, layers, statistics, "conv2")
    if stage > 0 and block == 0:
      x = networks.relu(normalised_conv(x, layers, statistics, "skip"))
    x = h + x
    if stage in (1, 2) and block == 1:
      x = networks.max_pool(x, 2, 2)
    x = networks.relu(x)
  pooled = np.cbrt((np.maximum(x, 1e-6) ** 3).mean((1, 2)))
  return pooled @ params["head"]["kernel"]


def test_forward_equals_numpy():
  model = RPSNet(6, widths=(3, 4, 5, 6))
  image = networks.images((8, 11), rows=2)
  variables = networks.randomised(model, 8, 11, 3)
  logits, _ = networks.apply(model, variables, image)
  np.testing.assert_allclose(logits, numpy_forward(variables, image), rtol=1e-4, atol=1e-4)


def test_generalised_mean_has_a_gradient_where_all_is_zero():
  x = jnp.zeros((1, 2, 2, 1))
  np.testing.assert_allclose(generalised_mean(x), [[1e-6]], rtol=1e-3)
  assert np.isfinite(jax.grad(lambda x: generalised_mean(x)[0, 0])(x)).all()


def test_kernels_start_normal_by_their_outputs():
  params = networks.initialised(RPSNet(50, widths=(32, 4, 4, 4)), 8, 8, 3)["params"]
  kernel = params["stage0_block0"]["conv1"]["kernel"]
  np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 32)), rtol=0.05)
  assert np.any(params["stem"]["bias"] != 0)


def test_images_too_small_are_refused():
  with pytest.raises(ValueError, match=r"RPSNet takes .* at least 4 pixels"):
    networks.shapes(RPSNet(10), 3, 8, 3)
