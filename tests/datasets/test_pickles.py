import builtins
import os
import pickle
import pickletools
import re
import subprocess

import numpy as np
import pytest

from tagjax.datasets import pickles

CONTENT = {
  "image_data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
  "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
  "parts": np.arange(24).reshape(2, 3, 4)[:, ::2],
  "big end first": np.arange(3, dtype=">i4"),
  "truths": np.array([True, False]),
  "none": np.zeros((0, 3), np.float32),
  "one": np.array(5),
  "numbers": [np.int64(7), np.float32(1.5), 3, "text", b"bytes", b"", None],
  "class_dict": {"n01": [0, 1], "n02": (2, 3)},
}


@pytest.fixture
def save(tmp_path):
  def save(content: bytes):
    path = tmp_path / "content.pkl"
    path.write_bytes(content)
    return path

  return save


def _assert_same(found, expected):
  assert list(found) == list(expected)
  for name, value in expected.items():
    if isinstance(value, np.ndarray):
      array = np.asarray(found[name])
      np.testing.assert_array_equal(array, value)
      assert array.dtype == value.dtype
      assert not array.flags.writeable
    else:
      assert found[name] == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_arrays_of_every_protocol(save, protocol):
  _assert_same(pickles.load(save(pickle.dumps(CONTENT, protocol))), CONTENT)


@pytest.mark.parametrize("name", [b"numpy.core", b"numpy._core"])
def test_numpy_1_and_2_have_other_names_for_the_same(save, name):
  content = pickle.dumps(CONTENT, 2)  # where names are lines, so they can be replaced
  content = re.sub(rb"numpy\.(_core|core)(?=\.)", name, content)
  assert name + b".multiarray\n" in content
  _assert_same(pickles.load(save(content)), CONTENT)


def test_reads_an_array_that_python_2_wrote(save):
  # {"a": numpy.arange(250, 256, dtype=numpy.uint8)}, as cPickle's protocol 2 puts it: the bytes
  # are a string, with no word about their encoding.
  content = (
    b"\x80\x02}q\x01U\x01acnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
    b"K\x00\x85U\x01b\x87Rq\x04(K\x01K\x06\x85cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\xfa\xfb\xfc\xfd\xfe\xff"
    b"tbs."
  )
  assert pickle.loads(content, encoding="latin1")["a"].tolist() == list(range(250, 256))
  found = pickles.load(save(content))
  assert np.asarray(found["a"]).tolist() == list(range(250, 256))


class _Calls:
  """Pickles as a call of a function with arguments."""

  def __init__(self, function, *arguments):
    self._call = (function, arguments)

  def __reduce__(self):
    return self._call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
  ("function", "name"),
  [
    (os.system, "system"),
    (builtins.eval, "eval"),
    (builtins.exec, "exec"),
    (builtins.getattr, "getattr"),
    (builtins.open, "open"),
    (subprocess.check_output, "check_output"),
    (np.load, "load"),
    (np.frombuffer, "frombuffer"),
  ],
)
def test_a_foreign_function_is_named_and_not_called(save, tmp_path, protocol, function, name):
  touched = tmp_path / "touched"
  call = _Calls(function, f"touch {touched}")
  path = save(pickle.dumps({"image_data": call, "class_dict": {}}, protocol))
  with pytest.raises(
    ValueError, match=rf"content\.pkl is refused: it asks for \S+\.{name},"
  ) as error:
    pickles.load(path)
  assert "\n" not in str(error.value)
  assert not touched.exists()


def test_the_malicious_pickle_works_where_nobody_guards(save, tmp_path):
  """Else the tests above would prove nothing."""
  touched = tmp_path / "touched"
  path = save(pickle.dumps(_Calls(os.system, f"touch {touched}")))
  pickle.loads(path.read_bytes())
  assert touched.exists()


@pytest.mark.parametrize(
  "array",
  [
    np.array([{}, 1], object),
    np.array(["text"]),
    np.zeros(2, [("a", "i4")]),
    np.zeros(2, "M8[s]"),
  ],
  ids=["objects", "texts", "records", "times"],
)
def test_refuses_arrays_that_are_not_of_numbers(save, array):
  with pytest.raises(ValueError, match="which are no numbers"):
    pickles.load(save(pickle.dumps(array)))


@pytest.mark.parametrize("state", [b"}U\x01xK\x01s", b"N}U\x01xK\x01s\x86"])
@pytest.mark.parametrize(
  "name", [b"numpy\nndarray", b"numpy\ndtype", b"numpy.core.multiarray\nscalar"]
)
def test_a_pickle_cannot_change_the_stand_ins(save, name, state):
  before = [dict(vars(stand_in)) for stand_in in pickles._STAND_INS.values()]
  with pytest.raises(ValueError, match="__setstate__"):
    pickles.load(save(b"\x80\x02c" + name + b"\n" + state + b"b."))
  assert [dict(vars(stand_in)) for stand_in in pickles._STAND_INS.values()] == before


def test_nor_has_what_they_make_a_state_to_set(save):
  with pytest.raises(ValueError, match=r"content\.pkl is refused: it sets a state of _ArrayClass"):
    pickles.load(save(b"\x80\x02cnumpy\nndarray\n)R}U\x01xK\x01sb."))


def test_a_content_that_does_not_fill_its_shape_is_refused(save):
  content = pickle.dumps(np.arange(6, dtype=np.uint8), 4)
  shorter = content.replace(b"K\x06\x85", b"K\x09\x85")
  assert shorter != content, pickletools.dis(content)
  with pytest.raises(ValueError, match="is no whole pickle: ValueError: cannot reshape"):
    pickles.load(save(shorter))


def test_damage_is_told_in_one_line(save):
  whole = pickle.dumps(CONTENT)
  for content in (b"", whole[:100], whole[:-5], b"\xff" * 20, b"text"):
    with pytest.raises(ValueError, match=r"content\.pkl is no whole pickle") as error:
      pickles.load(save(content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"Nr\0\0\0\x01.", b"Np16777216\n."])
def test_what_is_remembered_has_small_numbers(save, content):
  """The unpickler has an array as long as the largest of them."""
  with pytest.raises(ValueError, match="remembers something as number 16777216"):
    pickles.load(save(content))
  assert pickles.load(save(b"Nq\xff.")) is None


def test_objects_are_counted_before_they_are_made(save, monkeypatch):
  monkeypatch.setattr("tagjax.core.untrusted._MAX_OPCODES", 100)
  with pytest.raises(ValueError, match="more than 100 opcodes"):
    pickles.load(save(b"(" + b"]" * 100 + b"l."))


def test_a_text_that_is_there_once_is_not_copied_for_a_thousand_arrays(save):
  text = b"A" * 4096
  make = (
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    b"(K\x01M\0\x10\x85cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\0tb\x89h\0tb"
  )
  start = b"\x80\x02T\0\x10\0\0" + text + b"q\x000("
  assert np.asarray(pickles.load(save(start + make + b"l."))[0]).tolist() == [65] * 4096
  with pytest.raises(ValueError, match="makes more bytes than it has"):
    pickles.load(save(start + 50 * make + b"l."))


def test_only_regular_files_are_read(tmp_path):
  (tmp_path / "zero").symlink_to("/dev/zero")
  os.mkfifo(tmp_path / "pipe")
  for name in ("zero", "pipe"):
    with pytest.raises(ValueError, match="it is no regular file"):
      pickles.load(tmp_path / name)
