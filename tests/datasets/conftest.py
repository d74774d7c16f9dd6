"""Archives in the official layouts, written by the tests, and folders of their own."""

import dataclasses
import functools
import gzip
import hashlib
import pathlib
import socket
import struct

import numpy as np
import picture_files
import pytest

from tagjax.datasets import catalog, prepared


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch) -> pathlib.Path:
  """A fresh data folder and a fresh cache for each test; returns the former."""
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
  return tmp_path / "data"


@pytest.fixture(autouse=True)
def _sets_may_be_small(request, monkeypatch):
  """The tests prepare sets of a few examples; `sizes_count` asks for what users have."""
  if "sizes_count" not in request.fixturenames:
    monkeypatch.setattr(prepared, "check_sizes", lambda name, found: None)


@pytest.fixture
def sizes_count():
  """Sets of another size than the published one are refused."""


@pytest.fixture
def cache_dir(data_dir) -> pathlib.Path:
  return data_dir.parent / "cache"


@pytest.fixture
def offline(monkeypatch):
  """No host name can be looked up."""

  def refuse(*args, **kwargs):
    raise socket.gaierror("no network in this test")

  monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def register(monkeypatch):
  """Makes a builder expect the given files, under the URLs that it has for those names."""

  def register(builder: type, files: dict[str, bytes]) -> None:
    infos = dict(builder.url_infos)
    for url in builder.URLS:
      content = files[infos[url].filename]
      infos[url] = dataclasses.replace(
        infos[url],
        size=type(infos[url].size)(len(content)),
        checksum=hashlib.sha256(content).hexdigest(),
      )
    monkeypatch.setattr(builder, "url_infos", infos)

  return register


@pytest.fixture
def offer(register, data_dir, offline):
  """Registers files and puts them where a user without a network puts them."""

  def offer(builder: type, files: dict[str, bytes], root: pathlib.Path = data_dir) -> pathlib.Path:
    register(builder, files)
    folder = root / "downloads" / "manual" / builder.name
    folder.mkdir(parents=True)
    for name, content in files.items():
      (folder / name).write_bytes(content)
    return folder

  return offer


@pytest.fixture
def shrink(monkeypatch):
  """Makes the catalog expect a smaller set: `shrink("awa2", sizes=(300, 50))`."""

  def shrink(name: str, **changes) -> None:
    smaller = catalog.entry(name)._replace(**changes)
    monkeypatch.setitem(catalog._ENTRIES, name, smaller)

  return shrink


def _idx(array: np.ndarray) -> bytes:
  header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
  return gzip.compress(header + array.tobytes())


@pytest.fixture
def idx_files():
  """The four files of the MNIST family for given images and labels of each split."""

  def idx_files(train, test) -> dict[str, bytes]:
    return {
      "train-images-idx3-ubyte.gz": _idx(train[0]),
      "train-labels-idx1-ubyte.gz": _idx(train[1]),
      "t10k-images-idx3-ubyte.gz": _idx(test[0]),
      "t10k-labels-idx1-ubyte.gz": _idx(test[1]),
    }

  return idx_files


@pytest.fixture
def tar_gz():
  """A `.tar.gz` of the given members."""

  return functools.partial(picture_files.tarred, mode="w:gz")


@pytest.fixture
def random_examples():
  """Random images and labels of which every class is present."""

  def random_examples(seed: int, count: int, shape: tuple[int, ...], num_classes: int):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (count, *shape), np.uint8)
    label = rng.permutation(np.arange(count) % num_classes).astype(np.uint8)
    return image, label

  return random_examples


@pytest.fixture
def same_examples():
  """Asserts that loaded examples are the given ones, in whatever order."""

  def same_examples(examples, image, label) -> None:
    assert examples.image.dtype == np.uint8
    assert examples.label.dtype == np.int32
    assert not examples.image.flags.writeable
    assert not examples.label.flags.writeable
    image = image.reshape(len(image), *examples.image.shape[1:])
    assert examples.image.shape == image.shape

    def rows(images, labels):
      return sorted((one.tobytes(), int(of)) for one, of in zip(images, labels, strict=True))

    assert rows(examples.image, examples.label) == rows(image, label)

  return same_examples
