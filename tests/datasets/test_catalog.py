import importlib
import re
import urllib.parse

import pytest

from tagjax import datasets
from tagjax.datasets import archives, catalog


def _builder(name: str) -> type:
  entry = catalog.entry(name)
  return getattr(importlib.import_module(f"tagjax.datasets.builders.{entry.module}"), entry.builder)


@pytest.mark.parametrize("name", datasets.names())
def test_entry_agrees_with_its_builder(name, tmp_path):
  entry = catalog.entry(name)
  builder = _builder(name)(data_dir=tmp_path)
  assert builder.name == name
  assert str(builder.version) == entry.version
  *_, channels = entry.image_shape
  stored = entry.image_shape if entry.resize is None else (None, None, channels)
  assert builder.info.features["image"].shape == stored
  assert builder.info.features["label"].num_classes == entry.num_classes
  assert entry.embedded == (not builder.URLS and not getattr(builder, "BY_HAND", ()))


_DOWNLOADED = [name for name in datasets.names() if not catalog.entry(name).embedded]


@pytest.mark.parametrize("name", _DOWNLOADED)
def test_every_download_has_a_checksum(name):
  builder = _builder(name)
  found = archives.of_builder(builder)
  assert len(found) == len(builder.URLS)
  for archive in found:
    assert urllib.parse.urlsplit(archive.url).path.endswith("/" + archive.name)
    assert archive.size > 100
    assert re.fullmatch("[0-9a-f]{64}", archive.sha256)


@pytest.mark.parametrize("name", _DOWNLOADED)
def test_every_file_to_fetch_by_hand_has_a_page(name):
  for file in getattr(_builder(name), "BY_HAND", ()):
    assert re.match("https?://", file.page)
    assert file.names
    assert not any("/" in name for name in file.names)
    assert file.size is None or file.size > 100
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)


def test_unknown_name_gets_the_nearest_ones():
  with pytest.raises(ValueError, match=r"unknown data set 'cifar-10' .did you mean cifar10"):
    datasets.load("cifar-10")
  with pytest.raises(ValueError, match=r"'xyz'.*digits, glyphs, mnist"):
    datasets.load("xyz")
