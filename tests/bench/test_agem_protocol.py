"""Tables of docs/agem_protocol.md and docs/zero_shot.md are those of their result files."""

import pytest

from bench import agem_protocol as bench


@pytest.mark.parametrize("page", bench.PAGES, ids=lambda page: page.name)
def test_the_page_is_up_to_date(page):
  text = page.read_text(encoding="utf-8")
  assert text.count("<!-- table: ") > 1
  assert bench.tables_made(text) == text, "run: python -m bench.agem_protocol"


def test_every_result_file_is_of_a_stream_with_tables():
  pages = [page.read_text(encoding="utf-8") for page in bench.PAGES]
  streams = {mark[2] for page in pages for mark in bench.MARK.finditer(page)}
  assert {path.parent.name for path in bench.RESULTS.glob("*/*.json")} <= streams


def test_runs_that_diverged_are_counted_and_named():
  figure = {"mean": 0.5, "std": 0.1}
  runs = [{"seed": 1, "diverged": None}, {"seed": 2, "diverged": {"task": 4, "step": 7}}]
  one = {"average_accuracy": figure, "accuracy_matrix": [[[0.5]]], "diverged_seeds": [2]}
  results = {"je_ewc": one | {"runs": runs}}
  assert bench.runs(results)[-1] == "| JE, EWC | 50.0 ± 10.0 | 1 of 2 |"
  assert bench.diverged(results)[-1] == "| JE, EWC | 2 | 5 | 7 |"
  assert bench.diverged({"sgd": one | {"runs": runs[:1]}}) == ["*Not a run diverged.*"]
