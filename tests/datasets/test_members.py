import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from tagjax.datasets import members

FILES = {"a/one.txt": b"one", "a/two.bin": bytes(range(256)) * 9000, "three": b""}


def _tar(entries, compressed: bool) -> bytes:
  """A tar of names with contents, or of `TarInfo`s that say what they are."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as tar:
    for entry in entries:
      info, content = (entry, b"") if isinstance(entry, tarfile.TarInfo) else _file(*entry)
      tar.addfile(info, io.BytesIO(content))
  return buffer.getvalue()


def _file(name: str, content: bytes):
  info = tarfile.TarInfo(name)
  info.size = len(content)
  return info, content


def _special(kind: bytes, target: str = "") -> tarfile.TarInfo:
  info = tarfile.TarInfo("a/odd")
  info.type, info.linkname = kind, target
  return info


def _zip(entries) -> bytes:
  """A zip of names (or `ZipInfo`s) with contents."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in entries:
      archive.writestr(name, content)
  return buffer.getvalue()


PACKERS = {
  "tar": lambda entries: _tar(entries, compressed=False),
  "tar.gz": lambda entries: _tar(entries, compressed=True),
  "zip": _zip,
}


@pytest.fixture(params=PACKERS)
def pack(request, tmp_path):
  """Writes an archive of each kind in turn, under a name that does not tell which."""

  def pack(entries):
    path = tmp_path / "archive"
    path.write_bytes(PACKERS[request.param](entries))
    return path

  return pack


@pytest.fixture
def save(tmp_path):
  def save(content: bytes):
    path = tmp_path / "archive"
    path.write_bytes(content)
    return path

  return save


def _all(source, max_bytes=10**8, **bounds):
  return {
    member.name: member.read() for member in members.members(source, max_bytes=max_bytes, **bounds)
  }


def test_gives_out_every_file_in_the_order_of_the_archive(pack):
  content = _all(pack(FILES.items()))
  assert content == FILES
  assert list(content) == list(FILES)


def test_sizes_are_told_before_anything_is_read(pack):
  sizes = {
    member.name: member.size for member in members.members(pack(FILES.items()), max_bytes=10**8)
  }
  assert sizes == {name: len(content) for name, content in FILES.items()}


def test_a_leading_dot_is_no_part_of_a_name(pack):
  assert list(_all(pack([("./a/one.txt", b"one")]))) == ["a/one.txt"]


def test_folders_are_left_out_but_count(tmp_path):
  folder = tarfile.TarInfo("a")
  folder.type = tarfile.DIRTYPE
  for content in (_tar([folder, ("a/b", b"x")], True), _zip([("a/", b""), ("a/b", b"x")])):
    path = tmp_path / "archive"
    path.write_bytes(content)
    assert _all(path) == {"a/b": b"x"}
    with pytest.raises(ValueError, match="more than 1 members"):
      _all(path, max_members=1)


def test_files_are_read_in_pieces_and_can_seek(pack):
  for member in members.members(pack(FILES.items()), max_bytes=10**8):
    if member.name == "a/two.bin":
      with member.open() as file:
        assert file.read(3) == b"\x00\x01\x02"
        assert file.seek(256 * 100) == 25600
        assert file.read(2) == b"\x00\x01"
        file.seek(0)
        assert file.read(2_000_000) == FILES["a/two.bin"][:2_000_000]


def test_an_archive_within_an_archive_is_read_where_it_lies(pack):
  outer = pack([("inner.tar", _tar(FILES.items(), False)), ("inner.zip", _zip(FILES.items()))])
  for member in members.members(outer, max_bytes=10**8):
    with member.open() as file:
      assert _all(file) == FILES


def test_a_large_member_is_not_held_in_memory(pack):
  path = pack([("large", bytes(50_000_000)), ("small", b"x")])
  tracemalloc.start()
  try:
    for member in members.members(path, max_bytes=10**8):
      with member.open() as file:
        length = sum(len(piece) for piece in iter(lambda: file.read(2**16), b""))
      assert length == member.size
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 10_000_000


def test_reads_some_members_by_name(pack):
  path = pack(FILES.items())
  names = ["three", "a/one.txt"]
  found = members.read(path, names, max_bytes=10**8)
  assert found == {"three": b"", "a/one.txt": b"one"}
  assert list(found) == names
  with pytest.raises(ValueError, match="archive has no file a/four, b"):
    members.read(path, ["a/four", "three", "b"], max_bytes=10**8)


def test_reading_by_name_stops_when_all_is_there(tmp_path):
  path = tmp_path / "archive.tar"
  path.write_bytes(_tar(FILES.items(), False)[:1024])  # cut off behind the first member
  assert members.read(path, ["a/one.txt"], max_bytes=10) == {"a/one.txt": b"one"}


@pytest.mark.parametrize(
  "name", ["/etc/passwd", "../up", "a/../../up", "a/..", "C:evil", "c:/evil", r"a\b", r"..\up"]
)
def test_refuses_names_that_lead_out(pack, name):
  with pytest.raises(ValueError, match=r"archive: member .* its name leads out of the archive"):
    _all(pack([("fine", b"x"), (name, b"x")]))


def test_dots_within_a_name_lead_nowhere(pack):
  assert list(_all(pack([("a..b/...c", b"x")]))) == ["a..b/...c"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # what the test is about
@pytest.mark.parametrize("again", ["a", "./a"])
def test_refuses_a_name_that_is_there_twice(pack, again):
  with pytest.raises(ValueError, match="its name is there twice"):
    _all(pack([("a", b"1"), (again, b"2")]))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
  "info",
  [
    _special(tarfile.SYMTYPE, "/etc/passwd"),
    _special(tarfile.LNKTYPE, "fine"),
    _special(tarfile.CHRTYPE),
    _special(tarfile.BLKTYPE),
    _special(tarfile.FIFOTYPE),
    _special(b"Z"),
  ],
)
def test_refuses_what_is_no_plain_file_in_a_tar(save, info, compressed):
  path = save(_tar([("fine", b"x"), info], compressed))
  with pytest.raises(ValueError, match="member 'a/odd' is refused: it is neither"):
    _all(path)


def test_refuses_a_sparse_file(save):
  info = tarfile.TarInfo("hole")
  info.pax_headers = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.realsize": str(10**12),
  }
  info.size = 512
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
    tar.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
  with pytest.raises(ValueError, match=r"unpacks to more than|it is neither"):
    _all(save(buffer.getvalue()))
  with pytest.raises(ValueError, match="member 'hole' is refused: it is neither"):
    _all(save(buffer.getvalue()), max_bytes=10**13)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_refuses_what_is_no_plain_file_in_a_zip(save, kind):
  info = zipfile.ZipInfo("a/odd")
  info.external_attr = (kind | 0o777) << 16
  with pytest.raises(ValueError, match="member 'a/odd' is refused: it is neither"):
    _all(save(_zip([("fine", b"x"), (info, b"/etc/passwd")])))


def test_refuses_an_encrypted_member(save):
  content = bytearray(_zip([("secret", b"x")]))
  for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # where the flags are
    content[content.index(magic) + offset] |= 1
  with pytest.raises(ValueError, match="member 'secret' is refused: it is encrypted"):
    _all(save(bytes(content)))


def test_refuses_another_compression(save):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
    archive.writestr("a", b"x")
  with pytest.raises(ValueError, match="member 'a' is refused: its compression 12 is not deflate"):
    _all(save(buffer.getvalue()))


def test_refuses_a_bomb_before_it_is_read(pack):
  path = pack([("a", bytes(6_000_000)), ("b", bytes(6_000_000))])
  assert sum(map(len, _all(path, max_bytes=12_000_000).values())) == 12_000_000
  given_out = []
  with pytest.raises(ValueError, match="unpacks to more than the 11999999 bytes"):
    given_out.extend(member.name for member in members.members(path, max_bytes=11_999_999))
  assert "b" not in given_out


def test_a_zip_whose_headers_lie_gives_no_more_than_they_declare(save):
  content = bytearray(_zip([("bomb", bytes(10_000_000))]))
  for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # where the sizes are
    struct.pack_into("<I", content, content.index(magic) + offset, 10)
  for bomb in members.members(save(bytes(content)), max_bytes=100):
    with pytest.raises(ValueError, match=r"archive is damaged.*CRC"):
      bomb.read()


@pytest.mark.parametrize("compressed", [False, True])
def test_refuses_a_header_as_large_as_memory(save, compressed):
  header = tarfile.TarInfo("././@PaxHeader")
  header.type, header.size = tarfile.XHDTYPE, 50_000_000
  content = header.tobuf() + bytes(50_000_000)
  with pytest.raises(ValueError, match=r"a header declares 50000.* bytes"):
    _all(save(gzip.compress(content) if compressed else content))


def test_refuses_too_many_members(pack):
  path = pack([(str(number), b"") for number in range(4)])
  assert len(_all(path, max_members=4)) == 4
  with pytest.raises(ValueError, match="archive has more than 3 members"):
    _all(path, max_members=3)


def test_damage_is_told_with_the_name_of_the_archive(pack):
  path = pack(FILES.items())
  whole = path.read_bytes()
  for damaged in (whole[: len(whole) // 2], b"", b"no archive at all" * 100):
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="archive is damaged or no tar or zip archive"):
      assert _all(path) == FILES


def test_a_damaged_header_is_not_taken_for_the_end(save):
  content = bytearray(_tar([("a", b"1"), ("b", b"2")], False))
  content[1024] ^= 1  # the name of the second member, which its header's checksum covers
  with pytest.raises(ValueError, match=r"archive is damaged.*a header cannot be read"):
    _all(save(bytes(content)))


def test_an_archive_does_not_go_on_for_ever_behind_its_end(save):
  with pytest.raises(ValueError, match="bytes follow its end"):
    _all(save(gzip.compress(_tar([("a", b"1")], False) + bytes(20_000_000))))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_flipped_bit_in_the_content_is_told(save, kind):
  rng = bytes((number * number) % 251 for number in range(100_000))
  content = bytearray(PACKERS[kind]([("a", rng)]))
  content[len(content) // 2] ^= 16
  with pytest.raises(ValueError, match="archive is damaged"):
    _all(save(bytes(content)))


def test_an_error_of_the_consumer_is_not_blamed_on_the_archive(pack):
  def fail(member):
    raise EOFError(member.name)

  with pytest.raises(EOFError, match="a/one"):
    list(map(fail, members.members(pack(FILES.items()), max_bytes=10**8)))
