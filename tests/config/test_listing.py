"""What there is to choose from, in lines and on the page of all options."""

from pathlib import Path
from typing import get_args

import pytest

from tagjax.config import listing
from tagjax.config.defaults import known_options
from tagjax.core.method import identity
from tagjax.core.register import declared, forget, register
from tagjax.transforms import optax_options

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
KINDS = {"models": "model", "benchmarks": "benchmark", "schedules": "schedule"}


def rows(text: str) -> dict[str, str]:
  """Names and what is said of them, without the titles above them."""
  lines = [line for line in text.splitlines() if line and not line.endswith(":")]
  return {line.split()[0]: line.partition(" ")[2].strip() for line in lines}


@pytest.mark.parametrize("what", KINDS)
def test_each_name_has_a_line_that_says_what_it_is(what):
  found = rows(listing.listing(what))
  assert set(found) == set(declared(KINDS[what]))
  assert all(len(text) > 5 for text in found.values())


def test_methods_are_grouped_by_their_place_in_the_chain():
  before, *optimizers = listing.listing("methods").split("\n\n")
  assert set(rows(before)) == set(declared("modifier"))
  assert set(rows("\n".join(optimizers))) == set(declared("optimizer"))
  assert all(len(text) > 10 for text in rows(before).values())


def test_options_are_all_keys():
  found = rows(listing.listing("options"))
  assert set(found) == {f"config.{key}" for key in known_options()}
  assert found["config.ewc.strength"] == (
    "1.0  lambda, weight of the penalty, at least 0. 0 gives a method that does nothing."
  )


def test_every_option_of_ours_is_explained():
  found = declared("optimizer", "schedule").values()
  of_optax = {one.section for one in found if one.make.__module__ == optax_options.__name__}
  silent = {key.split(".")[0] for key, one in known_options().items() if not one.text}
  assert silent <= of_optax


def test_what_is_registered_is_listed():
  @register("lab_pull", kind="modifier")
  def lab_pull(strength: float = 1.0):
    """Pulls hard.

    Args:
      strength: how hard | how soft.
    """
    del strength
    return identity()

  try:
    assert rows(listing.listing("methods"))["lab_pull"] == "Pulls hard."
    assert "lab_pull.strength" in listing.listing("options")
    assert "lab_pull" not in listing.options_page()  # the page is of this package's own
  finally:
    forget("lab_pull")


def test_shared_sections_name_all_who_read_them():
  readers = "`agem`, `bic`, `der`, `derpp`, `er_ace`, `er`, `gdumb`, `gem`, `icarl`, `itaml`"
  assert f"Read by {readers}." in listing.options_page()


def test_the_page_is_up_to_date():
  assert PAGE.read_text() == listing.options_page(), (
    "run: python -m tagjax.config.listing > docs/options.md"
  )


def test_every_choice_of_the_command_line_can_be_printed():
  for what in get_args(listing.What):
    assert listing.listing(what)
