"""Weights from a file reach the training; what does not fit is one line of the config."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from tagjax.config.build import build_programs, load_pretrained, load_stream
from tagjax.config.defaults import base_config
from tagjax.config.registry import make_model
from tagjax.core.errors import ConfigError
from tagjax.engine.learner import initial_variables
from tagjax.training.placement import choose_layout


def settings(**changes) -> ConfigDict:
  config = base_config()
  small = {"benchmark": "split_digits", "num_tasks": 2, "model": "resnet18", "resnet18.width": 2}
  config.update_from_flattened_dict(small | {"resnet18.stem": "cifar"} | changes)
  return config


@pytest.fixture(scope="module")
def stream():
  return load_stream(settings())


@pytest.fixture(scope="module")
def weights(tmp_path_factory, stream) -> str:
  """A file as torchvision would save it, for 7 outputs."""
  config = settings()
  model = make_model(config, stream.spec._replace(num_outputs=7))
  shapes = jax.eval_shape(lambda: initial_variables(model, stream.spec, jax.random.key(0)))
  rng = np.random.default_rng(0)
  suffixes = {"kernel": "weight", "scale": "weight", "bias": "bias"}
  suffixes |= {"mean": "running_mean", "var": "running_var"}
  tensors = {}
  for path, leaf in jax.tree.leaves_with_path(shapes):
    _, *layer, name = (part.key for part in path)
    value = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
    tensors[f"{model.torch_names()['/'.join(layer)]}.{suffixes[name]}"] = value.transpose(axes)
  path = tmp_path_factory.mktemp("weights") / "resnet18.npz"
  np.savez(path, **tensors)
  return str(path)


def test_all_seeds_start_from_the_file_with_a_head_of_their_own(stream, weights, capsys):
  config = settings(pretrained=weights, seeds=2, seed_axis="vmap", method="sgd")
  programs = build_programs(config, stream, [5, 5], choose_layout(config, 2), eval_batch_size=8)
  assert "all but the head, of 10 outputs, which is new" in capsys.readouterr().err
  state = programs.init(jnp.stack([jax.random.key(seed) for seed in (1, 2)]))
  params, stats = state.variables["params"], state.variables["batch_stats"]
  with np.load(weights) as file:
    for seed in range(2):
      kernel = params["stage1_block0"]["shortcut"]["kernel"][seed]
      np.testing.assert_array_equal(kernel[0, 0].T, file["layer2.0.downsample.0.weight"][..., 0, 0])
      np.testing.assert_array_equal(stats["stem_norm"]["var"][seed], file["bn1.running_var"])
  assert not np.allclose(*params["head"]["kernel"])


def test_a_file_with_a_head_of_the_right_size_gives_the_head_too(stream, weights, capsys):
  seven = types.SimpleNamespace(spec=stream.spec._replace(num_outputs=7))
  loaded = load_pretrained(settings(pretrained=weights), seven)
  with np.load(weights) as file:
    np.testing.assert_array_equal(loaded["params"]["head"]["bias"], file["fc.bias"])
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"resnet18.width": 3}, "layer1.0.conv1.weight is .2, 2, 3, 3. and should be .3, 3, 3, 3."),
    ({"resnet18.stem": "imagenet"}, "conv1.weight is .2, 1, 3, 3. and should be .2, 1, 7, 7."),
    ({"pretrained": "/nowhere/resnet18.pth"}, "No such file"),
    ({"pretrained": "resnet18.h5"}, "must end in one of .safetensors"),
  ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(stream, weights, changes, message):
  config = settings(**({"pretrained": weights} | changes))
  with pytest.raises(ConfigError, match=message) as error:
    load_pretrained(config, stream)
  assert str(error.value).startswith(f"config.pretrained={config.pretrained!r}: ")
  assert "\n" not in str(error.value)


def test_images_too_small_for_the_model_are_refused_in_one_line(stream):
  config = settings(model="alexnet")
  with pytest.raises(ConfigError, match=r"config.model='alexnet': image has shape .1, 8, 8, 1."):
    load_pretrained(config, stream)


def test_a_normalization_for_other_images_is_refused_in_one_line(stream):
  config = settings(normalization="imagenet", model="mlp")
  with pytest.raises(ConfigError, match=r"^config.normalization='imagenet' is for images of 3"):
    build_programs(config, stream, [5, 5], choose_layout(config, 1), eval_batch_size=8)
