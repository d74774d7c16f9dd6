"""Tables: figures in percent, definitions in the header, nothing folded away."""

import io

import pytest
from rich.console import Console

from tagjax.report import tables
from tagjax.report.results import summarise


def printed(results, width=120):
  output = io.StringIO()
  tables.print_run(results, Console(file=output, width=width))
  return output.getvalue()


def an_example():
  matrix = [[0.8, None, None], [0.7, 0.9, None], [0.75, 0.95, 0.6]]
  other = [[0.9, None, None], [0.7, 0.9, None], [0.65, 0.95, 0.6]]
  return summarise([matrix, other], forgetting_definition="tag") | {
    "config": {"method": "tag", "benchmark": "split_digits"},
    "task_names": ["zero [one]", "two", "three"],
  }


def test_the_metric_table():
  rows = tables.metric_rows(an_example())
  by_name = {row["metric (%)"]: row for row in rows}
  assert list(by_name) == [
    "average accuracy",
    "forgetting (tag)",
    "learning accuracy",
    "backward transfer",
  ]
  assert by_name["average accuracy"] == {
    "metric (%)": "average accuracy",
    "mean": "75.0",
    "std (ddof 1)": "2.4",
    "95 % CI": "± 21.2",
    "per seed": "76.7  73.3",
  }
  assert by_name["forgetting (tag)"]["per seed"] == "2.5  12.5"


def test_the_task_table():
  rows = tables.task_rows(an_example())
  assert rows[0] == {
    "task": "1  zero [one]",
    "learned (%)": "85.0 ± 7.1",
    "final (%)": "70.0 ± 7.1",
    "change": "-15.0",
  }
  assert [row["change"] for row in rows[1:]] == ["+5.0", "+0.0"]


def test_both_tables_are_printed_with_brackets_kept():
  text = printed(an_example())
  assert "tag on split_digits, 2 seeds" in text
  assert "zero [one]" in text
  assert "forgetting (tag)" in text


def test_one_seed_and_one_task(make_results):
  text = printed(make_results(1, 1))
  assert "1 seed" in text
  assert "nan" not in text
  assert "–" in text  # noqa: RUF001


def test_markdown_needs_the_same_columns():
  with pytest.raises(ValueError, match="same columns"):
    tables.markdown_table([{"a": "1"}, {"b": "1"}])
  with pytest.raises(ValueError, match="at least one row"):
    tables.markdown_table([])
