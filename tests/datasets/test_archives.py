import gzip
import hashlib

import pytest

from tagjax import datasets
from tagjax.datasets import archives, contents

_FILE = b"some file"
_SHA256 = hashlib.sha256(_FILE).hexdigest()
_BY_HAND = archives.ByHand(("faces.zip", "faces"), "https://example.org/faces", "with an account")


def _archive(content: bytes) -> archives.Archive:
  sha256 = hashlib.sha256(content).hexdigest()
  return archives.Archive("a.gz", "https://example.org/a.gz", len(content), sha256)


def test_the_first_of_the_names_is_taken(tmp_path):
  assert archives.locate(_BY_HAND, tmp_path) is None
  (tmp_path / "faces").mkdir()
  assert archives.locate(_BY_HAND, tmp_path) == tmp_path / "faces"
  (tmp_path / "faces.zip").touch()
  assert archives.locate(_BY_HAND, tmp_path) == tmp_path / "faces.zip"


@pytest.mark.parametrize(
  "known",
  [{}, {"size": len(_FILE)}, {"sha256": _SHA256}, {"size": len(_FILE), "sha256": _SHA256}],
  ids=["nothing", "size", "sha256", "both"],
)
def test_a_file_fetched_by_hand_is_compared_with_what_is_known_of_it(tmp_path, known):
  path = tmp_path / "faces.zip"
  path.write_bytes(_FILE)
  by_hand = _BY_HAND._replace(**known)
  read = []
  assert archives.check(by_hand, path, read.append) == (len(_FILE), _SHA256)
  assert sum(read) == len(_FILE)
  path.write_bytes(_FILE[:-1])
  if not known:
    assert archives.check(by_hand, path).size == len(_FILE) - 1
    return
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    archives.check(by_hand, path)
  for part in (str(path), "is damaged", "https://example.org/faces with an account"):
    assert part in str(error.value)
  assert "None" not in str(error.value)


def test_a_folder_is_only_measured(tmp_path):
  (tmp_path / "faces" / "one").mkdir(parents=True)
  (tmp_path / "faces" / "one" / "1.jpg").write_bytes(_FILE)
  (tmp_path / "faces" / "2.jpg").write_bytes(_FILE)
  by_hand = _BY_HAND._replace(size=1, sha256="0" * 64)  # of the archive
  assert archives.check(by_hand, tmp_path / "faces") == (2 * len(_FILE), None)


def test_a_copy_that_was_compressed_again_passes_where_its_content_is_known(tmp_path, monkeypatch):
  official, other = gzip.compress(_FILE, mtime=1), gzip.compress(_FILE, mtime=2)
  archive, path = _archive(official), tmp_path / "a.gz"
  path.write_bytes(other)
  with pytest.raises(datasets.DatasetUnavailableError, match="is damaged"):
    archives.check(archive, path)
  known = {archive.url: contents.Content(len(_FILE), _SHA256)}
  monkeypatch.setattr(contents, "known", lambda: known)
  assert archives.check(archive, path) == (len(other), hashlib.sha256(other).hexdigest())
  path.write_bytes(other[:-1])
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    archives.check(archive, path)
  for part in (f"has {len(other) - 1} bytes", f"{len(official)} bytes and sha256 {archive.sha256}"):
    assert part in str(error.value)
