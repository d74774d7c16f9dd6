"""docs/options.md is what the signatures and docstrings say, and the lists name the same."""

from pathlib import Path

import pytest

from tagjax.config import listing
from tagjax.config.defaults import base_config, flat_items, known_options
from tagjax.core import register

PAGE = (Path(__file__).parents[2] / "docs/options.md").read_text()


def test_the_page_is_up_to_date():
  assert listing.options_page() == PAGE, "run: python -m tagjax.config.listing > docs/options.md"


def test_every_key_has_a_line_with_its_meaning():
  ours = {key for key in flat_items(base_config()) if _is_ours(key)} - {"sweep"}
  assert len(ours) > 300
  for key in ours:
    assert PAGE.count(f"- `{key}` = `") == 1, key
  for key, option in known_options().items():
    assert option.text or "nesterov" in key, f"{key}: say in the docstring what it means"


def _is_ours(key: str) -> bool:
  section = key.rpartition(".")[0]
  owners = [one for one in register.declared(*register.KINDS).values() if one.section == section]
  return all(one.make.__module__.startswith("tagjax.") for one in owners)


def test_lines_are_short_and_without_the_marks_of_sphinx():
  assert max(map(len, PAGE.splitlines())) <= 120
  assert ":func:" not in PAGE
  assert "``" not in PAGE


def test_what_a_grid_compiles_once_is_marked():
  assert "- `tag.b` = `5.0` †" in PAGE
  assert "- `tag.accumulator_dtype` = `float32` (" in PAGE


def test_texts_of_optax_come_last():
  places = [PAGE.index(f"\n### `{name}`") for name in ("ewc", "adagrad", "mlp", "adamw")]
  assert places == sorted(places)
  assert PAGE.index("## Optimizers of Optax") > places[2]


@pytest.mark.parametrize("what", ["methods", "models", "benchmarks", "schedules"])
def test_a_list_has_a_line_for_each_name(what):
  lines = listing.listing(what).splitlines()
  kinds = {"methods": ("modifier", "optimizer")}.get(what, (what[:-1],))
  for one in register.declared(*kinds).values():
    (line,) = [line for line in lines if line.split() and line.split()[0] == one.name]
    assert len(line.split()) > 1, one.name


def test_the_list_of_options_has_one_line_a_key():
  keys = [line.split()[0] for line in listing.listing("options").splitlines()]
  assert keys == [f"config.{key}" for key in known_options()]


def test_what_is_registered_elsewhere_is_not_on_the_page():
  @register.register("elsewhere", kind="modifier")
  def elsewhere(strength: float = 1.0):
    """Somebody's own.

    Args:
      strength: of it.
    """

  try:
    assert "elsewhere" in listing.listing("methods")
    assert listing.options_page() == PAGE
  finally:
    register.forget("elsewhere")
