"""The readers of files that anybody may have made, and what none of them may do.

Each takes the bytes of a file and either reads them or raises what its documentation says, in one
line without control characters. It starts no program, opens no connection, and writes nothing.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator

from tagjax.core import untrusted
from tagjax.core.errors import TagjaxError
from tagjax.datasets import decode, feature_names, members, pickles, pictures
from tagjax.models.torch_files import read_tensors
from tagjax.report.run import load
from tagjax.report.runs import Runs
from tagjax.training.record import RunRecord

CORPUS = pathlib.Path(__file__).parent / "corpus"
_FOLDER = tempfile.TemporaryDirectory(prefix="tagjax-fuzz-")
_LONGEST_LINE = 2000

_FORBIDDEN = (
  "ctypes.dlopen",
  "os.exec",
  "os.fork",
  "os.link",
  "os.mkdir",
  "os.posix_spawn",
  "os.remove",
  "os.rename",
  "os.rmdir",
  "os.symlink",
  "os.system",
  "os.truncate",
  "socket.connect",
  "subprocess.Popen",
)
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
  if _seen is None:
    return
  writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
  if writes or event in _FORBIDDEN:
    _seen.append(f"{event}{arguments!r:.200}")


sys.addaudithook(_watch)  # for good: Python takes none back, so it looks whether it is asked


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
  """What the block did that no reader may do."""
  global _seen
  _seen = []
  try:
    yield _seen
  finally:
    _seen = None


def read_pickle(content: bytes) -> None:
  pickles.load(_file("x.pkl", content), 2**24)


def read_tensor_file(content: bytes) -> None:
  """The three formats, by what the file begins with; zip archives may be two of them."""
  suffixes = ("pth", "npz") if content[:2] == b"PK" else ("pth", "safetensors")
  for suffix in suffixes:
    try:
      read_tensors(_file(f"x.{suffix}", content), 2**24)
    except ValueError as error:
      failed = error
    else:
      return
  raise failed


def read_archive(content: bytes) -> None:
  for member in members.members(_file("x.zip", content), max_bytes=2**24, max_members=1000):
    member.read()


def read_picture(content: bytes) -> None:
  """As a builder does whose archive nobody vouches for."""
  file = members.Member("x.png", len(content), lambda: _Opened(content))
  pictures.example(file, 0, vouched=False)


class _Opened:
  def __init__(self, content):
    self._content = content

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    pass

  def read(self):
    return self._content


def read_json(content: bytes) -> None:
  """Results, a run's record, and the features of a data set."""
  path = _file("results.json", content)
  value = untrusted.read_json(path)
  _attempt(lambda: feature_names.check(_file("features.json", content).parent))
  if isinstance(value, dict):
    _attempt(lambda: RunRecord.from_json(value))
  loaded = load(path)
  loaded._repr_html_()
  repr(loaded)
  if isinstance(loaded, Runs):
    loaded.compare()


def _attempt(call: Callable[[], None]) -> None:
  try:
    call()
  except (TagjaxError, ValueError, OSError) as error:
    check_line(error)


READERS = {
  "pickle": read_pickle,
  "tensors": read_tensor_file,
  "archive": read_archive,
  "picture": read_picture,
  "json": read_json,
}


def _file(name: str, content: bytes) -> pathlib.Path:
  path = pathlib.Path(_FOLDER.name) / name
  if not path.exists() or path.read_bytes() != content:
    seen = _seen
    path.write_bytes(content)
    if seen is not None:
      seen[:] = [event for event in seen if _FOLDER.name not in event]
  return path


def check_line(error: Exception) -> None:
  """The error's text is one line that a terminal shows as it is."""
  text = str(error)
  assert text, repr(error)
  assert len(text) <= _LONGEST_LINE, text[:200]
  assert not [one for one in text if unicodedata.category(one) == "Cc"], repr(text)


def check(reader: str, content: bytes) -> bool:
  """Reads; returns whether it could. What the reader may not do is an AssertionError."""
  try:
    with watched() as events:
      READERS[reader](content)
  except (TagjaxError, ValueError) as error:
    check_line(error)
    assert not events, events
    return False
  except BaseException:
    _keep(reader, content)
    raise
  assert not events, events
  return True


def _keep(reader: str, content: bytes) -> None:
  """Where it is asked for, what was found becomes part of the corpus."""
  if "TAGJAX_FUZZ_EXAMPLES" in os.environ:
    (CORPUS / reader / "found").write_bytes(content)  # of one fault the smallest, which is the last


assert decode  # imports TFDS, which opens files and folders of its own
