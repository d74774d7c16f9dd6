"""Names are looked up in tables, and joined to a chain with one optimizer at its end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.config.defaults import base_config
from tagjax.config.registry import (
  MODELS,
  MODIFIERS,
  OPTIMIZERS,
  OWN_DROPOUT,
  PRETRAINABLE,
  check_combination,
  make_method,
  make_model,
  method_names,
)
from tagjax.core.errors import ConfigError
from tagjax.core.types import StreamSpec
from tagjax.engine.learner import initial_variables

SPEC = StreamSpec(2, 4, np.kron(np.eye(2, dtype=bool), [[True] * 2]), "task", (32, 32, 3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_named_and_made(name):
  assert method_names(name) == [name]
  config = base_config()
  config.method = name
  assert callable(make_method(config, SPEC, [5, 5]).update)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gets_the_head_of_the_stream_and_its_settings(name):
  config = base_config()
  config.model = name
  config.compute_dtype = "bfloat16"
  rate = (0.25, 0.5, 0.125) if name == "cifar_alexnet" else 0.25
  config.update_from_flattened_dict({OWN_DROPOUT.get(name, "dropout"): rate})
  model = make_model(config, SPEC, "devices")
  assert (model.num_outputs, model.dropout, model.compute_dtype) == (4, rate, jnp.bfloat16)
  assert hasattr(model, "torch_names") or name not in PRETRAINABLE
  spec = SPEC._replace(image_shape=(64, 64, 3))
  shapes = jax.eval_shape(lambda key: initial_variables(model, spec, key), jax.random.key(0))
  assert getattr(model, "axis_name", None) == ("devices" if "batch_stats" in shapes else None)


@pytest.mark.parametrize(
  ("model", "key", "value", "attribute"),
  [
    ("mlp", "mlp.hidden", (7,), "hidden"),
    ("reduced_resnet", "reduced_resnet.width", 7, "width"),
    ("resnet18", "resnet18.width", 7, "width"),
    ("resnet18", "resnet18.stem", "cifar", "stem"),
    ("cifar_alexnet", "cifar_alexnet.hidden_dropout", 0.25, "hidden_dropout"),
  ],
)
def test_a_setting_of_a_model_reaches_it(model, key, value, attribute):
  config = base_config()
  config.update_from_flattened_dict({"model": model, key: value})
  assert getattr(make_model(config, SPEC), attribute) == value


def test_a_preset_of_the_lasem_network_reaches_it():
  config = base_config()
  config.update_from_flattened_dict({"model": "lasem_cnn", "lasem_cnn.preset": "office_home"})
  assert make_model(config, SPEC).kernels == (11, 5, 3, 3)


def test_sgd_is_added_to_modifiers_alone(monkeypatch):
  monkeypatch.setitem(MODIFIERS, "pull", lambda context: None)
  assert method_names("pull") == ["pull", "sgd"]
  assert method_names("pull + tag") == ["pull", "tag"]


@pytest.mark.parametrize("spelling", ["tag+pull", "sgd+tag", "pull+sgd+tag"])
def test_the_one_optimizer_stands_last(monkeypatch, spelling):
  monkeypatch.setitem(MODIFIERS, "pull", lambda context: None)
  with pytest.raises(ConfigError, match="one optimizer, and it stands last"):
    method_names(spelling)


@pytest.mark.parametrize(
  ("spelling", "reason"),
  [
    ("agem+gem+tag", "the second projection undoes the first; keep one of agem, gem"),
    ("er+derpp", "two reservoirs would replay the same past; keep one of der, derpp, er"),
    ("er_ace+er", "two reservoirs would replay the same past"),
    ("er+er+sgd", "er stands in it twice"),
  ],
)
def test_compositions_without_meaning_are_refused(spelling, reason):
  config = base_config()
  config.method = spelling
  with pytest.raises(ConfigError, match=reason):
    check_combination(config)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"method": "agem", "memory.per": "total", "memory.capacity": 3}, "give at least 4, or set"),
    ({"method": "ewc+tag", "ewc.decay": 0.5}, "ewc in config.method='ewc.tag': decay=0.5 has no"),
    ({"method": "tag", "tag.b": 100.0}, "tag in config.method='tag': b must be"),
  ],
)
def test_what_a_method_refuses_is_one_line_of_the_config(changes, message):
  config = base_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=message) as error:
    make_method(config, SPEC, [5, 5])
  assert "\n" not in str(error.value)
