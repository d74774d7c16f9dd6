"""Reads files of named tensors without PyTorch: `.pth`, `.safetensors`, `.npz`.

A `.pth` file is a pickle, which may call any function of any module when it is read. The reader
here knows a handful of names, makes plain records of them and refuses every other; nothing in the
file is executed. Memory is bounded by the caller, not by what the file declares.
"""

import collections
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tagjax.core import untrusted

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_AXES = 64
_MAX_HEADERS = 2**24  # what is beside the numbers: names, shapes
_STORAGES = {
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "HalfStorage": "<f2",
  "LongStorage": "<i8",
  "IntStorage": "<i4",
}
_SAFETENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8"}


def read_tensors(path: str | Path, max_bytes: int = untrusted.MAX_BYTES) -> dict[str, np.ndarray]:
  """The named tensors of a file, as arrays on the host.

  Args:
    path: file whose name ends in `.safetensors`, `.npz`, or `.pth`, `.pt`, `.bin`: a dictionary
      of tensors that `torch.save` has written, in its present format or the one before PyTorch 1.6.
    max_bytes: the most bytes of numbers that it may hold, decompressed. Tensors that are views of
      the same numbers share them.

  Returns:
    Name -> array, of float16, float32, float64, int32 or int64 (`.npz`: of any type).

  Raises:
    OSError: if the file cannot be opened.
    ValueError: one line, if it is of another kind, damaged, too large, or holds anything but named
      tensors.
  """
  path = Path(path)
  readers: dict[str, Callable[[BinaryIO, int], dict[str, np.ndarray]]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
  }
  if path.suffix not in readers:
    raise ValueError(f"the name of the file must end in one of {', '.join(readers)}")
  with untrusted.open_regular(path, max_bytes + _MAX_HEADERS) as file:
    try:
      return readers[path.suffix](file, max_bytes)
    except Exception as error:  # a damaged file can make its parser raise nearly anything
      reason = " ".join(untrusted.plain_text(str(error)).split()) or type(error).__name__
      raise ValueError(f"the file is damaged, or holds no named tensors: {reason}") from error


def _read_npz(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(file) as archive:
    members = archive.infolist()
    # What is decompressed of a member is never more than it declares.
    declared = sum(member.file_size for member in members)
    if declared > max_bytes + _MAX_HEADERS:
      raise ValueError(f"it unpacks to {declared} bytes, more than the {max_bytes} it may have")
    for member in members:
      if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed as no file of numpy.savez is")
  file.seek(0)
  with np.load(file, allow_pickle=False) as arrays:
    tensors = dict(arrays)
  for name, tensor in tensors.items():
    if not isinstance(tensor, np.ndarray):  # NumPy hands out whatever else the archive holds
      raise ValueError(f"its entry {name[:50]!r} is no array")
  return tensors


def _read_safetensors(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  content = memoryview(file.read(max_bytes + _MAX_HEADERS))
  start = 8 + int.from_bytes(content[:8], "little")
  header, data = untrusted.parse_json(bytes(content[8:start])), content[start:]
  header.pop("__metadata__", None)
  return {name: _safetensor(name, entry, data) for name, entry in header.items()}


def _safetensor(name: str, entry: dict[str, Any], data: memoryview) -> np.ndarray:
  if entry["dtype"] not in _SAFETENSORS:
    raise ValueError(f"{name} is of type {entry['dtype']}; there are {', '.join(_SAFETENSORS)}")
  first, last = entry["data_offsets"]
  if not 0 <= first <= last <= len(data):
    raise ValueError(f"{name} lies outside of the file")
  return np.frombuffer(data[first:last], _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])


class _Storage(NamedTuple):
  """A run of numbers somewhere in the file."""

  key: str
  dtype: str
  size: int


class _Tensor(NamedTuple):
  """A view of a storage, all in elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _RebuildTensor:
  """Stands for PyTorch's function of that name; without attributes that a pickle could set."""

  __slots__ = ()

  def __call__(self, storage, offset, shape, strides, *unused) -> _Tensor:
    whole = lambda value: type(value) is int and value >= 0  # noqa: E731
    # A list that the pickle has once could be the shape of a thousand tensors.
    is_short = all(type(sizes) is tuple and len(sizes) <= _MAX_AXES for sizes in (shape, strides))
    known = isinstance(storage, _Storage) and is_short
    if not (known and all(map(whole, (offset, *shape, *strides)))):
      raise pickle.UnpicklingError("a tensor is described by something else than whole numbers")
    return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
  """A parameter is its tensor; the rest says how PyTorch would train it."""

  __slots__ = ()

  def __call__(self, tensor, *unused) -> _Tensor:
    return tensor


_KNOWN = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
  ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
} | {("torch", name): dtype for name, dtype in _STORAGES.items()}


class _Unpickler(pickle.Unpickler):
  """Makes records of what it knows; anything else in the file is an error."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in _KNOWN:
      raise pickle.UnpicklingError(
        f"it wants to call {module}.{name}, which is refused: save plain float32 tensors, "
        "torch.save(model.state_dict(), path)"
      )
    return _KNOWN[module, name]

  def persistent_load(self, pid: Any) -> _Storage:
    kind, dtype, key, _, size, *view = pid
    known = kind == "storage" and dtype in _STORAGES.values() and isinstance(key, str)
    if not known or type(size) is not int or any(part is not None for part in view):
      raise pickle.UnpicklingError("it refers to something else than a storage of numbers")
    return _Storage(key, dtype, size)


def _read_torch(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  is_zip = zipfile.is_zipfile(file)
  file.seek(0)
  return _read_torch_zip(file, max_bytes) if is_zip else _read_torch_legacy(file)


def _read_torch_zip(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    index = [name for name in names if name.endswith("/data.pkl")]
    if len(index) != 1:
      raise ValueError(f"it is an archive with {len(index)} files data.pkl instead of one")
    root = index[0].removesuffix("data.pkl")
    if f"{root}byteorder" in names and _member(archive, f"{root}byteorder") != b"little":
      raise ValueError("its numbers are not in little-endian order")
    tensors = _unpickle(io.BytesIO(_member(archive, index[0])))
    return _arrays(tensors, _Contents(archive, f"{root}data/", max_bytes))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
  """The bytes of a file of the archive, no more of them than the archive has itself."""
  if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"{name} is compressed, which no file of torch.save is")
  return archive.read(name)


class _Contents:
  """The bytes of the storages, each read once however many tensors are views of it."""

  def __init__(self, archive: zipfile.ZipFile, root: str, max_bytes: int):
    self._archive, self._root, self._left = archive, root, max_bytes
    self._read: dict[str, bytes] = {}

  def __call__(self, storage: _Storage) -> bytes:
    if storage.key not in self._read:
      content = _member(self._archive, self._root + storage.key)
      self._left -= len(content)  # members of an archive may lie in the same place of it
      if self._left < 0:
        raise ValueError("its tensors take more bytes than it may have")
      self._read[storage.key] = content
    return self._read[storage.key]


def _unpickle(file: BinaryIO) -> Any:
  untrusted.check_pickle(file)
  return _Unpickler(file).load()


def _read_torch_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
  magic, _, system = (_unpickle(file) for _ in range(3))
  if magic != _LEGACY_MAGIC:
    raise ValueError("it does not begin as a file of torch.save does")
  if not system["little_endian"]:
    raise ValueError("its numbers are not in little-endian order")
  tensors, keys = _unpickle(file), _unpickle(file)
  sizes = {
    tensor.storage.key: np.dtype(tensor.storage.dtype).itemsize
    for tensor in _named(tensors).values()
  }
  contents = {key: _legacy_content(file, sizes[key]) for key in keys}
  return _arrays(tensors, lambda storage: contents[storage.key])


def _legacy_content(file: BinaryIO, item_size: int) -> bytes:
  size = int.from_bytes(file.read(8), "little") * item_size
  if size > os.fstat(file.fileno()).st_size:
    raise ValueError("a tensor is longer than the file")
  return file.read(size)


def _named(tensors: Any) -> dict[str, _Tensor]:
  """What was pickled, if it is a dictionary of tensors."""
  if not isinstance(tensors, dict):
    raise ValueError(f"it holds a {type(tensors).__name__}, and no dictionary of tensors")
  for name, tensor in tensors.items():
    if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
      raise ValueError(f"its entry {str(name)[:50]!r} is a {type(tensor).__name__}, and no tensor")
  return tensors


def _arrays(tensors: Any, content: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
  return {name: _array(name, tensor, content) for name, tensor in _named(tensors).items()}


def _array(name: str, tensor: _Tensor, content: Callable[[_Storage], bytes]) -> np.ndarray:
  numbers = np.frombuffer(content(tensor.storage), tensor.storage.dtype)
  if len(numbers) != tensor.storage.size or len(tensor.shape) != len(tensor.strides):
    raise ValueError(f"{name} has {len(numbers)} numbers instead of {tensor.storage.size}")
  # A view beyond the storage would read whatever lies in memory there.
  steps = zip(tensor.shape, tensor.strides, strict=True)
  last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
  if math.prod(tensor.shape) and last >= len(numbers):
    raise ValueError(f"{name} reaches beyond its {len(numbers)} numbers")
  strides = [stride * numbers.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
