"""Tables of docs/lifelong_results.md are those of its result files."""

from bench import shared_layers as bench


def test_the_page_is_up_to_date():
  page = bench.PAGE.read_text(encoding="utf-8")
  assert page.count("<!-- table: ") >= 3
  assert bench.tables_made(page) == page, "run: python -m bench.shared_layers"


def test_every_share_of_the_images_has_tables():
  page = bench.PAGE.read_text(encoding="utf-8")
  shares = {mark[2] for mark in bench.MARK.finditer(page)}
  assert {path.parent.name for path in bench.RESULTS.glob("*/*.json")} <= shares
