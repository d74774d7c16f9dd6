"""Picture files and archives of them, made by the tests of the data sets."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image


def pixels(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
  """A smooth picture, uint8 `[height, width, 3]`: JPEG keeps it nearly, and no two are alike."""
  corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
  return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def encoded(array: np.ndarray, file_format: str = "PNG", mode: str = "RGB") -> bytes:
  """The content of a picture file."""
  buffer = io.BytesIO()
  Image.fromarray(array).convert(mode).save(buffer, file_format, quality=95)
  return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
  """The content of a tar archive, of a compressed one with the mode `"w:gz"`."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode=mode) as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
  """The content of a zip archive."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return buffer.getvalue()
