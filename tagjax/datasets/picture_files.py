"""Opens picture files of whatever origin: a few formats, of bounded size."""

import contextlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

from tagjax.core import untrusted

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is tried, whatever the file is called. Pillow knows many more by their content, and starts
Ghostscript, a program of its own, for one of them."""

MAX_PIXELS = 64_000_000
"""The largest picture; one of 64 million pixels takes some 500 MB while it is decoded."""

_MANY_PIXELS = MAX_PIXELS // 8
_ONE_AT_A_TIME = threading.Lock()
_PPM_HEADER = 4096  # Pillow reads it byte by byte

# Ours is the lower limit, and theirs is told in two lines with a place in the code.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@contextlib.contextmanager
def opened(source: bytes | str | os.PathLike[str]) -> Iterator[Image.Image]:
  """The picture in a file, not decoded yet.

  Of several threads that have large pictures one decodes at a time.

  Args:
    source: the file, or its content.

  Raises:
    OSError, ValueError: if it cannot be opened, is of another format, or too large.
  """
  with io.BytesIO(source) if isinstance(source, bytes) else untrusted.open_regular(source) as file:
    _check_start(file)
    with Image.open(file, formats=FORMATS) as image:
      pixels = image.width * image.height
      if pixels > MAX_PIXELS:
        raise ValueError(
          f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS // 10**6} million"
        )
      with _ONE_AT_A_TIME if pixels > _MANY_PIXELS else contextlib.nullcontext():
        yield image


def _check_start(file: io.BufferedIOBase) -> None:
  """Refuses a PPM whose header is longer than any that a program writes."""
  start = file.read(_PPM_HEADER)
  file.seek(0)
  if start[:1] != b"P" or len(start) < _PPM_HEADER:
    return
  fields = re.sub(rb"#[^\r\n]*", b" ", start).split()
  if len(fields) < (3 if start[1:2] in b"14" else 4):  # kind, width, height, largest value
    raise ValueError(f"its header is longer than {_PPM_HEADER} bytes")
