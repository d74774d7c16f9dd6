"""Files of tensors: each format is read right, and nothing in a file is ever executed."""

import collections
import io
import json
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from tagjax.models import torch_files
from tagjax.models.torch_files import read_tensors

DTYPES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}


class Storage:
  """Numbers that the pickle refers to."""

  def __init__(self, key, numbers):
    self.key, self.numbers = key, numbers


class Tensor:
  """Is pickled as PyTorch pickles its tensors."""

  def __init__(self, storage, shape, strides, offset=0, as_parameter=False):
    self.storage, self.shape, self.strides, self.offset = storage, shape, strides, offset
    self.as_parameter = as_parameter

  def __reduce__(self):
    parts = sys.modules["torch._utils"]
    if self.as_parameter:
      inner = Tensor(self.storage, self.shape, self.strides, self.offset)
      return parts._rebuild_parameter, (inner, True, collections.OrderedDict())
    place = (self.storage, self.offset, self.shape, self.strides)
    return parts._rebuild_tensor_v2, (*place, False, collections.OrderedDict())


def whole(key, array, **options):
  strides = tuple(stride // array.itemsize for stride in array.strides)
  return Tensor(Storage(key, array.ravel()), array.shape, strides, **options)


@pytest.fixture
def pickled(monkeypatch):
  """A function that pickles objects, tensors as PyTorch does, with stand-ins for its modules."""
  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  for name in DTYPES.values():
    setattr(torch, name, type(name, (), {"__module__": "torch"}))
  for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
    function = types.FunctionType((lambda *_: None).__code__, {}, name)
    function.__module__, function.__qualname__ = "torch._utils", name
    setattr(utils, name, function)
  monkeypatch.setitem(sys.modules, "torch", torch)
  monkeypatch.setitem(sys.modules, "torch._utils", utils)

  class Pickler(pickle.Pickler):
    view: tuple = ()

    def persistent_id(self, value):
      if isinstance(value, Storage):
        kind = getattr(torch, DTYPES[value.numbers.dtype.str[1:]])
        return ("storage", kind, value.key, "cpu", len(value.numbers), *self.view)
      return None

  def dump(value, view=()):
    file = io.BytesIO()
    pickler = Pickler(file, protocol=2)
    pickler.view = view
    pickler.dump(value)
    return file.getvalue()

  return dump


def write_zip(path, content, storages=(), byteorder=b"little", how=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", how) as archive:
    archive.writestr("weights/data.pkl", content)
    archive.writestr("weights/byteorder", byteorder)
    for storage in storages:
      archive.writestr(f"weights/data/{storage.key}", storage.numbers.tobytes())
  return path


def write_legacy(path, pickled, tensors, storages, magic=torch_files._LEGACY_MAGIC):
  with open(path, "wb") as file:
    for value in (magic, 1001, {"little_endian": True}):
      file.write(pickled(value))
    file.write(pickled(tensors, view=(None,)))
    file.write(pickled([storage.key for storage in storages]))
    for storage in storages:
      file.write(len(storage.numbers).to_bytes(8, "little") + storage.numbers.tobytes())
  return path


def examples():
  rng = np.random.default_rng(0)
  return {
    "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "fc.bias": rng.normal(size=5),
    "half": rng.normal(size=(2, 3)).astype(np.float16),
    "counter": np.array(7),
  }


def assert_equal(ours, expected):
  assert set(ours) == set(expected)
  for name, array in expected.items():
    assert ours[name].dtype == array.dtype
    np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_pytorch_writes(pickled, tmp_path, legacy):
  arrays = examples()
  tensors = collections.OrderedDict(
    (name, whole(str(number), array, as_parameter=number == 0))
    for number, (name, array) in enumerate(arrays.items())
  )
  tensors._metadata = collections.OrderedDict(version=1)  # a state dictionary has one
  storages = [tensor.storage for tensor in tensors.values()]
  if legacy:
    write_legacy(tmp_path / "w.pth", pickled, tensors, storages)
  else:
    write_zip(tmp_path / "w.pth", pickled(tensors), storages)
  assert_equal(read_tensors(tmp_path / "w.pth"), arrays)


def test_views_of_one_storage(pickled, tmp_path):
  numbers = np.arange(12, dtype=np.float32)
  storage = Storage("0", numbers)
  tensors = {
    "turned": Tensor(storage, (3, 2), (1, 3), 4),
    "spread": Tensor(storage, (2, 2), (0, 1)),
  }
  write_zip(tmp_path / "w.pt", pickled(tensors), [storage])
  ours = read_tensors(tmp_path / "w.pt")
  np.testing.assert_array_equal(ours["turned"], numbers[4:10].reshape(2, 3).T)
  np.testing.assert_array_equal(ours["spread"], [[0, 1], [0, 1]])


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_itself(tmp_path, legacy):
  torch = pytest.importorskip("torch")
  arrays = examples()
  tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
  torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
  assert_equal(read_tensors(tmp_path / "w.pth"), arrays)


def test_npz(tmp_path):
  np.savez(tmp_path / "w.npz", **examples())
  assert_equal(read_tensors(tmp_path / "w.npz"), examples())


def write_safetensors(path, arrays, **changes):
  header, data = {"__metadata__": {"format": "pt"}}, b""
  kinds = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64"}
  for name, array in arrays.items():
    offsets = [len(data), len(data) + array.nbytes]
    entry = {"dtype": kinds[array.dtype.str[1:]], "shape": array.shape, "data_offsets": offsets}
    header[name] = entry | changes
    data += array.tobytes()
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + data)
  return path


def test_safetensors(tmp_path):
  path = write_safetensors(tmp_path / "w.safetensors", examples())
  assert_equal(read_tensors(path), examples())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"dtype": "BF16"}, "conv.weight is of type BF16; there are F16, F32"),
    ({"data_offsets": [0, 10**9]}, "conv.weight lies outside of the file"),
    ({"shape": [7]}, "cannot reshape"),
  ],
)
def test_safetensors_that_are_wrong(tmp_path, changes, message):
  path = write_safetensors(tmp_path / "w.safetensors", examples(), **changes)
  assert_refused(path, message)


def assert_refused(path, message):
  with pytest.raises(ValueError, match=message) as error:
    read_tensors(path)
  assert "\n" not in str(error.value)


class Call:
  """Is pickled as a call of a function."""

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments

  def __reduce__(self):
    return self.function, self.arguments


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
  ("function", "name"), [(os.system, "system"), (eval, "eval"), (os.mkdir, "mkdir")]
)
def test_a_call_is_refused_and_not_made(pickled, tmp_path, legacy, function, name):
  made = tmp_path / "made"
  argument = {"system": f"mkdir {made}", "mkdir": str(made)}.get(
    name, f"__import__('os').mkdir({str(made)!r})"
  )
  content = {"weight": Call(function, argument)}
  if legacy:
    path = write_legacy(tmp_path / "w.pth", pickled, content, [])
  else:
    path = write_zip(tmp_path / "w.pth", pickled(content))
  assert_refused(path, f"it wants to call .*{name}, which is refused")
  assert not made.exists()


def test_a_pickle_cannot_change_the_reader(pickled, tmp_path):
  # c: look a name up; then set an attribute of what was found.
  for name in ("torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_parameter"):
    content = b"\x80\x02c" + name.encode() + b"\nN}U\x08__call__K\x01s\x86b."
    assert_refused(write_zip(tmp_path / "w.pth", content), "damaged, or holds no named tensors")


@pytest.mark.parametrize(
  ("tensor", "message"),
  [
    (((4, 2), (2, 1), 0), "w reaches beyond its 6 numbers"),
    (((2, 3), (3, 1), 1), "w reaches beyond its 6 numbers"),
    (((2, 3), (3, -1), 0), "something else than whole numbers"),
    (((2, 3), (3, 1), -1), "something else than whole numbers"),
    (((2, 3), (3,), 0), "instead of"),
    (((2, "3"), (3, 1), 0), "something else than whole numbers"),
  ],
)
def test_a_view_beyond_its_numbers_is_refused(pickled, tmp_path, tensor, message):
  storage = Storage("0", np.arange(6, dtype=np.float32))
  path = write_zip(tmp_path / "w.pth", pickled({"w": Tensor(storage, *tensor)}), [storage])
  assert_refused(path, message)


def test_other_contents_are_refused(pickled, tmp_path):
  storage = Storage("0", np.arange(6, dtype=np.float32))
  path = tmp_path / "w.pth"
  assert_refused(write_zip(path, pickled([1])), "it holds a list, and no dictionary of tensors")
  nested = {"state_dict": {"w": Tensor(storage, (6,), (1,))}}
  assert_refused(write_zip(path, pickled(nested), [storage]), "'state_dict' is a dict, and no tens")
  short = Storage("0", storage.numbers[:5])
  tensors = {"w": Tensor(storage, (6,), (1,))}
  assert_refused(write_zip(path, pickled(tensors), [short]), "w has 5 numbers instead of 6")
  assert_refused(write_zip(path, pickled(tensors)), "no item named 'weights/data/0'")
  assert_refused(write_zip(path, pickled(tensors), [storage], b"big"), "not in little-endian")
  assert_refused(write_zip(path, pickled(tensors), how=zipfile.ZIP_DEFLATED), "is compressed")
  assert_refused(write_legacy(path, pickled, tensors, [storage], magic=5), "does not begin as")


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04 no archive", b"<html>" * 9])
def test_damaged_files_are_refused(tmp_path, suffix, content):
  path = tmp_path / f"w.{suffix}"
  path.write_bytes(content)
  assert_refused(path, "the file is damaged, or holds no named tensors")


def test_a_name_without_a_known_end_is_refused(tmp_path):
  assert_refused(tmp_path / "w.h5", "must end in one of .safetensors, .npz, .pth")


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
  with pytest.raises(FileNotFoundError):
    read_tensors(tmp_path / "w.pth")


def test_a_storage_is_read_once(pickled, tmp_path, monkeypatch):
  storage = Storage("0", np.arange(1000, dtype=np.float32))
  tensors = {f"w{row}": Tensor(storage, (10,), (1,), row) for row in range(200)}
  path = write_zip(tmp_path / "w.pth", pickled(tensors), [storage])
  read = []
  monkeypatch.setattr(
    torch_files, "_member", lambda archive, name: read.append(name) or archive.read(name)
  )
  assert len(read_tensors(path)) == 200
  assert read.count("weights/data/0") == 1


def test_no_more_is_read_than_is_asked_for(pickled, tmp_path):
  """Which a file of few bytes could be: compressed, or with members in the same place of it."""
  np.savez_compressed(tmp_path / "w.npz", w=np.zeros(5 * 2**20, np.float32))
  assert os.path.getsize(tmp_path / "w.npz") < 2**17
  with pytest.raises(ValueError, match=r"unpacks to \d+ bytes, more than the 1024 it may"):
    read_tensors(tmp_path / "w.npz", 1024)
  assert read_tensors(tmp_path / "w.npz", 20 * 2**20)["w"].shape == (5 * 2**20,)
  storage = Storage("0", np.zeros(1000, np.float32))
  path = write_zip(tmp_path / "w.pth", pickled({"w": whole("0", storage.numbers)}), [storage])
  with pytest.raises(ValueError, match="its tensors take more bytes than it may have"):
    read_tensors(path, 3999)
  assert set(read_tensors(path, 4000)) == {"w"}
  with open(tmp_path / "w.safetensors", "wb") as file:
    file.truncate(2**24 + 1001)
  with pytest.raises(ValueError, match="more than the"):
    read_tensors(tmp_path / "w.safetensors", 1000)


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_numpy_compresses_in_one_way_only(tmp_path, how):
  with zipfile.ZipFile(tmp_path / "w.npz", "w", how) as archive:
    archive.writestr("w.npy", b"")
  assert_refused(tmp_path / "w.npz", "compressed as no file of numpy.savez is")


def test_a_pickle_is_looked_through_before_it_is_read(pickled, tmp_path):
  assert_refused(write_zip(tmp_path / "w.pth", b"Nr\0\0\0\x01."), "as number 16777216")
  storage = Storage("0", np.zeros(6, np.float32))
  tensors = {"w": Tensor(storage, (1,) * 65, (1,) * 65)}
  path = write_zip(tmp_path / "w.pth", pickled(tensors), [storage])
  assert_refused(path, "something else than whole numbers")


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_only_regular_files_are_read(tmp_path, suffix):
  (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
  os.mkfifo(tmp_path / f"pipe.{suffix}")
  for name in ("zero", "pipe"):
    assert_refused(tmp_path / f"{name}.{suffix}", "it is no regular file")
