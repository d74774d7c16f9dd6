"""Pictures of strangers: a few formats, whatever the file is called, and of bounded size."""

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.datasets import decode, members, picture_files, pictures

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


def chunk(kind, content):
  checksum = zlib.crc32(kind + content)
  return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height):
  """Declares a size; holds no pixels."""
  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  end = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
  """A program of that name, which leaves a file behind."""
  program, called = tmp_path / "bin" / "gs", tmp_path / "called"
  program.parent.mkdir()
  program.write_text(f"#!/bin/sh\ntouch {called}\n")
  program.chmod(0o755)
  monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
  monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for once
  return called


def test_no_picture_starts_a_program(tmp_path, ghostscript):
  folder = tmp_path / "own" / "a"
  folder.mkdir(parents=True)
  for number in range(2):
    (folder / f"{number}.png").write_bytes(EPS)
  with pytest.raises(datasets.DatasetUnavailableError, match=r"png cannot be read"):
    datasets.load_folder(tmp_path / "own", (8, 8, 3))
  file = members.Member("evil.jpg", len(EPS), lambda: io.BytesIO(EPS))
  with pytest.raises(ValueError, match=r"evil\.jpg is damaged or no picture"):
    pictures.example(file, 0, vouched=False)
  assert not ghostscript.exists()
  with pytest.raises(Exception, match=r"."), Image.open(io.BytesIO(EPS)) as image:
    image.load()
  assert ghostscript.exists(), "else this test would prove nothing"


@pytest.mark.filterwarnings("ignore:Image size")  # as picture_files does
@pytest.mark.parametrize("size", [(8001, 8000), (64_000_001, 1), (13_300, 13_300), (2**31 - 1, 1)])
def test_a_picture_that_is_too_large_is_not_decoded(size):
  with pytest.raises((ValueError, Image.DecompressionBombError), match="pixels"):
    decode.decode(png(*size), 3)


def test_a_large_one_is_decoded_while_no_other_is(monkeypatch):
  monkeypatch.setattr(picture_files, "_MANY_PIXELS", 3)
  file = io.BytesIO()
  Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "PNG")
  ended = threading.Event()

  def other():
    with picture_files.opened(file.getvalue()):
      ended.set()

  with picture_files.opened(file.getvalue()):
    thread = threading.Thread(target=other)
    thread.start()
    assert not ended.wait(0.05)
  thread.join()
  assert ended.is_set()


@pytest.mark.parametrize("filling", [b"# x\n" * 2000, b" " * 5000, b"#" + b"x" * 5000])
def test_a_ppm_without_an_end_of_its_header_is_refused(filling):
  with pytest.raises(ValueError, match="header is longer than 4096 bytes"):
    decode.decode(b"P6 " + filling + b"1 1 255 abc", 3)
  assert decode.decode(b"P6 # x\n1 1 255 abc", 3).tolist() == [[[97, 98, 99]]]


@pytest.mark.parametrize(("kind", "bytes_each"), [(b"P4 64 64\n", 1 / 8), (b"P5 64 64 255\n", 1)])
def test_pixels_may_look_like_spaces(kind, bytes_each):
  content = kind + b" " * int(64 * 64 * bytes_each)
  assert decode.decode(content + b" " * 4096, 1).shape == (64, 64, 1)


def test_a_pipe_is_no_picture(tmp_path):
  os.mkfifo(tmp_path / "a.png")
  with pytest.raises(ValueError, match="no regular file"), picture_files.opened(tmp_path / "a.png"):
    pass
