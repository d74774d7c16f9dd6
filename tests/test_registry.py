"""Names are looked up in tables, and joined to a chain with one optimizer at its end."""

import numpy as np
import pytest

from tagjax.base import StreamSpec
from tagjax.config import base_config
from tagjax.errors import ConfigError
from tagjax.registry import (
  MODELS,
  MODIFIERS,
  OPTIMIZERS,
  check_combination,
  make_method,
  make_model,
  method_names,
)

SPEC = StreamSpec(2, 4, np.kron(np.eye(2, dtype=bool), [[True] * 2]), "task", (32, 32, 3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_named_and_made(name):
  assert method_names(name) == [name]
  config = base_config()
  config.method = name
  assert callable(make_method(config, SPEC, [5, 5]).update)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_made_with_the_head_of_the_stream(name):
  config = base_config()
  config.model = name
  config.dropout = 0.25
  model = make_model(config, SPEC)
  assert (model.num_outputs, model.dropout) == (4, 0.25)


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
