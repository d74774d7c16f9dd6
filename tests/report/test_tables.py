"""Tables: figures in percent, definitions in the header, nothing folded away."""

import io

import pytest
from rich.console import Console

from tagjax.report import tables
from tagjax.report.comparison import comparison_rows
from tagjax.report.results import summarise, summarise_peaks


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
    "worst-case forgetting",
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


def test_the_table_of_growth(make_results):
  rows = tables.growth_rows(make_results(2, 3, grows=True))
  assert rows == [
    {"task": "1", "parameters": "1,001", "bytes": "4,004", "shared layers": "0 1"},
    {"task": "2", "parameters": "2,001", "bytes": "8,004", "shared layers": "1 1"},
  ]
  assert "in use after each task" in printed(make_results(2, 3, grows=True))
  same = make_results(2, 1, grows=True)
  same["growth"] |= {"parameters": [[7, 7]], "bytes": [[7, 7]], "step_flops": [1, 1]}
  same["outcomes"] = {"units": [[None, [2, 3]]]}
  assert [row["units"] for row in tables.growth_rows(same)] == ["–", "2 3"]  # noqa: RUF001
  assert "parameters" not in tables.growth_rows(same)[0]
  assert tables.growth_rows(make_results(2, 1)) == []


def test_peaks_have_rows_and_a_column_of_their_own():
  example = an_example()
  validation = [[[[0.5], [0.75]], [[0.5, 0.5]], [[0.25, 0.5, 1.0]]]] * 2
  peaks = [[0.75, 0.95, 0.6], [0.65, 0.95, 0.5]]
  example |= summarise_peaks(example["accuracy_matrix"], peaks, validation)
  by_name = {row["metric (%)"]: row for row in tables.metric_rows(example)}
  assert by_name["peak accuracy"]["per seed"] == "76.7  70.0"
  assert by_name["final / peak"]["per seed"] == "100.0  106.7"
  assert tables.task_rows(example)[0]["peak (%)"] == "70.0 ± 7.1"
  assert comparison_rows({"tag": example}, "tag")[0]["peak accuracy (%)"] == "73.3 ± 4.7"
  assert example["peak_epochs"] == [[1, 0, 0]] * 2
  assert example["final_validation_accuracy"]["mean"] == pytest.approx(1.75 / 3)


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


def test_a_grid_lists_the_best_first_and_the_diverged_last(sweep_results):
  rows = tables.sweep_rows(sweep_results)
  assert rows[0] == {
    "learning_rate": "0.1",
    "tag.b": "5",
    "epochs": "20",
    "average accuracy (%)": "61.0 ± 2.0",
    "forgetting (%)": "61.0 ± 2.0",
    "learning accuracy (%)": "61.0 ± 2.0",
    "": "",
  }
  assert [row[""] for row in rows] == [""] * 6 + ["diverged with seed 2"] * 6
  assert {row["learning_rate"] for row in rows[6:]} == {"1e+10"}


def test_a_search_lists_what_was_given_up_and_when(sweep_results):
  sweep_results["points"][0] |= dict.fromkeys(("average_accuracy", "forgetting"))
  sweep_results["points"][0] |= {"learning_accuracy": None, "pruned_after": 3}
  sweep_results["points"][1]["pruned_after"] = None
  notes = [row[""] for row in tables.sweep_rows(sweep_results)]
  assert notes[:5] == [""] * 5
  assert notes[5] == "given up after task 3"


def test_a_grid_says_what_was_chosen_and_where_to_look_further(sweep_results):
  output = io.StringIO()
  tables.print_sweep(sweep_results, Console(file=output, width=120))
  text = output.getvalue()
  assert "tag on permuted_digits, validation, 2 seeds a point" in text
  assert "Chosen: --config.learning_rate=0.1 --config.tag.b=5 --config.epochs=20\n" in text
  assert "epochs is at the edge of what was tried" in text
  output = io.StringIO()
  tables.print_sweep(sweep_results | {"chosen": None}, Console(file=output, width=120))
  assert "Every point diverged" in output.getvalue()
