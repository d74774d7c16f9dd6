"""Tables of the pages are those of their result files, and each result file is in one."""

import pytest

from bench import agem_protocol, class_incremental, shared_layers

LEAST = {agem_protocol: (2, 2), class_incremental: (6,), shared_layers: (7, 1)}
"""Tables of each page, so that none is lost unseen."""
PAGES = [
  pytest.param(bench, page, least, id=page.name)
  for bench, all_least in LEAST.items()
  for page, least in zip(bench.PAGES, all_least, strict=True)
]


@pytest.mark.parametrize(("bench", "page", "least"), PAGES)
def test_the_page_is_up_to_date(bench, page, least):
  text = page.read_text(encoding="utf-8")
  assert text.count("<!-- table: ") >= least
  assert bench.tables_made(text) == text, f"run: python -m {bench.__name__}"


@pytest.mark.parametrize("bench", LEAST, ids=lambda bench: bench.__name__)
def test_every_result_file_is_of_a_stream_with_tables(bench):
  texts = [page.read_text(encoding="utf-8") for page in bench.PAGES]
  streams = {mark[2] for text in texts for mark in bench.MARK.finditer(text)}
  files = [*bench.RESULTS.glob("*/*.json")]
  assert files
  assert {path.parent.name for path in files} <= streams
