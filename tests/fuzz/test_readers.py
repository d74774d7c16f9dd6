"""Readers of strangers' files, fed with what nobody foresaw.

In the suite a few examples each, always the same ones; `make fuzz` takes minutes, and puts what it
finds into `corpus/`, which the suite reads as well.
"""

import collections
import gzip
import io
import json
import os
import pickle
import resource
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tagjax.report.results import summarise
from tagjax.training.record import RunRecord

EXAMPLES = int(os.environ.get("TAGJAX_FUZZ_EXAMPLES", "0"))
# Pillow warns of much that is wrong with a picture, and so do zipfile and NumPy.
pytestmark = pytest.mark.filterwarnings("ignore")

in_suite = settings(
  max_examples=EXAMPLES or 25,
  derandomize=not EXAMPLES,
  database=None,
  deadline=None,
  suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def _little_memory():
  """A GiB is what any hostile file may take."""
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  yield
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # in KiB


# Whole files, of which the strategies below make damaged ones.


def _pickles():
  content = {"image_data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "class_dict": {"a": [0]}}
  numbers = [np.float32(1.5), {"text": b"bytes"}, (None, True, 2**70)]
  return [pickle.dumps(value, protocol) for value in (content, numbers) for protocol in range(6)]


def _torch_pickle():
  storage = b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06t"
  tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"QK\0K\x02K\x03\x86K\x03K\x01\x86"
  return b"\x80\x02}q\0X\x01\0\0\0wq\x01" + tensor + b"\x89ccollections\nOrderedDict\n)RtRs."


def _tensor_files():
  numbers = np.arange(6, dtype=np.float32)
  files = []
  zipped = io.BytesIO()
  with zipfile.ZipFile(zipped, "w") as archive:
    archive.writestr("w/data.pkl", _torch_pickle())
    archive.writestr("w/byteorder", b"little")
    archive.writestr("w/data/0", numbers.tobytes())
  files.append(zipped.getvalue())
  for save in (np.savez, np.savez_compressed):
    file = io.BytesIO()
    save(file, w=numbers.reshape(2, 3), b=np.int64(3))
    files.append(file.getvalue())
  header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
  files.append(len(header).to_bytes(8, "little") + header + numbers.tobytes())
  legacy = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001)]
  legacy += [
    pickle.dumps({"little_endian": True}, 2),
    _torch_pickle().replace(b"K\x06t", b"K\x06Nt"),
  ]
  tail = pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + numbers.tobytes()
  return [*files, b"".join(legacy) + tail]


def _archives():
  files = []
  for mode in ("w", "w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:
      for name in ("a/b.txt", "ü" * 60 + "/c.txt"):
        info = tarfile.TarInfo(name)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    files.append(file.getvalue())
  for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
      archive.writestr("a/b.txt", b"hello" * 20)
      archive.writestr("c.txt", b"")
    files.append(file.getvalue())
  return files


def _picture_files():
  pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
  files = []
  for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    files.append(file.getvalue())
  return [*files, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"]


def _results():
  matrices = [[[0.9, None], [0.7, 0.8]], [[0.8, None], [0.6, 0.9]]]
  run = summarise(matrices) | {
    "config": {"method": "tag", "benchmark": "digits", "tag": {"b": 5.0}, "seed": 1},
    "seconds": {"total": 3.0},
    "command": "python launch.py",
    "provenance": {"commit": "0" * 40, "dirty": False},
    "task_names": ["one", "two"],
  }
  figure = run["average_accuracy"]
  point = {"values": {"a": 1}, **dict.fromkeys(("average_accuracy", "forgetting"), figure)}
  grid = {
    "config": {"method": "tag", "sweep": {"a": [1, 2]}},
    "points": [point | {"learning_accuracy": None, "diverged_seeds": [1]}] * 2,
    "chosen": {"a": 1},
    "at_edge": ["a"],
    "selected_on": {"split": "validation", "tasks": None, "seeds": 1},
  }
  return [run, grid, RunRecord.empty(1, 2).to_json()]


def _json_files():
  dictionary = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
  features = {"pythonClassName": dictionary, "featuresDict": {"features": {}}}
  return [json.dumps(value).encode() for value in (*_results(), features)]


WHOLE = {
  "pickle": _pickles(),
  "tensors": _tensor_files(),
  "archive": _archives(),
  "picture": _picture_files(),
  "json": _json_files(),
}

# Damage: bytes changed, put in, left out and repeated, and lengths that are extreme.

_LARGE = (2**31 - 1, 2**32 - 1)
_EXTREMES = [struct.pack(how, value) for how in ("<I", ">I", "<Q") for value in _LARGE]
_EXTREMES += [b"\0" * 4, b"\xff" * 8, b"../", b"\x1b[2J", b"99999999"]


@st.composite
def damaged(draw, files):
  content = bytearray(draw(st.sampled_from(files)))
  for _ in range(draw(st.integers(1, 4))):
    place = draw(st.integers(0, max(0, len(content) - 1)))
    piece = draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(_EXTREMES)))
    end = place + draw(st.integers(0, 40))
    match draw(st.sampled_from(["over", "in", "out", "again", "cut"])):
      case "over":
        content[place : place + len(piece)] = piece
      case "in":
        content[place:place] = piece
      case "out":
        del content[place:end]
      case "again":
        content[place:place] = content[place:end] * draw(st.integers(1, 3))
      case "cut":
        del content[place:]
  return bytes(content)


_TOKENS = [bytes([code]) for code in b"0129()]}NtdlaesuQbRoi."]
_TOKENS += [bytes([code]) for code in b"\x81\x85\x86\x87\x88\x89\x8f\x90\x92\x93\x94"]
_TOKENS += [b"K\x01", b"M\0\x10", b"J\xff\xff\xff\xff", b"I1\n", b"\x8a\x02ab", b"P0\n"]
_TOKENS += [b"U\x02ab", b"C\x02ab", b"X\x02\0\0\0ab", b"p7\n", b"g7\n"]
_TOKENS += [b"q\0", b"h\0", b"r\xff\xff\xff\x7f", b"j\0\0\0\0"]
_NAMES = ("numpy\nndarray", "numpy\ndtype", "os\nsystem", "numpy.core.multiarray\n_reconstruct")
_NAMES += ("numpy.core.multiarray\nscalar", "_codecs\nencode", "torch\nFloatStorage")
_NAMES += ("torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict")
_TOKENS += [f"c{name}\n".encode() for name in _NAMES]
programs = st.lists(st.sampled_from(_TOKENS), max_size=30).map(
  lambda tokens: b"\x80\x02" + b"".join(tokens) + b"."
)


def _as_torch(program):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("w/data.pkl", program)
    archive.writestr("w/data/0", bytes(24))
  return file.getvalue()


_LEAVES = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.just(10**400),
  st.floats(),
  st.text(max_size=5),
  st.sampled_from(["\x1b[2J", "[red]", "<b>", "agem", "os.system"]),
)
values = st.recursive(
  _LEAVES,
  lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
  ),
  max_leaves=6,
)


@st.composite
def changed_results(draw):
  """Results of which one entry, at any depth, is something else, or is not there."""
  whole = json.loads(json.dumps(draw(st.sampled_from(_results()))))
  place = whole
  while True:
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    key = draw(st.sampled_from(keys))
    inner = place[key]
    if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
      break
    place = inner
  if isinstance(place, dict) and draw(st.booleans()):
    del place[key]
  else:
    place[key] = draw(values)
  return json.dumps(whole).encode()


@pytest.mark.parametrize("reader", WHOLE)
def test_what_is_whole_is_read(reader):
  """Else the tests below would prove little."""
  found = collections.Counter(readers.check(reader, content) for content in WHOLE[reader])
  assert found[True] >= len(WHOLE[reader]) - 2  # a PostScript, a record and features


@pytest.mark.parametrize("reader", WHOLE)
def test_what_was_found_once(reader):
  for path in sorted((readers.CORPUS / reader).iterdir()):
    assert not readers.check(reader, path.read_bytes()), path


_COMPRESSED = [gzip.decompress(WHOLE["archive"][1]), zlib.compress(b"tar")]
CASES = {
  **{f"damaged {reader}": (reader, damaged(files)) for reader, files in WHOLE.items()},
  "programs": ("pickle", programs),
  "programs in tensor files": ("tensors", programs.map(_as_torch)),
  "damaged and compressed again": ("archive", damaged(_COMPRESSED).map(gzip.compress)),
  "results of another form": ("json", changed_results()),
  "no results": ("json", values.map(lambda value: json.dumps(value).encode())),
}


@pytest.mark.parametrize("case", CASES)
@in_suite
@given(data=st.data())
def test_nothing_happens_but_reading(case, data):
  reader, contents = CASES[case]
  readers.check(reader, data.draw(contents))


def test_a_reader_that_would_run_something_is_noticed():
  with readers.watched() as events:
    os.system("true")
  assert events


@pytest.mark.parametrize("act", ["open", "mkdir"])
def test_and_one_that_would_write(tmp_path, act):
  with readers.watched() as events:
    (tmp_path / "x").open("w").close() if act == "open" else (tmp_path / "x").mkdir()
  assert events
