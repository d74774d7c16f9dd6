import functools
import http.server
import pathlib
import socket
import threading
import time

import pytest

from tagjax import datasets
from tagjax.datasets import archives, digits, folders, mnist, prepare, prepared


@pytest.fixture
def small_mnist(idx_files, random_examples):
  train = random_examples(1, 20, (28, 28), 10)
  test = random_examples(2, 10, (28, 28), 10)
  return idx_files(train, test)


def test_offline_says_at_once_what_to_fetch_and_where_to_put_it(offline, data_dir):
  datasets.load("digits")  # imports TFDS, which is not what is timed
  start = time.monotonic()
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mnist")
  assert time.monotonic() - start < 5
  text = str(error.value)
  for archive in archives.of_builder(mnist.Mnist):
    for part in (archive.name, f"{archive.size} bytes", archive.sha256, archive.url):
      assert part in text
  assert str(data_dir / "downloads" / "manual" / "mnist") in text
  assert "Without any download there are: digits" in text
  assert not data_dir.exists()


def test_a_name_server_that_never_answers_takes_no_longer(monkeypatch):
  release = threading.Event()

  def hang(*args, **kwargs):
    release.wait(60)
    raise socket.gaierror("too late")

  monkeypatch.setattr(socket, "getaddrinfo", hang)
  start = time.monotonic()
  with pytest.raises(datasets.DatasetUnavailableError, match="no answer within 3 s"):
    datasets.load("cifar10")
  assert time.monotonic() - start < 5
  release.set()


def test_only_the_missing_files_are_asked_for(offer, small_mnist):
  folder = offer(mnist.Mnist, small_mnist)
  (folder / "t10k-labels-idx1-ubyte.gz").unlink()
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mnist")
  assert "t10k-labels-idx1-ubyte.gz" in str(error.value)
  assert "train-images" not in str(error.value)


def test_a_damaged_archive_is_named(offer, small_mnist):
  folder = offer(mnist.Mnist, small_mnist)
  path = folder / "train-images-idx3-ubyte.gz"
  content = bytearray(path.read_bytes())
  content[100] ^= 1
  path.write_bytes(content)
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mnist")
  for part in (str(path), "is damaged", "sha256", "Delete it", "https://"):
    assert part in str(error.value)


def test_a_read_only_data_dir_is_left_alone(offer, small_mnist, data_dir, cache_dir, monkeypatch):
  offer(mnist.Mnist, small_mnist)
  before = sorted(data_dir.rglob("*"))
  monkeypatch.setattr(
    folders, "is_writable", lambda folder: data_dir not in (folder, *folder.parents)
  )
  loaded = datasets.load("mnist")
  assert len(loaded.train.label) == 20
  assert sorted(data_dir.rglob("*")) == before
  assert prepared.find("mnist").folder == cache_dir / "tfds" / "mnist" / "3.0.1"


def test_an_unwritable_cache_names_the_variable(monkeypatch, tmp_path):
  (tmp_path / "file").touch()
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
  with pytest.raises(datasets.DatasetUnavailableError, match="TAGJAX_CACHE_DIR"):
    datasets.load("digits")


def test_the_slower_of_two_preparations_takes_the_result_of_the_other(monkeypatch, cache_dir):
  original = digits.Digits._generate_examples
  calls = []

  def overtaken(self, *args):
    calls.append(args)
    if len(calls) == 1:
      prepare.prepare("digits")  # the other process, from start to end
    return original(self, *args)

  monkeypatch.setattr(digits.Digits, "_generate_examples", overtaken)
  loaded = datasets.load("digits")
  assert len(calls) == 4
  assert len(loaded.train.label) == 1437
  assert [path.name for path in (cache_dir / "tfds" / "digits").iterdir()] == ["1.0.0"]


def test_tfds_prints_nothing(capfd):
  datasets.load("digits")
  captured = capfd.readouterr()
  assert captured.out == ""
  assert captured.err == ""


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A web server in place of MNIST's; returns the folder that it serves and a way to stop it."""
  served = tmp_path / "served"
  served.mkdir()
  handler = functools.partial(_QuietHandler, directory=str(served))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    infos = {
      url + info.filename: info
      for old, info in mnist.Mnist.url_infos.items()
      if old in mnist.Mnist.URLS
    }
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "_FOLDER", url)
    monkeypatch.setattr(mnist.Mnist, "URLS", tuple(infos))
    monkeypatch.setattr(mnist.Mnist, "url_infos", infos)
    yield served, server.shutdown
    server.shutdown()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *args):
    del args


def _serve(folder: pathlib.Path, files: dict[str, bytes]) -> None:
  for name, content in files.items():
    (folder / name).write_bytes(content)


def test_downloads_what_is_missing(server, register, small_mnist, capfd, monkeypatch, data_dir):
  served, stop = server
  register(mnist.Mnist, small_mnist)
  _serve(served, small_mnist)
  assert len(datasets.load("mnist").train.label) == 20
  captured = capfd.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("downloading mnist (")
  assert captured.err.count("\n") == 1

  # A preparation that was killed after the download goes on without the net.
  stop()
  (data_dir / "mnist" / "3.0.1").rename(data_dir / "mnist" / "incomplete.KILLED_3.0.1")
  monkeypatch.setattr(archives, "why_unreachable", lambda url: "offline")
  assert len(datasets.load("mnist").train.label) == 20


def test_a_server_without_the_file_is_reported(server):
  with pytest.raises(datasets.DatasetUnavailableError, match="cannot be downloaded \\(HTTP 404\\)"):
    datasets.load("mnist")


def test_a_download_with_another_checksum_is_refused(server, register, small_mnist):
  served, _ = server
  register(mnist.Mnist, small_mnist)
  _serve(served, {name: content + b"x" for name, content in small_mnist.items()})
  with pytest.raises(datasets.DatasetUnavailableError, match="wrong checksum"):
    datasets.load("mnist")
