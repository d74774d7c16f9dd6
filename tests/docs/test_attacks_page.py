"""Tables of docs/attacks.md and docs/reliability.md are those of their files of figures."""

import json
import re

import attacks
import drill
import pytest

FIGURES = json.loads(attacks.DRILL.read_text())


@pytest.mark.parametrize("page", attacks.PAGES, ids=lambda page: page.name)
def test_tables_are_up_to_date(page):
  text = page.read_text(encoding="utf-8")
  assert text.count("<!-- table: ") == 2
  assert attacks.tables_made(text) == text, "run: python tests/drill/attacks.py"


def test_every_row_of_the_drill_repeats_an_attack():
  named = [name for attack in attacks.ATTACKS for name in attack.rows]
  assert set(named) == set(drill.ROWS)
  assert set(FIGURES) <= {*named, *(name for one in attacks.ATTACKS for name in one.suites)}


def test_what_failed_is_told_by_the_table():
  lines = attacks.attacks_table(FIGURES, json.loads(attacks.FAULTS.read_text()))
  assert len(lines) == 2 + len(attacks.ATTACKS)
  failing = FIGURES | {"logs": FIGURES["logs"] | {"passed": 0}}
  changed = attacks.attacks_table(failing, json.loads(attacks.FAULTS.read_text()))
  (before, after) = next(pair for pair in zip(lines, changed, strict=True) if len({*pair}) == 2)
  assert re.search(r"\| 25 \| 25 \| drill: logs", before)
  assert re.search(r"\| 25 \| 0 \| drill: logs", after)


def test_each_failure_of_then_names_a_test():
  page = attacks.PAGES[0].read_text(encoding="utf-8")
  rows = re.findall(r"^\| (F\d+\w?): .*$", page, re.MULTILINE)
  assert rows == ["F1a", "F1b", *(f"F{number}" for number in range(2, 22))]
  assert all("`tests/" in row for row in re.findall(r"^\| F\d.*$", page, re.MULTILINE))
