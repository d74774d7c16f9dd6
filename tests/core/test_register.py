"""One declaration beside a function: its options, what it is given, and what contradicts."""

import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import optax
import pytest
from flax import nnx

from tagjax.core import register as library
from tagjax.core.method import Method, identity
from tagjax.core.register import (
  Family,
  RegisterError,
  declared,
  find,
  forget,
  of_function,
  register,
  register_section,
  sections,
)


@pytest.fixture(autouse=True)
def forget_all(monkeypatch):
  """What a test declares is forgotten after it."""
  monkeypatch.setattr(library, "_declared", dict(library._declared))
  monkeypatch.setattr(
    library, "_sections", {name: dict(own) for name, own in library._sections.items()}
  )


def pull(strength: float = 1.0, *, norm: Literal["L1", "L2"] = "L2", spec=None, depth=2):
  """Pulls. Hard.

  More of it.

  Args:
    strength: how hard,
      at least 0.
    norm (str): which norm.
    spec: the head.
  """
  del strength, norm, spec, depth
  return identity()


def test_the_section_is_the_signature():
  register("pull", kind="modifier", traced=("strength",))(pull)
  one = find("pull")
  assert list(one.options) == ["strength", "norm", "depth"]
  assert one.provided == ("spec",)
  assert one.options["strength"] == ("strength", float, 1.0, "how hard, at least 0.", None)
  assert one.options["norm"].type == Literal["L1", "L2"]
  assert one.options["norm"].text == "which norm."
  assert one.options["depth"].type is library.UNKNOWN
  assert one.summary == "Pulls. Hard."
  assert one.option_keys() == ["pull.strength", "pull.norm", "pull.depth"]
  assert one.traced_keys() == {"pull.strength"}
  assert one.needs_past
  assert sections()["pull"].keys() == {"strength", "norm", "depth"}


def test_methods_carry_their_name_and_plain_settings():
  made = register("pull", kind="modifier")(pull)
  method = made(3.0, spec=object())
  assert isinstance(method, Method)
  assert (method.name, dict(method.settings)) == (
    "pull",
    {"strength": 3.0, "norm": "L2", "depth": 2},
  )
  assert of_function(made) is find("pull")
  assert of_function(pull) is None


def test_what_is_no_method_is_returned_as_it_is():
  descent = register("descent", kind="optimizer")(lambda learning_rate: optax.sgd(learning_rate))
  assert isinstance(descent(0.1), optax.GradientTransformation)
  assert find("descent").provided == ("learning_rate",)
  assert not find("descent").needs_past


class Net(nn.Module):
  """A network.

  Attributes:
    num_outputs: of the head.
    width: of its layer.
  """

  num_outputs: int
  width: int = 3
  activation: Any = nn.relu
  axis_name: str | None = None


class Rows(nnx.Module):
  """Another one."""

  def __init__(self, num_outputs: int, *, rows: int = 2, rngs: nnx.Rngs):
    """See above."""
    self.layer = nnx.Linear(num_outputs, rows, rngs=rngs)


def test_models_of_both_kinds_declare_their_fields():
  register("net", kind="model")(Net)
  register("rows", kind="model")(Rows)
  assert list(find("net").options) == ["width"]  # a function cannot be given as a text
  assert find("net").options["width"].text == "of its layer."
  assert find("net").provided == ("num_outputs", "axis_name")
  assert list(find("rows").options) == ["rows"]
  assert find("rows").provided == ("num_outputs", "rngs")


def test_a_partial_may_be_declared():
  register("pull_far", kind="modifier")(functools.partial(pull, depth=7))
  assert find("pull_far").options["depth"].default == 7


def test_two_declarations_share_a_section():
  register("pull", kind="modifier", section="pulls")(pull)

  @register("pull_more", kind="modifier", section="pulls")
  def pull_more(strength: float = 1.0, times: int = 2):
    return identity()

  assert list(sections()["pulls"]) == ["strength", "norm", "depth", "times"]
  assert find("pull_more").key("times") == "pulls.times"
  forget("pull_more")
  assert "pulls" in sections()
  forget("pull")
  assert "pulls" not in sections()


def test_options_of_a_shared_section_are_read_from_there():
  @register_section("store")
  class Store(NamedTuple):
    capacity: int = 1

  @register("keep", kind="modifier", shares="store")
  def keep(capacity: int = 9, own: int = 2):
    return identity()

  assert find("keep").option_keys() == ["keep.own", "store.capacity"]
  assert sections()["store"]["capacity"].default == 1


def test_a_family_and_what_needs_no_past():
  family = Family("pulls", "one pull is enough")
  register("pull", kind="modifier", family=family, needs_past=False)(pull)
  assert find("pull").family is family
  assert not find("pull").needs_past
  assert "pull" in declared("modifier")
  assert "pull" not in declared("optimizer", "model")


def test_a_module_that_is_loaded_again_replaces_its_declaration():
  register("pull", kind="modifier")(pull)
  register("pull", kind="modifier", traced=("strength",))(pull)
  assert find("pull").traced == {"strength"}


def with_number(strength: float = 2.0):
  return identity()


def without_default(something, strength: float = 1.0):
  return identity()


@pytest.mark.parametrize(
  ("function", "arguments", "message"),
  [
    (with_number, {"name": "ewc"}, r"'ewc' is registered already, by tagjax.methods.ewc.ewc: ch"),
    (with_number, {"kind": "modifyer"}, "kind='modifyer' of 'own' is unknown .did you mean modif"),
    (with_number, {"section": "pulls"}, r"strength=2.0 differs from 1.0 of pull in the section"),
    (with_number, {"section": "memory"}, "section='memory' of 'own' is a shared section: choose"),
    (with_number, {"shares": "memry"}, "shares='memry' of 'own' is no section .did you mean mem"),
    (with_number, {"holds": ("strngth",)}, "holds='strngth' of 'own' is no option .did you mean"),
    (with_number, {"traced": ("strngth",)}, "traced='strngth' of 'own' is no option .did you mean"),
    (
      without_default,
      {},
      "something has no default, and the library provides nothing of that name",
    ),
    (dict.fromkeys, {}, "iterable has no default|has no signature that can be read"),
  ],
)
def test_contradictions_are_refused_in_one_line(function, arguments, message):
  register("pull", kind="modifier", section="pulls")(pull)
  arguments = {"name": "own", "kind": "modifier"} | arguments
  with pytest.raises(RegisterError, match=message) as error:
    register(arguments.pop("name"), **arguments)(function)
  assert "\n" not in str(error.value)


def test_ours_are_declared_by_the_same_door():
  found = {one.make.__module__.split(".")[1] for one in declared(*library.KINDS).values()}
  assert found == {"methods", "models", "transforms", "benchmarks"}


def test_every_option_of_ours_can_be_given_as_a_text():
  from tagjax.core.values import coerce, describe

  for one in declared(*library.KINDS).values():
    for option in one.options.values():
      assert describe(option.type) or describe(type(option.default))
      if option.type is not library.UNKNOWN and option.default is not None:
        assert coerce(option.default, option.type) == option.default
