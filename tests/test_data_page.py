"""docs/data.md: its tables are those of the catalog and of the builders."""

import re
from pathlib import Path

import pytest

from tagjax.datasets import archives, catalog, loader, read_ahead
from tagjax.input_pipeline import data_source

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()


def set_row(name: str) -> str:
  """What the table of the sets must say of one."""
  entry = catalog.entry(name)
  train, test = entry.sizes
  image = " x ".join(map(str, entry.image_shape)) + (f", {entry.resize}" if entry.resize else "")
  cells = (f"`{name}`", entry.title, entry.num_classes, f"{train:,} + {test:,}", image)
  return f"| {' | '.join(map(str, cells))} | {_way(name)} | {entry.licence} |"


def _way(name: str) -> str:
  if catalog.entry(name).embedded:
    return "embedded"
  return "by hand" if archives.by_hand(catalog.builder(name)) else "download"


def file_rows(name: str) -> list[str]:
  """What the table of the files must say of those of one set."""
  builder = catalog.builder(name)
  rows = []
  for wanted in (*archives.of_builder(builder), *archives.by_hand(builder)):
    names = (wanted.name,) if isinstance(wanted, archives.Archive) else wanted.names
    size = "not known" if wanted.size is None else f"{wanted.size:,}"
    checked = "sha256" if wanted.sha256 else "size, content" if wanted.size else "content"
    files = " or ".join(f"`{file}`" for file in names)
    rows.append(f"| `{name}` | {files} | {size} | {checked} | {archives.origin(wanted)} |")
  return rows


@pytest.mark.parametrize("name", catalog.names())
def test_tables_are_those_of_the_code(name):
  assert set_row(name) in PAGE
  for row in file_rows(name):
    assert row in PAGE


def test_no_other_sums_and_sets():
  assert not re.search(r"[0-9a-f]{64}", PAGE)
  assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(catalog.names())


def test_bounds_are_those_of_the_code():
  assert loader.LARGE_BYTES == 2 * 2**30
  assert "more than 2 GiB" in PAGE
  assert data_source.WINDOW_BYTES == 64 * 2**20
  assert "64 MiB" in PAGE
  assert f"up to {read_ahead.MOST_THREADS} threads" in PAGE
  for input in loader.INPUTS:
    assert f"- `{input}`: " in PAGE
