"""What a file that somebody else made may do here: be read, within bounds, and nothing else.

Data sets, weights, results and whole folders of runs are passed on. Whoever reads one of them goes
through this module, which

* opens regular files only, so that neither a pipe nor `/dev/zero` is read without end,
* bounds the memory by what is asked for, not by what the file declares,
* turns every damage into an exception of a known kind.
"""

import json
import os
import pickletools
import stat
from typing import Any, BinaryIO

MAX_BYTES = 2**30
"""The most memory that a file may fill where nothing else is known of it."""

_MAX_JSON = 3 * 2**28
_JSON_COSTS = {b"[": 64, b"{": 72, b'"': 45, b",": 32}
"""Bytes that Python takes for what each of these stands for, at most: an empty list, an empty
dictionary, half a text, a number and its place in a list."""

_MAX_OPCODES = 1_000_000
_FEW = 2**16  # places for what a pickle remembers, that any may have


def open_regular(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> BinaryIO:
  """Opens a file for reading, if it is a regular one that is not too long.

  Args:
    path: the file; links to it are followed.
    max_bytes: the longest that it may be.

  Raises:
    OSError: if it cannot be opened.
    ValueError: if it is something else than a file, or longer.
  """
  # O_NONBLOCK: a pipe without a writer would block the opening itself. Windows has none.
  how = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
  descriptor = os.open(path, how)
  try:
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
      raise IsADirectoryError(21, "Is a directory", os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
      raise ValueError("it is no regular file, but a pipe, a device or a socket")
    if status.st_size > max_bytes:
      raise ValueError(f"it has {status.st_size} bytes, more than the {max_bytes} that it may have")
    return os.fdopen(descriptor, "rb")
  except BaseException:
    os.close(descriptor)
    raise


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
  """The content of a regular file.

  Args:
    path: see `open_regular`.
    max_bytes: see `open_regular`.

  Raises:
    OSError, ValueError: see `open_regular`.
  """
  with open_regular(path, max_bytes) as file:
    return file.read(max_bytes)


def read_text(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> str:
  """The text of a regular file in UTF-8.

  Args:
    path: see `open_regular`.
    max_bytes: see `open_regular`.

  Raises:
    OSError, ValueError: see `open_regular`; and if it is no UTF-8.
  """
  try:
    return read_bytes(path, max_bytes).decode("utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"it is no text in UTF-8: {error}") from error


def parse_json(content: bytes) -> Any:
  """The value of a JSON text, if it fits into memory.

  Raises:
    ValueError: if it is no JSON, is nested too deeply, or would fill too much memory.

  >>> parse_json(b'{"a": [1, 2]}')
  {'a': [1, 2]}
  """
  text_bytes = len(content) * (2 if content.isascii() else 5)  # the text, and parts of it
  needed = text_bytes + sum(cost * content.count(mark) for mark, cost in _JSON_COSTS.items())
  if needed > _MAX_JSON:
    raise ValueError(f"it would fill {needed} bytes of memory, more than the {_MAX_JSON} it may")
  try:
    return json.loads(content.decode("utf-8"))
  except RecursionError:
    raise ValueError("it is nested too deeply") from None


def read_json(path: str | os.PathLike[str]) -> Any:
  """The value in a JSON file.

  Raises:
    OSError, ValueError: see `open_regular` and `parse_json`.
  """
  return parse_json(read_bytes(path))


def check_pickle(file: BinaryIO) -> None:
  """Looks through the pickle that begins here, and goes back to where it was.

  The unpickler in C keeps what a pickle remembers in an array as long as the largest index that the
  pickle names: seven bytes can ask for 64 GB. And each opcode, of one byte, may make an object of
  some 200 bytes.

  Args:
    file: can seek.

  Raises:
    ValueError: if the pickle is damaged, or would fill memory.
  """
  start = file.tell()
  largest = number = 0
  for number, (opcode, argument, _) in enumerate(pickletools.genops(file), start=1):
    if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int):
      largest = max(largest, argument)
    if number > _MAX_OPCODES:
      raise ValueError(f"the pickle has more than {_MAX_OPCODES} opcodes")
  if largest > max(number, _FEW):
    raise ValueError(f"the pickle of {number} opcodes remembers something as number {largest}")
  file.seek(start)


_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
_UNSEEN = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_PLAIN = dict.fromkeys([*_UNSEEN, *range(0xD800, 0xE000)], "") | {ord(one): " " for one in _SPACES}


def plain_text(text: str) -> str:
  r"""The text in one line, without what a terminal would obey.

  Control characters, halves of surrogate pairs and marks that turn the direction of writing are
  left out; line breaks and tabs become spaces.

  >>> plain_text("\x1b]0;owned\x07tag\n")
  ']0;ownedtag '
  """
  return text.translate(_PLAIN)


def plain_lines(text: object) -> str:
  r"""A text of several lines, without what a terminal would obey.

  >>> plain_lines("first\x1b[2J\n second")
  'first[2J\n second'
  """
  return "\n".join(map(plain_text, str(text).split("\n")))


def plain_strings(value: Any) -> Any:
  r"""A JSON value in which every text is a `plain_text`, keys too.

  >>> plain_strings({"method": "\x1b[31mtag", "seeds": [1, 2]})
  {'method': '[31mtag', 'seeds': [1, 2]}
  """
  if isinstance(value, str):
    return plain_text(value)
  if isinstance(value, dict):
    return {plain_strings(key): plain_strings(item) for key, item in value.items()}
  if isinstance(value, list):
    return [plain_strings(item) if isinstance(item, str | dict | list) else item for item in value]
  return value
