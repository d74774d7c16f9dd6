import pytest
from picture_files import tarred, zipped

from tagjax.datasets import sources

FILES = {
  "set/b/2.txt": b"two",
  "set/a/1.txt": b"one",
  "set/.DS_Store": b"hidden",
  "set/.cache/3.txt": b"hidden",
  "__MACOSX/set/a/._1.txt": b"hidden",
}


def _folder(root):
  for name, content in FILES.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
  return root / "set"


def _zip(root):
  (root / "any.name").write_bytes(zipped(FILES))
  return root / "any.name"


def _tar(root):
  (root / "any.name").write_bytes(tarred(FILES))
  return root / "any.name"


@pytest.mark.parametrize("make", [_folder, _zip, _tar])
def test_a_folder_and_archives_of_it_have_the_same_files(make, tmp_path):
  path = make(tmp_path)
  found = {file.name: file.read() for file in sources.files(path, max_bytes=100)}
  assert found == {"set/a/1.txt": b"one", "set/b/2.txt": b"two"}
  assert [file.size for file in sources.files(path, max_bytes=100)] == [3, 3]
  assert sources.texts(path, ["set/a/1.txt"], max_bytes=100) == {"set/a/1.txt": "one"}


def test_a_folder_may_lie_in_a_hidden_one(tmp_path):
  path = _folder(tmp_path / ".data")
  assert len(list(sources.files(path, max_bytes=100))) == 2


@pytest.mark.parametrize("make", [_folder, _zip, _tar])
def test_missing_texts_are_named_unless_they_may_be_missing(make, tmp_path):
  path = make(tmp_path)
  names = ["set/b/2.txt", "set/c.txt"]
  with pytest.raises(ValueError, match=r"has no file set/c\.txt$"):
    sources.texts(path, names, max_bytes=100)
  found = sources.texts(path, names[:1], max_bytes=100, optional=["set/a/1.txt", "set/c.txt"])
  assert found == {"set/b/2.txt": "two", "set/a/1.txt": "one"}


@pytest.mark.parametrize("make", [_zip, _tar])
def test_archives_are_bounded(make, tmp_path):
  with pytest.raises(ValueError, match="more than the 10 bytes"):
    list(sources.files(make(tmp_path), max_bytes=10))
