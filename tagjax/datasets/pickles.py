"""Reads pickles of dictionaries, lists and NumPy arrays, and nothing else.

A pickle is a program: it may import what it likes and call it. Here it can import a handful of
names only, and even for those it gets stand-ins of ours. So neither a foreign function runs nor
does NumPy rebuild an array from a state that nobody has checked.
"""

import contextvars
import os
import pickle
import re
from typing import Any

import numpy as np

from tagjax.core import untrusted

_DTYPE = re.compile(r"b1|[iu][1248]|f[248]")


def load(path: str | os.PathLike[str], max_bytes: int = untrusted.MAX_BYTES) -> Any:
  """The content of a pickle, of Python 2 or 3, with NumPy 1 or 2.

  Args:
    path: the file.
    max_bytes: the longest that it may be. Reading takes few times as much memory as it is long.

  Returns:
    What was pickled, of dictionaries, lists, tuples, texts and numbers. An array comes as an
    `Array`, of which `numpy.asarray` makes one.

  Raises:
    OSError: if the file cannot be opened.
    ValueError: if the pickle asks for anything else, which the text names, or is damaged.
  """
  left = _LEFT.set([os.stat(path).st_size])
  try:
    with untrusted.open_regular(path, max_bytes) as file:
      untrusted.check_pickle(file)
      # Python 2 has no bytes: "latin1" keeps the content of its strings, which NumPy's arrays are.
      return _Unpickler(file, encoding="latin1").load()
  except _RefusedError as error:
    raise ValueError(f"{path} is refused: {untrusted.plain_text(str(error))}") from None
  except OSError:
    raise
  except Exception as error:  # what damage leads to is nowhere listed
    reason = untrusted.plain_text(str(error))
    raise ValueError(f"{path} is no whole pickle: {type(error).__name__}: {reason}") from error
  finally:
    _LEFT.reset(left)


class _RefusedError(Exception):
  """The pickle wants more than data."""


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> type:
    plain = re.sub(r"^numpy\._core\b", "numpy.core", module)  # NumPy 2's name for it
    if (plain, name) not in _STAND_INS:
      raise _RefusedError(f"it asks for {module}.{name}, and only NumPy arrays are rebuilt")
    return _STAND_INS[plain, name]


class _StandIn:
  """A pickle can set the state of whatever it has; classes that inherit from here refuse that."""

  __slots__ = ()

  def __setstate__(self, state):
    raise _RefusedError(f"it sets a state of {type(self).__name__}")


class Array(_StandIn):
  """What a pickle says of an array; `numpy.asarray` makes a read-only one of it."""

  __slots__ = ("_array",)

  def __init__(self, *empty: object):
    del empty  # class, shape and type of an array that is filled by its state
    self._array = np.zeros(0, np.uint8)

  def __setstate__(self, state: tuple) -> None:
    _, shape, dtype, is_fortran, content = state
    self._array = _rebuild(content, dtype, shape, "F" if is_fortran else "C")

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return np.array(self._array, dtype, copy=copy)


class _Dtype(_StandIn):
  """A type of numbers."""

  __slots__ = ("_name", "_order")

  def __init__(self, name: str, align: bool = False, copy: bool = True):
    del align, copy
    if not (isinstance(name, str) and _DTYPE.fullmatch(name)):
      raise _RefusedError(f"it holds an array of {name!r}, which are no numbers")
    self._name, self._order = name, "="

  def __setstate__(self, state: tuple) -> None:
    self._order = state[1]
    if self._order not in ("<", ">", "=", "|"):
      raise _RefusedError(f"it holds an array of byte order {self._order!r}")

  def dtype(self) -> np.dtype:
    return np.dtype(self._order + self._name)


class _Buffer(_StandIn):
  """`numpy.core.numeric._frombuffer`, which protocol 5 calls."""

  __slots__ = ()

  def __new__(cls, content: bytes, dtype: _Dtype, shape: tuple, order: str) -> Array:
    array = Array()
    array._array = _rebuild(content, dtype, shape, order)
    return array


class _Scalar(_StandIn):
  """`numpy.core.multiarray.scalar`: a number of NumPy, which becomes one of Python."""

  __slots__ = ()

  def __new__(cls, dtype: _Dtype, content: bytes) -> int | float | bool:
    return _rebuild(content, dtype, (), "C").item()


class _Encode(_StandIn):
  """`_codecs.encode`, by which protocols without bytes spell them."""

  __slots__ = ()

  def __new__(cls, text: str = "", encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
      raise _RefusedError(f"it asks for the encoding {encoding!r}")
    return _as_bytes(text)


class _ArrayClass(_StandIn):
  """`numpy.ndarray`, which `_reconstruct` is given."""

  __slots__ = ()


def _rebuild(content: str | bytes, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
  if isinstance(content, str):  # of Python 2
    content = _as_bytes(content)
  if not isinstance(content, bytes | bytearray):
    raise _RefusedError("it holds an array of objects")
  array = np.frombuffer(content, dtype.dtype()).reshape(shape, order=order)
  array.flags.writeable = False
  return array


def _as_bytes(text: str) -> bytes:
  """A copy: all of them together are no longer than the file, however often it names a text."""
  left = _LEFT.get()
  left[0] -= len(text)
  if left[0] < 0:
    raise _RefusedError("it makes more bytes than it has")
  return text.encode("latin1")


_LEFT: contextvars.ContextVar[list[int]] = contextvars.ContextVar("bytes left to the pickle")

_STAND_INS = {
  ("numpy.core.multiarray", "_reconstruct"): Array,
  ("numpy.core.multiarray", "scalar"): _Scalar,
  ("numpy.core.numeric", "_frombuffer"): _Buffer,
  ("numpy", "ndarray"): _ArrayClass,
  ("numpy", "dtype"): _Dtype,
  ("_codecs", "encode"): _Encode,
  ("__builtin__", "bytes"): _Encode,  # without a text, for no bytes at all
}
