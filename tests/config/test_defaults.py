"""The base config holds every option of every signature, with its default and a field that fits."""

import json

import pytest
from ml_collections import ConfigDict

from tagjax.config.defaults import Choices, base_config, flat_items, known_options, nested
from tagjax.config.settings import read
from tagjax.config.validate import validate
from tagjax.core import register
from tagjax.core.register import signature_options
from tagjax.training.options import RunOptions


def test_the_base_config_is_valid():
  validate(base_config())


def test_every_option_of_every_declaration_has_a_key():
  keys = {key for one in register.declared(*register.KINDS).values() for key in one.option_keys()}
  keys |= signature_options(Choices).keys() | signature_options(RunOptions).keys()
  found = flat_items(base_config())
  assert keys - {"augmentation"} <= found.keys()
  assert "augmentation.crop" in found
  assert found.keys() == known_options().keys()


def test_defaults_are_those_of_the_signatures():
  settings = read(base_config())
  for key, option in known_options().items():
    assert settings[key] == option.default, key


def test_an_option_in_one_place_only():
  """`strength` of EWC stands in its signature, and its default comes from there."""
  assert known_options()["ewc.strength"].default == 1.0
  assert "lambda" in known_options()["ewc.strength"].text


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("learning_rate", 1),  # a whole number where a number is wanted
    ("num_tasks", 3),  # None by default
    ("ewc.clip", 3.5),  # "auto" by default
    ("ewc.clip", None),
    ("mlp.hidden", (7,)),
    ("mlp.hidden", [7, 8]),
    ("classes", "15-99"),
    ("classes", 50),
    ("class_order", tuple(range(10))),
    ("schedule", "cosine"),
  ],
)
def test_fields_take_what_the_signature_allows(key, value):
  config = base_config()
  config.update_from_flattened_dict({key: value})
  wanted = tuple(value) if isinstance(value, list) else value
  assert read(config)[key] == wanted


@pytest.mark.parametrize(("key", "value"), [("cycles", "many"), ("cycles", 1.5), ("method", 3)])
def test_fields_refuse_other_types_at_once(key, value):
  with pytest.raises((TypeError, ValueError)):
    base_config().update_from_flattened_dict({key: value})


def test_a_grid_is_one_value():
  config = base_config()
  config.sweep = {"tag.b": [1.0]}
  assert flat_items(config)["sweep"] == {"tag.b": [1.0]}
  assert flat_items(ConfigDict({"ewc": {"strength": 1.0}})) == {"ewc.strength": 1.0}


def test_nested_values_are_json():
  values = nested(flat_items(base_config()))
  assert json.loads(json.dumps(values)) == values
  assert values["mlp"]["hidden"] == [256, 256]


def test_sections_come_in_one_order_whatever_was_imported_first():
  sections = list(dict.fromkeys(key.partition(".")[0] for key in known_options() if "." in key))
  assert sections == sorted(sections)
