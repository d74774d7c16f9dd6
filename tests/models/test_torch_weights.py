"""Weights of torchvision: every key in its place, and whatever does not fit is named."""

import networks
import numpy as np
import pytest

from tagjax.models import AlexNet, ResNet18
from tagjax.models.torch_weights import load_torch_weights

MODEL = ResNet18(5, width=2, blocks=(1, 1))
LIKE = networks.shapes(MODEL, 16, 16, 3)[1]


def resnet_shapes(width=64, blocks=(2, 2, 2, 2), outputs=1000):
  """Keys and shapes of the state dictionary of torchvision's residual networks."""
  shapes = {"conv1.weight": (width, 3, 7, 7)} | norm_shapes("bn1", width)
  inputs = width
  for stage, number in enumerate(blocks):
    channels = width * 2**stage
    for block in range(number):
      name = f"layer{stage + 1}.{block}"
      shapes[f"{name}.conv1.weight"] = (channels, inputs, 3, 3)
      shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
      shapes |= norm_shapes(f"{name}.bn1", channels) | norm_shapes(f"{name}.bn2", channels)
      if inputs != channels:
        shapes[f"{name}.downsample.0.weight"] = (channels, inputs, 1, 1)
        shapes |= norm_shapes(f"{name}.downsample.1", channels)
      inputs = channels
  return shapes | {"fc.weight": (outputs, inputs), "fc.bias": (outputs,)}


def norm_shapes(name, channels):
  leaves = ("weight", "bias", "running_mean", "running_var")
  return {f"{name}.{leaf}": (channels,) for leaf in leaves}


def alexnet_shapes():
  convolutions = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3)}
  convolutions[10] = (256, 256, 3)
  shapes = {f"features.{n}.weight": (*shape, shape[-1]) for n, shape in convolutions.items()}
  shapes |= {f"features.{n}.bias": shape[:1] for n, shape in convolutions.items()}
  for number, shape in {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}.items():
    shapes |= {f"classifier.{number}.weight": shape, f"classifier.{number}.bias": shape[:1]}
  return shapes


def tensors(shapes, seed=0):
  rng = np.random.default_rng(seed)
  return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


def write(path, arrays):
  np.savez(path / "w.npz", **arrays)
  return path / "w.npz"


@pytest.mark.parametrize(
  ("model", "shapes"), [(ResNet18(1000), resnet_shapes()), (AlexNet(1000), alexnet_shapes())]
)
def test_keys_and_shapes_are_torchvisions(monkeypatch, model, shapes):
  blank = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
  monkeypatch.setattr("tagjax.models.torch_weights.read_tensors", lambda path, most: blank)
  monkeypatch.setattr("tagjax.models.torch_weights._our_order", lambda tensor: tensor)
  _, like = networks.shapes(model, 224, 224, 3)
  loaded = load_torch_weights("", like, model.torch_names())
  assert set(loaded) == set(like)
  assert set(loaded["params"]) == set(like["params"])


def test_every_array_stands_in_its_place(tmp_path):
  arrays = tensors(resnet_shapes(2, (1, 1), 5))
  arrays["bn1.num_batches_tracked"] = np.array(3)
  loaded = load_torch_weights(write(tmp_path, arrays), LIKE, MODEL.torch_names())
  params, stats = loaded["params"], loaded["batch_stats"]
  block = params["stage1_block0"]
  for ours, key in (
    (params["stem"], "conv1"),
    (params["stage0_block0"]["conv2"], "layer1.0.conv2"),
    (block["conv1"], "layer2.0.conv1"),
    (block["shortcut"], "layer2.0.downsample.0"),
  ):
    theirs = arrays[f"{key}.weight"]
    for o, i, y, x in np.ndindex(theirs.shape):
      assert ours["kernel"][y, x, i, o] == theirs[o, i, y, x]
  np.testing.assert_array_equal(params["head"]["kernel"].T, arrays["fc.weight"])
  np.testing.assert_array_equal(params["head"]["bias"], arrays["fc.bias"])
  for ours, key in (
    (block["norm2"]["scale"], "layer2.0.bn2.weight"),
    (block["shortcut_norm"]["bias"], "layer2.0.downsample.1.bias"),
    (stats["stem_norm"]["mean"], "bn1.running_mean"),
    (stats["stage0_block0"]["norm1"]["var"], "layer1.0.bn1.running_var"),
  ):
    np.testing.assert_array_equal(ours, arrays[key])


def test_a_head_of_another_size_is_left_out(tmp_path):
  path = write(tmp_path, tensors(resnet_shapes(2, (1, 1), 9)))
  loaded = load_torch_weights(path, LIKE, MODEL.torch_names())
  assert set(LIKE["params"]) - set(loaded["params"]) == {"head"}
  assert loaded["batch_stats"].keys() == LIKE["batch_stats"].keys()


FAULTS = [
  ({"layer1.0.conv1.weight": None}, r"the file lacks layer1.0.conv1.weight \(2, 2, 3, 3\); give"),
  ({"fc.weight": None, "fc.bias": None, "bn1.bias": None}, "and 1 more; give"),
  ({"layer3.0.conv1.weight": (8, 4, 3, 3)}, r"has not: layer3.0.conv1.weight \(8, 4, 3, 3\);"),
  ({"conv1.weight": (2, 1, 7, 7)}, r"conv1.weight is \(2, 1, 7, 7\) and should be \(2, 3, 7, 7\)"),
  ({"bn1.running_var": (3,)}, r"bn1.running_var is \(3,\) and should be \(2,\)"),
  ({"fc.weight": (9, 3)}, r"fc.weight is \(9, 3\) and should be \(5, 4\)"),
  ({"fc.bias": (4,)}, r"fc.bias is \(4,\) and should be \(5,\)"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
  shapes = resnet_shapes(2, (1, 1), 5) | changes
  path = write(tmp_path, tensors({key: s for key, s in shapes.items() if s is not None}))
  with pytest.raises(ValueError, match=message) as error:
    load_torch_weights(path, LIKE, MODEL.torch_names())
  assert "\n" not in str(error.value)


def test_other_types_are_refused(tmp_path):
  arrays = tensors(resnet_shapes(2, (1, 1), 5))
  arrays["bn1.bias"] = arrays["bn1.bias"].astype(np.float64)
  with pytest.raises(ValueError, match=r"other types than float32: bn1.bias is float64"):
    load_torch_weights(write(tmp_path, arrays), LIKE, MODEL.torch_names())
