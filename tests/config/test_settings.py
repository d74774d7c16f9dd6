"""Settings have the types of the signatures; names, nearest keys, and keys that nothing reads."""

from typing import Literal

import pytest

from tagjax.config import settings
from tagjax.config.defaults import base_config, known_options
from tagjax.core.errors import ConfigError
from tagjax.core.register import declared, forget, register


@pytest.fixture
def pull():
  """A modifier of one's own, with an option of each kind."""

  @register("pull", kind="modifier", traced=("strength",))
  def pull(
    strength: float = 1.0,
    *,
    depth: int = 1,
    norm: Literal["L1", "L2"] = "L2",
    clip: float | Literal["auto"] | None = "auto",
    layers: tuple[int, ...] = (1, 2),
    pair: tuple[float, float] = (0.9, 0.999),
    bias: bool = True,
    name_of_head: str = "head",
    start=3,
  ):
    """Pulls.

    Args:
      strength: how hard.
      depth: how deep.
    """
    raise AssertionError("not made here")

  yield pull
  forget("pull")


@pytest.mark.parametrize(
  ("option", "given", "value"),
  [
    ("strength", "3", 3.0),
    ("strength", 3, 3.0),
    ("strength", "1e-3", 1e-3),
    ("depth", "2", 2),
    ("norm", "L1", "L1"),
    ("clip", "auto", "auto"),
    ("clip", "2.5", 2.5),
    ("clip", 2, 2.0),
    ("clip", "none", None),
    ("clip", None, None),
    ("layers", "(3, 4)", (3, 4)),
    ("layers", "[3]", (3,)),
    ("layers", [5], (5,)),
    ("pair", "0.1, 1", (0.1, 1.0)),
    ("bias", "false", False),
    ("bias", "True", True),
    ("name_of_head", "last", "last"),
    ("start", "7", 7),  # no annotation: the default tells
  ],
)
def test_texts_of_a_command_line_become_values(pull, option, given, value):
  found = settings.typed({f"pull.{option}": given})[f"pull.{option}"]
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("option", "given", "message"),
  [
    ("strength", "hard", r"'hard': must be a number$"),
    ("strength", True, "True: must be a number$"),
    ("depth", 1.5, "1.5: must be a whole number$"),
    ("depth", "1.5", "'1.5': must be a whole number$"),
    ("depth", None, "None: must be a whole number$"),
    ("norm", "L3", "'L3' is unknown. There are: L1, L2$"),
    ("clip", "atuo", "'atuo': must be a number, one of auto, or none$"),
    ("layers", "3", "'3': must be whole numbers in brackets$"),
    ("layers", (1, "x"), r"\(1, 'x'\): must be whole numbers in brackets$"),
    ("pair", (0.1,), r"\(0.1,\): must have 2 values, and has 1$"),
    ("bias", "maybe", "'maybe': must be True or False$"),
    ("bias", 2, "2: must be True or False$"),
    ("name_of_head", 3, "3: must be a text$"),
    ("start", "late", "'late': must be a whole number$"),
  ],
)
def test_other_values_are_refused_with_key_value_and_way_out(pull, option, given, message):
  with pytest.raises(ConfigError, match=rf"^config\.pull\.{option}={message}"):
    settings.typed({f"pull.{option}": given})


@pytest.mark.parametrize(
  ("key", "nearest"),
  [
    ("learning_rat", "learning_rate"),
    ("ewc.strenght", "ewc.strength"),
    ("ecw.strength", "ewc.strength"),
    ("tag.beta", "tag.b"),
    ("augmentation.flipped", "augmentation.flip"),
    ("attention_cnn.channels", "convolutions.channels"),  # the section is another one
    ("tag.learning_rate", "learning_rate"),
  ],
)
def test_a_misspelt_key_names_the_nearest(key, nearest):
  with pytest.raises(ConfigError, match=rf"^unknown key config\.{key} \(did you mean .*{nearest}"):
    settings.typed({key: 1})


def test_a_key_that_is_near_to_none_of_its_section_lists_them():
  text = r"^unknown key config\.hat\.scal; config\.hat has max_embedding and strength$"
  with pytest.raises(ConfigError, match=text):
    settings.typed({"hat.scal": 1})


def test_unknown_keys_of_a_config_file_are_refused():
  config = base_config()
  config.tag.accumulator_dtpye = "bfloat16"
  with pytest.raises(
    ConfigError, match=r"unknown key config.tag.accumulator_dtpye .did you mean tag.acc"
  ):
    settings.read(config)


def test_missing_keys_have_their_defaults():
  values = settings.typed({"learning_rate": 0.5})
  assert values.keys() == known_options().keys()
  assert (values["learning_rate"], values["epochs"]) == (0.5, 1)


def test_sgd_is_added_to_modifiers_alone(pull):
  assert [one.name for one in settings.members("pull")] == ["pull", "sgd"]
  assert [one.name for one in settings.members("pull + tag")] == ["pull", "tag"]


@pytest.mark.parametrize("spelling", ["tag+pull", "sgd+tag", "pull+sgd+tag"])
def test_the_one_optimizer_stands_last(pull, spelling):
  with pytest.raises(ConfigError, match="one optimizer, and it stands last"):
    settings.members(spelling)


def test_a_member_stands_once():
  with pytest.raises(ConfigError, match=r"config.method='er\+er\+sgd': er stands in it twice"):
    settings.members("er+er+sgd")


def test_used_are_the_sections_of_the_parts_and_all_of_the_run():
  values = settings.typed({"method": "derpp+adam", "model": "mlp", "schedule": "cosine"})
  used = settings.used(values)
  assert {"der.label_strength", "memory.capacity", "adam.b1", "mlp.hidden"} <= used.keys()
  assert {"cosine.end", "augmentation.crop", "epochs", "num_tasks"} <= used.keys()
  sections = {key.split(".")[0] for key in used if "." in key}
  assert sections == {"der", "memory", "adam", "mlp", "cosine", "augmentation"}


def test_a_key_that_nothing_reads_is_told_with_what_would_read_it():
  values = settings.typed({"method": "ewc", "ewc.strength": 3.0, "memory.capacity": 2, "tag.b": 4})
  keys = ["ewc.strength", "memory.capacity", "tag.b", "learning_rate"]
  first, second = settings.unused(values, keys)
  assert first == (
    "config.memory.capacity=2 is not used by ewc with mlp; it is read by agem, bic, er, der, "
    "derpp, er_ace, gdumb, gem, icarl, itaml"
  )
  assert second.startswith("config.tag.b=4.0 is not used by ewc with mlp; it is read by tag, ")


def test_sections_that_two_declarations_share_are_read_by_both():
  for method, key in (("der", "der.strength"), ("derpp", "der.strength"), ("tag_adam", "tag.b")):
    assert not settings.unused(settings.typed({"method": method}), [key])
  (line,) = settings.unused(settings.typed({"method": "der"}), ["der.label_strength"])
  assert line.endswith("it is read by derpp")


def test_inputs_of_the_programs_are_those_of_all_members(pull):
  assert settings.traced_keys("pull+ewc+tag") == {
    "pull.strength",
    "ewc.strength",
    "learning_rate",
    "tag.b",
  }


def test_every_traced_key_exists():
  for name in declared("optimizer", "modifier"):
    assert settings.traced_keys(name) <= known_options().keys()


@pytest.mark.parametrize("key", ["ewc.examples", "mas.examples", "end_task", "ewc.clip"])
def test_none_as_a_command_line_writes_it(key):
  section, _, name = key.rpartition(".")
  config = base_config()
  (config[section] if section else config)[name] = "none"
  assert settings.read(config)[key] is None
