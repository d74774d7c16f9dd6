"""The user's own things by name: entry points, imports, and `module:function`."""

import importlib.metadata
import sys

import pytest

from tagjax.config import ours, plugins, settings
from tagjax.config.defaults import base_config
from tagjax.core import register
from tagjax.core.errors import ConfigError

LAB = '''
"""A lab's own things, of which one is declared."""
import flax.linen as nn
import optax
import tagjax
from tagjax.core.method import identity


def lab_pull(strength: float = 1.0, layers: tuple[int, ...] = ()):
  """Pulls.

  Args:
    strength: how hard.
  """
  if strength < 0:
    raise ValueError(f"strength must be at least 0, got {strength!r}")
  return identity()


def lab_descent(learning_rate, momentum: float = 0.0):
  return optax.sgd(learning_rate, momentum)


@tagjax.register("lab_named", kind="modifier")
def with_a_name(depth: int = 2):
  return identity()


class LabNet(nn.Module):
  num_outputs: int
  lab_width: int = 3


def lab_stream(num_tasks: int = 2, noise: float = 0.0):
  return None


def ewc(strength: float = 3.0):
  return identity()


def unknown_need(something):
  return identity()


number = 3
'''


@pytest.fixture
def lab(tmp_path, monkeypatch):
  """A module `lab_cl` in the current folder; what it declares is forgotten afterwards."""
  (tmp_path / "lab_cl.py").write_text(LAB)
  (tmp_path / "broken_cl.py").write_text("import numpy\n\nimport a_package_that_is_not_there\n")
  (tmp_path / "faulty_cl.py").write_text("first = 1\nsecond = 1 / 0\n")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  before = set(register.declared(*register.KINDS))
  yield
  for name in set(register.declared(*register.KINDS)) - before:
    register.forget(name)
  for name in ("lab_cl", "broken_cl", "faulty_cl"):
    sys.modules.pop(name, None)


def test_functions_get_their_own_names_and_sections(lab):
  values = settings.typed(
    {
      "method": "lab_cl:lab_pull+tag",
      "lab_pull.strength": "2",
      "lab_pull.layers": "[1, 2]",
      "model": "lab_cl:LabNet",
      "LabNet.lab_width": 7,
      "benchmark": "lab_cl:lab_stream",
      "lab_stream.noise": 1,
    }
  )
  assert (values["lab_pull.strength"], values["lab_pull.layers"]) == (2.0, (1, 2))
  names = [(one.name, one.kind) for one in settings.declarations(values)]
  assert names == [
    ("LabNet", "model"),
    ("lab_pull", "modifier"),
    ("tag", "optimizer"),
    ("lab_stream", "benchmark"),
  ]
  assert register.find("LabNet").provided == ("num_outputs",)
  assert register.find("lab_stream").provided == ("num_tasks",)
  assert {"lab_pull.strength", "LabNet.lab_width", "lab_stream.noise"} <= settings.used(
    values
  ).keys()
  assert base_config().LabNet.lab_width == 3


def test_what_asks_for_the_learning_rate_is_an_optimizer(lab):
  spelling = "lab_cl:lab_pull+lab_cl:lab_descent"
  found = settings.members(spelling)
  assert [(one.name, one.kind) for one in found] == [
    ("lab_pull", "modifier"),
    ("lab_descent", "optimizer"),
  ]
  assert settings.members("lab_pull+lab_descent") == found  # known by their names from now on


def test_a_declared_function_keeps_its_declaration(lab):
  (one, _) = settings.members("lab_cl:with_a_name")
  assert (one.name, one.section) == ("lab_named", "lab_named")
  assert settings.members("lab_named")[0] is one


def test_keys_of_ones_own_are_flags_before_flags_are_read(lab):
  plugins.import_named([("method", "lab_cl:lab_pull"), ("lab_pull.strength", "x:y")])
  assert base_config().lab_pull.strength == 1.0


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [
    (
      "method",
      "no_such_lab:pull",
      "ModuleNotFoundError: No module named 'no_such_lab'",
    ),
    (
      "method",
      "broken_cl:pull",
      r"ModuleNotFoundError: No module named 'a_package_that_is_not_there' .*broken_cl.py, line 3",
    ),
    ("method", "faulty_cl:pull", r"ZeroDivisionError: division by zero .*faulty_cl.py, line 2"),
    ("method", "lab_cl:pul", "AttributeError: module 'lab_cl' has no attribute 'pul'"),
    ("method", ":pul", "ValueError: Empty module name"),
    ("method", "lab_cl:number+tag", "is int: name a function or a class"),
    ("method", "lab_cl:ewc+tag", "'ewc' is registered already, by tagjax.methods.ewc.ewc: choose"),
    ("method", "lab_cl:unknown_need", "something has no default.*give it a default"),
    ("model", "tagjax.methods.ewc:ewc", "is registered as a modifier"),
    ("model", "lab_cl:Net", "module 'lab_cl' has no attribute 'Net'"),
    ("benchmark", "lab_cl:streams", "module 'lab_cl' has no attribute 'streams'"),
  ],
)
def test_names_that_cannot_be_used_are_one_line(lab, key, value, message):
  with pytest.raises(ConfigError, match=message) as error:
    settings.declarations(settings.typed({key: value}))
  assert str(error.value).startswith(f"config.{key}='")
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("lab_pull.strengh", r"unknown key config.lab_pull.strengh .did you mean lab_pull.strength"),
    ("LabNet.width", r"unknown key config.LabNet.width .did you mean LabNet.lab_width"),
    ("LabNet.num_outputs", "unknown key config.LabNet.num_outputs"),
  ],
)
def test_an_option_that_the_signature_does_not_have(lab, key, message):
  with pytest.raises(ConfigError, match=message):
    settings.typed({"method": "lab_cl:lab_pull", "model": "lab_cl:LabNet", key: 2})


@pytest.mark.parametrize(
  ("key", "value", "nearest"),
  [
    ("method", "lab_pul", "lab_pull"),
    ("method", "ewcc+tag", "ewc"),
    ("model", "lenett", "lenet"),
    ("benchmark", "split_digit", "split_digits"),
    ("schedule", "cosin", "cosine"),
  ],
)
def test_unknown_names_tell_the_nearest_and_how_to_bring_ones_own(lab, key, value, nearest):
  settings.members("lab_cl:lab_pull")
  name = value.split("+")[0]
  with pytest.raises(
    ConfigError, match=rf"^config.{key}='{name}' is unknown .did you mean {nearest}"
  ) as error:
    settings.declarations(settings.typed({key: value}))
  assert f"--list={key}s` prints" in str(error.value)
  assert "module:function" in str(error.value)


class Point:
  """An entry point of an installed package."""

  def __init__(self, name, load):
    self.name, self.value, self.load = name, f"{name}_module", load


@pytest.fixture
def entry_points(monkeypatch):
  """A list of entry points that `importlib.metadata` will find."""
  points = []

  def find(*, group):
    assert group == "tagjax"
    return points

  monkeypatch.setattr(importlib.metadata, "entry_points", find)
  ours.load_entry_points.cache_clear()
  yield points
  ours.load_entry_points.cache_clear()


def test_what_an_entry_point_imports_is_known(entry_points):
  def load():
    @register.register("from_package", kind="modifier")
    def from_package(strength: float = 2.0):
      raise AssertionError

  entry_points.append(Point("lab", load))
  try:
    assert base_config().from_package.strength == 2.0
    assert settings.typed({"method": "from_package+tag"})["from_package.strength"] == 2.0
  finally:
    register.forget("from_package")


def test_an_entry_point_that_does_not_import_is_one_line_with_the_reason(entry_points):
  def load():
    raise ImportError("libcuda\nis not there")

  entry_points.append(Point("lab", load))
  message = (
    r"^the entry point lab = 'lab_module' of tagjax cannot be imported: ImportError: libcuda is "
    r"not there \(.*\). Mend or uninstall that package$"
  )
  with pytest.raises(ConfigError, match=message):
    base_config()
