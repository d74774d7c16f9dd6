import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tagjax import datasets
from tagjax.datasets import archives, contents, folders, lock, network, prepare, prepared
from tagjax.datasets.builders import digits, mnist


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


def test_a_program_that_knows_no_lock_may_be_faster(monkeypatch, cache_dir):
  original = digits.Digits._generate_examples
  calls = []

  def overtaken(self, *args):
    calls.append(args)
    if len(calls) == 1:  # as TFDS does by itself, from start to end
      other = digits.Digits(data_dir=cache_dir / "tfds")
      other.download_and_prepare(file_format="array_record")
    return original(self, *args)

  monkeypatch.setattr(digits.Digits, "_generate_examples", overtaken)
  loaded = datasets.load("digits")
  assert len(calls) == 4
  assert len(loaded.train.label) == 1437
  assert _names_in(cache_dir / "tfds" / "digits") == [".lock", "1.0.0"]


def _names_in(folder: pathlib.Path) -> list[str]:
  return sorted(path.name for path in folder.iterdir())


_PREPARE = """
import os, time
from tagjax.datasets import prepare
from tagjax.datasets.builders import digits
original = digits.Digits._generate_examples

def generate(self, *args):
  for number, example in enumerate(original(self, *args)):
    if number == 100:
      os.write(1, b"generating\\n")  # past what silences TFDS
      while os.path.exists({hold!r}):
        time.sleep(0.05)
    yield example

digits.Digits._generate_examples = generate
prepare.prepare("digits")
"""


def _start(hold: pathlib.Path) -> subprocess.Popen:
  """A process that prepares the digits and stops amid them as long as the file `hold` is there."""
  return subprocess.Popen(
    [sys.executable, "-c", _PREPARE.format(hold=str(hold))],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_whoever_waits_for_a_process_that_is_killed_starts_anew(cache_dir, tmp_path):
  hold = tmp_path / "hold"
  hold.touch()
  first = _start(hold)
  assert first.stdout.readline() == "generating\n"
  second = _start(hold)
  assert second.stderr.readline().startswith("another process is preparing digits in ")
  first.kill()
  first.communicate(timeout=60)
  assert second.stdout.readline() == "generating\n"
  folder = cache_dir / "tfds" / "digits"
  unfinished = [name for name in _names_in(folder) if name.startswith("incomplete.")]
  assert len(unfinished) == 1  # its own: that of the first is removed
  assert prepared.find("digits") is None
  hold.unlink()
  second.communicate(timeout=60)
  assert second.returncode == 0
  assert prepared.find("digits").num_examples == {"train": 1437, "test": 360}
  assert _names_in(folder) == [".lock", "1.0.0"]


@pytest.fixture
def on_generation(monkeypatch):
  """Sets a function that is called when the digits are about to be generated, for each split."""
  original = digits.Digits._generate_examples

  def on_generation(function):
    def generate(self, *args):
      for number, example in enumerate(original(self, *args)):
        if number == 100:
          function()
        yield example

    monkeypatch.setattr(digits.Digits, "_generate_examples", generate)

  return on_generation


def test_the_second_waits_and_takes_what_the_first_has_made(on_generation, capfd):
  begun, release = threading.Event(), threading.Event()
  calls = []

  def hold():
    calls.append(threading.current_thread().name)
    begun.set()
    assert release.wait(60)

  on_generation(hold)
  threads = [threading.Thread(target=prepare.prepare, args=("digits",), name=n) for n in "ab"]
  threads[0].start()
  assert begun.wait(60)
  threads[1].start()
  said = ""
  while "waiting for it" not in said:
    said += capfd.readouterr().err
    assert threads[1].is_alive()
    time.sleep(0.01)
  release.set()
  for thread in threads:
    thread.join(60)
  assert calls == ["a", "a"]  # once for each split
  assert prepared.find("digits") is not None


def test_who_has_waited_looks_whether_anything_is_left_to_do(
  offer, small_mnist, monkeypatch, capfd
):
  folder = offer(mnist.Mnist, small_mnist)
  original = lock.exclusive

  @contextlib.contextmanager
  def late(*args):
    with monkeypatch.context() as patch:
      patch.setattr(lock, "exclusive", original)
      prepare.prepare("mnist")  # another process, while this one waits
    shutil.rmtree(folder)
    with original(*args):
      yield

  monkeypatch.setattr(lock, "exclusive", late)
  prepare.prepare("mnist")
  assert capfd.readouterr().err.count("preparing mnist") == 1


def test_after_an_interruption_nothing_is_left(on_generation, cache_dir):
  on_generation(lambda: signal.raise_signal(signal.SIGINT))
  with pytest.raises(KeyboardInterrupt):
    prepare.prepare("digits")
  assert _names_in(cache_dir / "tfds" / "digits") == [".lock"]
  on_generation(lambda: None)
  prepare.prepare("digits")
  assert prepared.find("digits") is not None


def test_a_write_that_fails_is_reported_and_leaves_nothing(cache_dir):
  digits.Digits(data_dir=cache_dir)  # imports what may want to write
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
  try:
    with pytest.raises(datasets.DatasetUnavailableError, match="File too large") as error:
      prepare.prepare("digits")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert str(error.value).startswith("digits cannot be prepared in")
  assert _names_in(cache_dir / "tfds" / "digits") == [".lock"]
  prepare.prepare("digits")
  assert prepared.find("digits") is not None


def test_a_disk_without_room_is_refused_before_anything_is_written(
  offer, small_mnist, data_dir, monkeypatch
):
  offer(mnist.Mnist, small_mnist)
  before = sorted(data_dir.rglob("*"))
  needed = sum(len(content) for content in small_mnist.values()) // 2
  monkeypatch.setattr(folders, "room", lambda folder: needed - 1)
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("mnist")
  for part in (str(data_dir), folders.in_words(needed), folders.in_words(needed - 1)):
    assert part in str(error.value)
  assert "TFDS_DATA_DIR" in str(error.value)
  assert sorted(data_dir.rglob("*")) == before
  monkeypatch.setattr(folders, "room", lambda folder: needed)
  assert len(datasets.load("mnist").train.label) == 20


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
  assert captured.err.startswith("preparing mnist in ")
  assert captured.err.count("\n") == 1

  # A preparation that was killed after the download goes on without the net.
  stop()
  (data_dir / "mnist" / "3.0.1").rename(data_dir / "mnist" / "incomplete.KILLED_3.0.1")
  monkeypatch.setattr(network, "why_unreachable", lambda url: "offline")
  assert len(datasets.load("mnist").train.label) == 20


def test_a_server_without_the_file_is_reported(server):
  with pytest.raises(datasets.DatasetUnavailableError, match="cannot be downloaded \\(HTTP 404\\)"):
    datasets.load("mnist")


def test_a_download_that_breaks_off_is_reported_and_starts_anew(
  server, register, small_mnist, data_dir, monkeypatch
):
  served, _ = server
  register(mnist.Mnist, small_mnist)
  _serve(served, small_mnist)
  with monkeypatch.context() as patch:
    original = _QuietHandler.copyfile
    patch.setattr(
      _QuietHandler,
      "copyfile",
      lambda self, source, out: original(self, io.BytesIO(source.read()[:30]), out),
    )
    with pytest.raises(datasets.DatasetUnavailableError, match="mnist cannot be prepared in"):
      prepare.prepare("mnist")
  downloads = data_dir / "downloads" / "mnist"
  assert any(".tmp." in name for name in _names_in(downloads))
  prepare.prepare("mnist")
  assert prepared.find("mnist").num_examples == {"train": 20, "test": 10}
  assert not any(".tmp." in name for name in _names_in(downloads))
  assert len(_names_in(downloads)) == 8  # each file with its note


def test_copies_that_were_compressed_again_are_taken(
  offer, small_mnist, same_examples, random_examples, monkeypatch
):
  folder = offer(mnist.Mnist, small_mnist)
  known = {}
  for archive in archives.of_builder(mnist.Mnist):
    inside = gzip.decompress(small_mnist[archive.name])
    known[archive.url] = contents.Content(len(inside), hashlib.sha256(inside).hexdigest())
    (folder / archive.name).write_bytes(gzip.compress(inside, compresslevel=1, mtime=7))
  with pytest.raises(datasets.DatasetUnavailableError, match="is damaged"):
    datasets.load("mnist")
  monkeypatch.setattr(contents, "known", lambda: known)
  same_examples(datasets.load("mnist").train, *random_examples(1, 20, (28, 28), 10))


def test_a_download_with_another_checksum_is_refused(server, register, small_mnist):
  served, _ = server
  register(mnist.Mnist, small_mnist)
  _serve(served, {name: content + b"x" for name, content in small_mnist.items()})
  with pytest.raises(datasets.DatasetUnavailableError, match="wrong checksum"):
    datasets.load("mnist")
