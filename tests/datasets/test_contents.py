import gzip
import hashlib
import io
import re

import pytest

from tagjax.datasets import catalog, contents

_TEXT = b"what is inside " * 100


@pytest.fixture
def content():
  return contents.Content(len(_TEXT), hashlib.sha256(_TEXT).hexdigest())


@pytest.fixture
def put(tmp_path):
  def put(content: bytes):
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    return path

  return put


def _with_a_name(text: bytes) -> bytes:
  buffer = io.BytesIO()
  with gzip.GzipFile("a-name-in-the-header", "wb", compresslevel=1, fileobj=buffer) as file:
    file.write(text)
  return buffer.getvalue()


def test_the_same_content_counts_however_it_was_compressed(put, content):
  copies = [gzip.compress(_TEXT, mtime=1), gzip.compress(_TEXT, mtime=2), _with_a_name(_TEXT)]
  assert len(set(copies)) == 3
  assert all(contents.holds(put(copy), content) for copy in copies)


@pytest.mark.parametrize(
  "damage",
  [
    lambda copy: gzip.compress(_TEXT[:-1]),
    lambda copy: gzip.compress(_TEXT + b"x"),
    lambda copy: gzip.compress(_TEXT.upper()),
    lambda copy: copy[:-1],
    lambda copy: copy[:40] + bytes([copy[40] ^ 255]) + copy[41:],
    lambda copy: copy + b"x",
    lambda copy: _TEXT,
    lambda copy: b"",
  ],
  ids=["shorter", "longer", "other", "cut", "a flipped byte", "appended", "no gzip", "empty"],
)
def test_anything_else_does_not(put, content, damage):
  assert not contents.holds(put(damage(gzip.compress(_TEXT))), content)


def test_a_bomb_is_not_decompressed_to_its_end(put, content, monkeypatch):
  read = []
  original = gzip.GzipFile.read

  def counting(self, *args):
    block = original(self, *args)
    read.append(len(block))
    return block

  monkeypatch.setattr(gzip.GzipFile, "read", counting)
  assert not contents.holds(put(gzip.compress(bytes(20 << 20))), content)
  assert sum(read) <= 2 << 20


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_table_holds_what_idx_files_of_these_sets_must_hold(name):
  entry, builder = catalog.entry(name), catalog.builder(name)
  height, width, _ = entry.image_shape
  for url in builder.URLS:
    found = contents.known()[url]
    count = entry.sizes["t10k" in url]
    assert found.size == (16 + count * height * width if "images" in url else 8 + count)
    assert re.fullmatch("[0-9a-f]{64}", found.sha256)
    assert found.sha256 != builder.url_infos[url].checksum


def test_every_line_of_the_table_is_of_an_archive_that_a_builder_reads():
  read = {url for name in catalog.names() for url in catalog.builder(name).URLS}
  assert set(contents.known()) <= read
