"""Tables of docs/agem_protocol.md are those of its result files."""

from bench import agem_protocol as bench


def test_the_page_is_up_to_date():
  page = bench.PAGE.read_text(encoding="utf-8")
  assert page.count("<!-- table: ") > 3
  assert bench.tables_made(page) == page, "run: python -m bench.agem_protocol"


def test_every_result_file_is_of_a_stream_with_tables():
  page = bench.PAGE.read_text(encoding="utf-8")
  streams = {mark[2] for mark in bench.MARK.finditer(page)}
  assert {path.parent.name for path in bench.RESULTS.glob("*/*.json")} <= streams
