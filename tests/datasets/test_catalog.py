import importlib
import re

import pytest

from tagjax import datasets
from tagjax.datasets import archives, catalog


@pytest.mark.parametrize("name", datasets.names())
def test_entry_agrees_with_its_builder(name, tmp_path):
  entry = catalog.entry(name)
  module = importlib.import_module(f"tagjax.datasets.{entry.module}")
  builder = getattr(module, entry.builder)(data_dir=tmp_path)
  assert builder.name == name
  assert str(builder.version) == entry.version
  assert builder.info.features["image"].shape == entry.image_shape
  assert builder.info.features["label"].num_classes == entry.num_classes
  assert entry.embedded == (not builder.URLS)


@pytest.mark.parametrize("name", [name for name in datasets.names() if name != "digits"])
def test_every_archive_has_a_checksum(name):
  entry = catalog.entry(name)
  builder = getattr(importlib.import_module(f"tagjax.datasets.{entry.module}"), entry.builder)
  found = archives.of_builder(builder)
  assert len(found) == len(builder.URLS) > 0
  for archive in found:
    assert archive.url.endswith("/" + archive.name)
    assert archive.size > 1000
    assert re.fullmatch("[0-9a-f]{64}", archive.sha256)


def test_unknown_name_gets_the_nearest_ones():
  with pytest.raises(ValueError, match=r"unknown data set 'cifar-10' .did you mean cifar10"):
    datasets.load("cifar-10")
  with pytest.raises(ValueError, match=r"'xyz'.*digits, mnist"):
    datasets.load("xyz")
